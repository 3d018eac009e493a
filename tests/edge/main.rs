//! A gateway behind nginx: what the client makes of what that says, and what gets it through.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use onesocket::Client;
use onesocket::core::{
    CertificatePin, Config, ConnectionError, DialError, PauseReason, Status, UpgradeRefusal, UpgradeRemedy,
};
use onesocket::net::{TcpNetwork, TlsNetwork};
use onesocket_gateway::host::Host;
use onesocket_gateway::{GatewayConfig, GatewayModel, Peer};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// The token that the gateway model wants by default.
const TOKEN: &str = "test-token";
/// Much longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// nginx and the gateway behind it.
struct Edge {
    plain: u16,
    tls: u16,
    pin: CertificatePin,
    _dir: TempDir,
    _nginx: Child,
}

impl Edge {
    async fn start() -> Self {
        let gateway = serve_gateway().await;
        // Held together, or one number would be free twice.
        let free = [free_port().await, free_port().await, free_port().await];
        let [plain, tls, nobody] = free.map(|listener| listener.local_addr().unwrap().port());
        let dir = TempDir::new().unwrap();
        let pin = write_files(
            dir.path(),
            &[("plain", plain), ("tls", tls), ("nobody", nobody), ("gateway", gateway)],
        );
        let nginx = run_nginx(dir.path());
        let edge = Self { plain, tls, pin, _dir: dir, _nginx: nginx };
        edge.listening().await;
        edge
    }

    async fn listening(&self) {
        let listens = async {
            while TcpStream::connect(("127.0.0.1", self.tls)).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LONG, listens).await.expect("nginx listens");
    }

    fn config(&self, path: &str) -> Config {
        Config::new(&format!("ws://127.0.0.1:{}{path}", self.plain)).unwrap().token(TOKEN)
    }
}

async fn free_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// The gateway model on a port of its own.
async fn serve_gateway() -> u16 {
    let listener = free_port().await;
    let port = listener.local_addr().unwrap().port();
    let host = Host::new(GatewayModel::new(GatewayConfig::default(), 7), ());
    tokio::spawn({
        let host = host.clone();
        async move { host.run_clock().await }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(host.serve(stream, Peer::LOCAL));
        }
    });
    port
}

