//! Proxies as people run them: tinyproxy for `CONNECT`, microsocks for SOCKS5. `tests/network/install` installs both.

use std::net::TcpListener as StdListener;
use std::process::Stdio;
use std::time::Duration;

use onesocket::Client;
use onesocket::core::{
    Config, ConnectionError, DialError, PauseReason, Proxy, ProxyProblem, SocksReply, Status,
};
use onesocket::net::{ProxyNetwork, TcpNetwork};
use onesocket_gateway::Peer;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::servers::{TOKEN, gateway};

/// A port that nobody listens at.
fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program that listens at this port, and ends with this.
struct Running {
    port: u16,
    _child: Child,
    _files: TempDir,
}

async fn started(program: &str, arguments: &[&str], port: u16, files: TempDir) -> Running {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let child =
        command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; run tests/network/install"));
    let listens = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), listens).await.expect("it listens");
    Running { port, _child: child, _files: files }
}

async fn tinyproxy(port: u16) -> Running {
    let files = TempDir::new().unwrap();
    let path = files.path().join("tinyproxy.conf");
    let config = format!(
        "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nAllow 127.0.0.1\nBasicAuth user s3cret\n"
    );
    std::fs::write(&path, config).unwrap();
    started("tinyproxy", &["-d", "-c", path.to_str().unwrap()], port, files).await
}

async fn microsocks(port: u16) -> Running {
    let port_text = port.to_string();
    let arguments = ["-i", "127.0.0.1", "-p", &port_text, "-u", "user", "-P", "s3cret"];
    started("microsocks", &arguments, port, TempDir::new().unwrap()).await
}

fn client(url: &str, proxy: &str) -> Client {
    let config = Config::new(url).unwrap().token(TOKEN).proxy(Proxy::parse(proxy).unwrap()).unwrap();
    Client::builder().config(config).spawn(ProxyNetwork::new(TcpNetwork)).unwrap()
}

/// What comes of the first attempt.
async fn outcome(url: &str, proxy: &str) -> Result<(), ProxyProblem> {
    let client = client(url, proxy);
    let mut statuses = client.watch_status();
    client.connect();
    let is_over =
        |status: &Status| matches!(status, Status::Ready { .. } | Status::Backoff { .. } | Status::Paused(_));
    let status = timeout(Duration::from_secs(20), statuses.wait_for(is_over)).await.unwrap();
    client.shutdown().await;
    match status {
        Some(Status::Ready { .. }) => Ok(()),
        Some(Status::Backoff { cause, .. }) => match &*cause {
            ConnectionError::Dial(DialError::Proxy { problem, .. }) if !problem.is_permanent() => {
                Err(problem.clone())
            }
            other => panic!("{other}"),
        },
        Some(Status::Paused(reason)) => match &*reason {
            PauseReason::Proxy(DialError::Proxy { problem, .. }) => Err(problem.clone()),
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
#[ignore = "needs tinyproxy: tests/network/install"]
async fn tinyproxy_leads_to_the_gateway_and_says_why_not() {
    let running = tinyproxy(free_port()).await;
    let proxy = |credentials: &str| format!("http://{credentials}127.0.0.1:{}", running.port);
    let to_gateway = format!("ws://127.0.0.1:{}", gateway(Peer::REMOTE).await);
    assert_eq!(outcome(&to_gateway, &proxy("user:s3cret@")).await, Ok(()));
    let refused = |given| Err(ProxyProblem::Credentials { given });
    assert_eq!(outcome(&to_gateway, &proxy("")).await, refused(false));
    assert_eq!(outcome(&to_gateway, &proxy("user:wrong@")).await, refused(true));
    let nobody = outcome(&format!("ws://127.0.0.1:{}", free_port()), &proxy("user:s3cret@")).await;
    assert!(matches!(nobody, Err(ProxyProblem::Http { status: 500..600, .. })), "{nobody:?}");
}

#[tokio::test]
#[ignore = "needs microsocks: tests/network/install"]
async fn microsocks_leads_to_the_gateway_and_says_why_not() {
    let running = microsocks(free_port()).await;
    let proxy = |credentials: &str| format!("socks5h://{credentials}127.0.0.1:{}", running.port);
    let port = gateway(Peer::REMOTE).await;
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(outcome(&format!("ws://{host}:{port}"), &proxy("user:s3cret@")).await, Ok(()), "{host}");
    }
    let to_gateway = format!("ws://127.0.0.1:{port}");
    assert_eq!(outcome(&to_gateway, &proxy("")).await, Err(ProxyProblem::Credentials { given: false }));
    let wrong = outcome(&to_gateway, &proxy("user:wrong@")).await;
    assert_eq!(wrong, Err(ProxyProblem::Credentials { given: true }));
    let nobody = outcome(&format!("ws://127.0.0.1:{}", free_port()), &proxy("user:s3cret@")).await;
    assert_eq!(nobody, Err(ProxyProblem::Socks(SocksReply::Refused)));
}

/// A proxy that is away is waited for.
#[tokio::test]
#[ignore = "needs microsocks: tests/network/install"]
async fn no_wedge_a_proxy_that_comes_back_is_used() {
    let port = free_port();
    let proxy = format!("socks5://user:s3cret@127.0.0.1:{port}");
    let url = format!("ws://127.0.0.1:{}", gateway(Peer::REMOTE).await);
    let refused = ProxyProblem::Unreachable(Box::new(DialError::Refused));
    assert_eq!(outcome(&url, &proxy).await, Err(refused));
    let client = client(&url, &proxy);
    let mut statuses = client.watch_status();
    client.connect();
    statuses.wait_for(|status| matches!(status, Status::Backoff { .. })).await;
    let _running = microsocks(port).await;
    timeout(Duration::from_secs(20), client.ready()).await.unwrap().unwrap();
    client.shutdown().await;
}
