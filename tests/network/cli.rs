//! What the command line makes of proxies, names and a lack of descriptors.

use std::os::unix::ffi::OsStrExt;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use onesocket_gateway::Peer;
use tokio::process::Command;
use tokio::time::timeout;

use crate::servers::{TOKEN, gateway, tunnels};

const ESTABLISHED: &str = "HTTP/1.1 200 OK\r\n\r\n";
/// An address of a private network that is not this machine's.
const FAR: &str = "ws://10.213.9.7:18789";

fn onesocket(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onesocket"));
    for name in [
        "https_proxy",
        "HTTPS_PROXY",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
    ] {
        command.env_remove(name);
    }
    command.env("OPENCLAW_GATEWAY_TOKEN", TOKEN).envs(environment.iter().copied());
    command.args(["--timeout", "2"]).args(arguments).kill_on_drop(true);
    command
}

async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = onesocket(arguments, environment).output().await.unwrap();
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn a_proxy_comes_from_the_arguments_or_the_environment() {
    let (port, asked) = tunnels(gateway(Peer::REMOTE).await, ESTABLISHED).await;
    let proxy = format!("http://127.0.0.1:{port}");
    let call = ["call", "health", "--url", FAR];
    let (status, text) = run(&[&call[..], &["--proxy", &proxy]].concat(), &[]).await;
    assert_eq!(status, Some(0), "{text}");
    for variable in ["ALL_PROXY", "http_proxy", "HTTP_PROXY"] {
        let (status, text) = run(&call, &[(variable, &proxy)]).await;
        assert_eq!(status, Some(0), "{variable}: {text}");
    }
    assert_eq!(*asked.lock().unwrap(), ["CONNECT 10.213.9.7:18789 HTTP/1.1"; 4]);

    // It is left out where somebody says so; then there is no way there.
    let (status, _) = run(&call, &[("ALL_PROXY", &proxy), ("NO_PROXY", "10.0.0.0/8")]).await;
    assert_eq!(status, Some(1));
    let (status, _) = run(&[&call[..], &["--no-proxy"]].concat(), &[("ALL_PROXY", &proxy)]).await;
    assert_eq!(status, Some(1));
    let here = format!("ws://127.0.0.1:{}", gateway(Peer::LOCAL).await);
    let (status, text) = run(&["call", "health", "--url", &here], &[("ALL_PROXY", &proxy)]).await;
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(asked.lock().unwrap().len(), 4, "the proxy was not asked again");
}

#[tokio::test]
async fn what_a_proxy_wants_is_said() {
    let (port, _) = tunnels(gateway(Peer::REMOTE).await, "HTTP/1.1 407 Auth\r\n\r\n").await;
    let proxy = format!("http://user:s3cret@127.0.0.1:{port}");
    let (status, text) = run(&["call", "health", "--url", FAR], &[("ALL_PROXY", &proxy)]).await;
    let expected = format!("the proxy http://…@127.0.0.1:{port}: it refuses the credentials");
    assert!(status == Some(1) && text.contains(&expected) && !text.contains("s3cret"), "{status:?} {text}");

    let (status, text) = run(&["call", "health", "--url", FAR, "--proxy", "ftp://x"], &[]).await;
    assert!(status == Some(2) && text.contains("it must begin with http://"), "{status:?} {text}");
    let unreadable = std::ffi::OsStr::from_bytes(b"http://\xff:1");
    let mut command = onesocket(&["call", "health", "--url", FAR], &[]);
    let output = command.env("ALL_PROXY", unreadable).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let both = ["call", "health", "--proxy", "http://x", "--no-proxy"];
    assert_eq!(run(&both, &[]).await.0, Some(2));
}

#[tokio::test]
async fn plaintext_to_a_name_is_opted_into() {
    let call = ["call", "health", "--url", "ws://gateway.invalid:1"];
    let (status, text) = run(&call, &[]).await;
    assert!(status == Some(2) && text.contains("use wss://"), "{status:?} {text}");
    assert!(text.contains("--allow-private-plaintext"), "{text}");
    let begun = Instant::now();
    let (status, text) = run(&[&call[..], &["--allow-private-plaintext"]].concat(), &[]).await;
    assert!(status == Some(1) && !text.contains("use wss://"), "{status:?} {text}");
    assert!(begun.elapsed() < Duration::from_secs(10), "nothing is waited for after the time is up");
    let (status, _) = run(&call, &[("OPENCLAW_ALLOW_INSECURE_PRIVATE_WS", "1")]).await;
    assert_eq!(status, Some(1));
}

/// However few descriptors there are: it works, or it says that they are too few, and works once there are more.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_lack_of_descriptors_is_told_as_that() {
    let url = format!("ws://127.0.0.1:{}", gateway(Peer::LOCAL).await);
    let program = env!("CARGO_BIN_EXE_onesocket");
    let (mut told, mut worked) = (None, false);
    for limit in 3..=24 {
        let line = format!("ulimit -n {limit}; exec {program} --timeout 1 call health --url {url}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).env("OPENCLAW_GATEWAY_TOKEN", TOKEN).kill_on_drop(true);
        let Output { status, stderr, .. } = shell.output().await.unwrap();
        let text = String::from_utf8_lossy(&stderr);
        if status.success() {
            worked = true;
        } else if text.contains("out of file descriptors") {
            told = Some(limit);
        } else {
            // Not even the program, or its runtime, could start.
            let reasons = ["no runtime can be made", "error while loading", "os error 24", "code: 24"];
            assert!(reasons.iter().any(|reason| text.contains(reason)), "{limit}: {text}");
        }
    }
    assert!(worked);
    let limit = told.expect("between too few to start and enough are too few to connect");

    let line = format!("ulimit -S -n {limit}; exec {program} watch --count 1 --url {url}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).env("OPENCLAW_GATEWAY_TOKEN", TOKEN).stdout(Stdio::piped()).kill_on_drop(true);
    let watching = shell.spawn().unwrap();
    let pid = watching.id().expect("it runs");
    // The first dial fails at once; then the program waits, for nothing but its next.
    while !waits_in_epoll(pid) {
        tokio::task::yield_now().await;
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap());
    let more = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, more).unwrap();
    let output = timeout(Duration::from_secs(20), watching.wait_with_output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.starts_with("snapshot"), "{text}");
}

/// Whether the program is past its start and sleeps.
#[cfg(target_os = "linux")]
fn waits_in_epoll(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let has_epoll = descriptors
        .filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok())
        .any(|target| target.to_string_lossy().contains("eventpoll"));
    has_epoll && stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S'))
}