/// Configuration, user and certificate of nginx.
fn write_files(dir: &Path, ports: &[(&str, u16)]) -> CertificatePin {
    let mut conf = include_str!("nginx.conf").replace("{dir}", dir.to_str().unwrap());
    for (name, port) in ports {
        conf = conf.replace(&format!("{{{name}}}"), &port.to_string());
    }
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = [
        ("nginx.conf", conf),
        ("users", "ali:{PLAIN}sesame\n".to_owned()),
        ("certificate.pem", pem("CERTIFICATE", cert.der())),
        ("key.pem", pem("PRIVATE KEY", &signing_key.serialize_der())),
    ];
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
    CertificatePin::of_der(cert.der())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn run_nginx(dir: &Path) -> Child {
    let system = Path::new("/usr/sbin/nginx");
    let nginx = if system.is_file() { system } else { Path::new("nginx") };
    let mut command = Command::new(nginx);
    command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf")).arg("-e").arg(dir.join("error.log"));
    command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("nginx starts; tests/edge/install installs it")
}

/// What the first attempt leads to.
async fn first_status(config: Config) -> Status {
    let client = Client::builder().config(config).spawn(TlsNetwork::new(TcpNetwork)).unwrap();
    let mut statuses = client.watch_status();
    client.connect();
    let decided =
        |status: &Status| matches!(status, Status::Ready { .. } | Status::Backoff { .. } | Status::Paused(_));
    let status = timeout(LONG, statuses.wait_for(decided)).await.expect("it is decided").expect("it runs");
    client.shutdown().await;
    status
}

async fn paused(config: Config) -> UpgradeRefusal {
    let status = first_status(config).await;
    let Status::Paused(reason) = &status else { panic!("{status:?}") };
    let PauseReason::Upgrade(refusal) = &**reason else { panic!("{reason}") };
    UpgradeRefusal::clone(refusal)
}

async fn retried(config: Config) -> UpgradeRefusal {
    let status = first_status(config).await;
    let Status::Backoff { cause, .. } = &status else { panic!("{status:?}") };
    let ConnectionError::Dial(DialError::Upgrade(refusal)) = &**cause else { panic!("{cause}") };
    UpgradeRefusal::clone(refusal)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx: tests/edge/install"]
async fn no_wedge_a_gateway_behind_nginx_is_reached() {
    let edge = Edge::start().await;
    for path in ["", "/ws", "?token=1"] {
        let status = first_status(edge.config(path)).await;
        assert!(matches!(status, Status::Ready { .. }), "{path}: {status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx: tests/edge/install"]
async fn no_storm_what_nginx_refuses_for_good_pauses() {
    let edge = Edge::start().await;
    let moved = paused(edge.config("/moved")).await;
    assert_eq!((moved.status, moved.remedy()), (301, UpgradeRemedy::Redirect));
    assert_eq!(moved.location.as_deref(), Some("https://gw2.example/ws"));
    assert!(
        moved.body.contains("301 Moved Permanently") && moved.body.ends_with("</html>"),
        "{:?}",
        moved.body
    );
    let sign_in = paused(edge.config("/sign-in-first")).await;
    assert_eq!((sign_in.status, sign_in.remedy()), (302, UpgradeRemedy::Redirect));
    let location = format!("http://127.0.0.1:{}/sign-in", edge.plain);
    assert_eq!(sign_in.location.as_deref(), Some(&*location));
    // The model serves no pages: a gateway would answer 200.
    let not_upgraded = paused(edge.config("/not-upgraded")).await;
    assert_eq!(not_upgraded.remedy(), UpgradeRemedy::Endpoint);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx: tests/edge/install"]
async fn no_wedge_what_nginx_refuses_for_now_is_waited_for() {
    let edge = Edge::start().await;
    let busy = retried(edge.config("/busy")).await;
    assert_eq!((busy.status, busy.retry_after), (429, Some(Duration::from_secs(60))));
    let down = retried(edge.config("/down")).await;
    assert_eq!((down.status, down.reason.as_str()), (502, "Bad Gateway"));
    assert!(down.body.contains("nginx") && down.body.ends_with("</html>"), "{:?}", down.body);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx: tests/edge/install"]
async fn right_credential_headers_get_the_upgrade_through() {
    let edge = Edge::start().await;
    let unknown = paused(edge.config("/private")).await;
    assert_eq!((unknown.status, unknown.remedy()), (401, UpgradeRemedy::Credentials));
    assert_eq!(unknown.authenticate.as_deref(), Some("Basic realm=\"edge\""));
    // ali:sesame, and ali:sesamo.
    let known = edge.config("/private").header("Authorization", "Basic YWxpOnNlc2FtZQ==").unwrap();
    assert!(matches!(first_status(known).await, Status::Ready { .. }));
    let wrong = edge.config("/private").header("Authorization", "Basic YWxpOnNlc2Ftbw==").unwrap();
    assert_eq!(paused(wrong).await.status, 401);

    assert_eq!(paused(edge.config("/team")).await.status, 403);
    let red = edge.config("/team").header("X-Team", "red").unwrap();
    assert_eq!(paused(red).await.status, 403);
    let blue = edge.config("/team").header("x-team", "blue").unwrap();
    assert!(matches!(first_status(blue).await, Status::Ready { .. }));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx: tests/edge/install"]
async fn right_credential_headers_go_over_tls_and_a_tls_port_is_named() {
    let edge = Edge::start().await;
    let secure =
        Config::new(&format!("wss://localhost:{}", edge.tls)).unwrap().token(TOKEN).pin(edge.pin).unwrap();
    assert_eq!(paused(secure.clone()).await.status, 403);
    let status = first_status(secure.header("X-Team", "blue").unwrap()).await;
    assert!(matches!(status, Status::Ready { .. }), "{status:?}");

    let plain = Config::new(&format!("ws://127.0.0.1:{}", edge.tls)).unwrap().token(TOKEN);
    let refusal = paused(plain).await;
    assert_eq!((refusal.status, refusal.remedy()), (400, UpgradeRemedy::Tls));
    assert!(refusal.to_string().ends_with("this port speaks TLS, use wss://"), "{refusal}");
}
