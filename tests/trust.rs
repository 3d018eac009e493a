//! The trust of the system as it comes, goes and changes under the `onesocket` command line, over real TCP.
#![cfg(target_os = "linux")]

// It is shared with the tests of TLS over the simulated network, which use more of it.
#[allow(dead_code)]
#[path = "tls/identity.rs"]
mod identity;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use onesocket_gateway::host::Host;
use onesocket_gateway::{GatewayConfig, GatewayModel, Peer};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use identity::{Authority, Identity, params};

const TOKEN: &str = "test-token";

/// A gateway on this machine, behind TLS unless it has no certificate.
struct Gateway {
    address: SocketAddr,
    server: Arc<Mutex<Option<Arc<ServerConfig>>>>,
    hang_up: Arc<Notify>,
}

impl Gateway {
    async fn start(identity: Option<&Identity>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Host::new(GatewayModel::new(GatewayConfig::default(), 7), ());
        let gateway = Self {
            address: listener.local_addr().unwrap(),
            server: Arc::new(Mutex::new(identity.map(Identity::server))),
            hang_up: Arc::default(),
        };
        tokio::spawn({
            let host = host.clone();
            async move { host.run_clock().await }
        });
        let (server, hang_up) = (Arc::clone(&gateway.server), Arc::clone(&gateway.hang_up));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (host, server) = (host.clone(), server.lock().unwrap().clone());
                let hung_up = Arc::clone(&hang_up).notified_owned();
                tokio::spawn(async move {
                    tokio::select! {
                        () = serve(host, server, stream) => {}
                        () = hung_up => {}
                    }
                });
            }
        });
        gateway
    }

    fn url(&self) -> String {
        let scheme = if self.server.lock().unwrap().is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}", self.address)
    }

    /// Ends every connection.
    fn hang_up(&self) {
        self.hang_up.notify_waiters();
    }

    fn presents(&self, identity: &Identity) {
        *self.server.lock().unwrap() = Some(identity.server());
    }

    /// Runs the tool with these arguments and this trust.
    async fn run(&self, arguments: &[&str], trust: &[(&str, &Path)]) -> Output {
        let mut command = tool(arguments, &self.url(), trust);
        timeout(Duration::from_secs(60), command.output()).await.expect("it ends").expect("it starts")
    }

    fn watch(&self, arguments: &[&str], trust: &[(&str, &Path)]) -> Watch {
        let mut child =
            tool(&[&["watch"], arguments].concat(), &self.url(), trust).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Watch { child, lines }
    }
}

async fn serve(host: Host, server: Option<Arc<ServerConfig>>, stream: TcpStream) {
    let Some(server) = server else { return host.serve(stream, Peer::LOCAL).await };
    if let Ok(stream) = TlsAcceptor::from(server).accept(stream).await {
        host.serve(stream, Peer::LOCAL).await;
    }
}

fn tool(arguments: &[&str], url: &str, trust: &[(&str, &Path)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onesocket"));
    command.args(arguments).env_clear().envs(trust.iter().copied());
    command.env("OPENCLAW_GATEWAY_URL", url).env("OPENCLAW_GATEWAY_TOKEN", TOKEN);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A client that stays.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    /// The next line with these words.
    async fn says(&mut self, words: &str) -> String {
        let said = async {
            while let Some(line) = self.lines.next_line().await.expect("it prints text") {
                if line.contains(words) {
                    return line;
                }
            }
            panic!("it ended without {words:?}")
        };
        timeout(Duration::from_secs(60), said).await.unwrap_or_else(|_| panic!("it does not say {words:?}"))
    }

    fn pid(&self) -> Pid {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        pid.and_then(Pid::from_raw).expect("it runs")
    }

    /// Files and sockets that it may have open.
    fn allow_descriptors(&self, count: Option<u64>) {
        let limit = Rlimit { current: count, maximum: getrlimit(Resource::Nofile).maximum };
        prlimit(Some(self.pid()), Resource::Nofile, limit).expect("it is our child");
    }
}

/// Where authorities are kept, one file for each.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts it in place as a whole, as installers do.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
        self.path(name)
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let digits = STANDARD.encode(certificate);
    let lines: Vec<&str> =
        (0..digits.len()).step_by(64).map(|at| &digits[at..digits.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// An authority and a gateway that it vouches for.
fn authority() -> (Authority, Identity) {
    let root = Authority::root("root");
    let identity = root.issue(&params("127.0.0.1"));
    (root, identity)
}

/// The one line of an error with this exit status.
fn complaint(output: &Output, status: i32) -> &str {
    assert_eq!((output.status.code(), &*output.stdout), (Some(status), &b""[..]), "{output:?}");
    let line = std::str::from_utf8(&output.stderr).unwrap().trim_end();
    assert!(line.starts_with("onesocket: ") && line.lines().count() == 1, "{line}");
    line
}

const CALL: [&str; 3] = ["call", "test.echo", "{}"];

#[tokio::test(flavor = "multi_thread")]
async fn trust_is_read_from_a_file_and_from_a_folder() {
    let (root, identity) = authority();
    let gateway = Gateway::start(Some(&identity)).await;
    let folder = Folder::new();
    let (empty, certificates) =
        (folder.write("empty.pem", ""), folder.write("root.pem", &pem(root.certificate())));
    for trust in [
        &[("SSL_CERT_FILE", &*certificates)][..],
        &[("SSL_CERT_DIR", folder.0.path())],
        &[("SSL_CERT_FILE", &*empty), ("SSL_CERT_DIR", folder.0.path())],
        // What is missing takes nothing away from what is there.
        &[("SSL_CERT_FILE", Path::new("/no/such/file")), ("SSL_CERT_DIR", folder.0.path())],
        &[("SSL_CERT_FILE", &*certificates), ("SSL_CERT_DIR", Path::new("/no/such/folder"))],
    ] {
        let output = gateway.run(&CALL, trust).await;
        assert_eq!(output.status.code(), Some(0), "{trust:?}: {output:?}");
    }
}

/// The system is named, and not the gateway; and none of it keeps the tool from ending.
#[tokio::test(flavor = "multi_thread")]
async fn a_trust_that_cannot_be_read_is_told_from_a_gateway_that_is_not_trusted() {
    let (_, identity) = authority();
    let gateway = Gateway::start(Some(&identity)).await;
    let folder = Folder::new();
    let nothing = Folder::new();
    let fifo = folder.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().await.unwrap().success());
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let unparsable = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (trust, why) in [
        (("SSL_CERT_FILE", PathBuf::from("/no/such/file")), "No such file or directory"),
        (("SSL_CERT_DIR", PathBuf::from("/no/such/folder")), "No such file or directory"),
        (("SSL_CERT_FILE", folder.0.path().to_owned()), "is no regular file"),
        (("SSL_CERT_FILE", fifo), "is no regular file"),
        (("SSL_CERT_FILE", PathBuf::from("/dev/zero")), "is no regular file"),
        (("SSL_CERT_DIR", nothing.0.path().to_owned()), "there are none in SSL_CERT_DIR"),
        (("SSL_CERT_FILE", folder.write("empty.pem", "")), "there are none in SSL_CERT_FILE"),
        (("SSL_CERT_FILE", folder.write("text.pem", "no certificate")), "there are none in SSL_CERT_FILE"),
        (("SSL_CERT_FILE", folder.write("broken.pem", broken)), "broken.pem"),
        (("SSL_CERT_FILE", folder.write("unparsable.pem", unparsable)), "there are none in SSL_CERT_FILE"),
    ] {
        // It may pass, so it is waited for.
        let output = gateway.run(&[&CALL[..], &["--timeout", "1"]].concat(), &[(trust.0, &trust.1)]).await;
        let line = complaint(&output, 1);
        assert!(line.contains("the certificates that this system trusts could not be read"), "{line}");
        assert!(line.contains(why), "{line}");
    }
    // With some of it unread, nobody is known to be unknown.
    let stranger = folder.write("stranger.pem", &pem(Authority::root("stranger").certificate()));
    let partly = [("SSL_CERT_FILE", &*stranger), ("SSL_CERT_DIR", Path::new("/no/such/folder"))];
    let output = gateway.run(&[&CALL[..], &["--timeout", "1"]].concat(), &partly).await;
    assert!(complaint(&output, 1).contains("could not be read: "), "{output:?}");
    let output = gateway.run(&CALL, &partly[..1]).await;
    assert!(
        complaint(&output, 1).contains("is signed by no authority that this system trusts"),
        "{output:?}"
    );
}

/// A machine that is not set up yet when the tool begins.
#[tokio::test(flavor = "multi_thread")]
async fn no_wedge_trust_that_is_missing_at_first_is_waited_for() {
    let (root, identity) = authority();
    let gateway = Gateway::start(Some(&identity)).await;
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let folder = Folder::new();
        let missing = if variable == "SSL_CERT_FILE" { "root.pem" } else { "certificates" };
        let trust = [(variable, &*folder.path(missing))];
        let mut call =
            tool(&[&CALL[..], &["--timeout", "30"]].concat(), &gateway.url(), &trust).spawn().unwrap();
        let mut told = BufReader::new(call.stderr.take().unwrap()).lines();
        let first = timeout(Duration::from_secs(60), told.next_line()).await.unwrap().unwrap().unwrap();
        assert!(first.contains("could not be read") && first.contains("No such file"), "{first}");
        let certificate = pem(root.certificate());
        if variable == "SSL_CERT_FILE" {
            folder.write(missing, &certificate);
        } else {
            fs::create_dir(folder.path("made")).unwrap();
            fs::write(folder.path("made/root.pem"), &certificate).unwrap();
            fs::rename(folder.path("made"), folder.path(missing)).unwrap();
        }
        let output = timeout(Duration::from_secs(60), call.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

/// Neither a failure nor a success is kept: each dial sees what is there.
#[tokio::test(flavor = "multi_thread")]
async fn no_wedge_trust_that_goes_comes_back_and_changes_is_seen() {
    let (root, identity) = authority();
    let (other_root, other) = authority();
    let gateway = Gateway::start(Some(&identity)).await;
    let folder = Folder::new();
    let file = folder.write("root.pem", &pem(root.certificate()));
    let mut watch = gateway.watch(&[], &[("SSL_CERT_FILE", &file)]);
    watch.says("snapshot").await;

    fs::remove_file(&file).unwrap();
    gateway.hang_up();
    watch.says("could not be read").await;
    folder.write("root.pem", &pem(root.certificate()));
    watch.says("snapshot").await;

    folder.write("root.pem", &pem(other_root.certificate()));
    gateway.hang_up();
    watch.says("is signed by no authority").await;
    gateway.presents(&other);
    watch.says("snapshot").await;
}

/// Without a descriptor no file can be read and no socket opened. It is the system's doing, and it passes.
#[tokio::test(flavor = "multi_thread")]
async fn no_wedge_exhausted_descriptors_are_waited_for() {
    let (root, identity) = authority();
    let folder = Folder::new();
    let file = folder.write("root.pem", &pem(root.certificate()));
    let pin = identity.key_pin().to_string();
    for (identity, arguments) in
        [(Some(&identity), &[][..]), (Some(&identity), &["--pin", &*pin]), (None, &[])]
    {
        let gateway = Gateway::start(identity).await;
        let mut watch = gateway.watch(arguments, &[("SSL_CERT_FILE", &file)]);
        watch.says("snapshot").await;
        // Those that are open stay open.
        watch.allow_descriptors(Some(3));
        gateway.hang_up();
        watch.says("this process is out of file descriptors").await;
        watch.allow_descriptors(getrlimit(Resource::Nofile).current);
        watch.says("snapshot").await;
    }
}

/// What the error says is enough to go on with.
#[tokio::test(flavor = "multi_thread")]
async fn the_tool_names_the_pin_of_a_gateway_that_it_does_not_know() {
    let identity = Identity::new("gateway.test");
    let gateway = Gateway::start(Some(&identity)).await;
    let folder = Folder::new();
    let stranger = folder.write("stranger.pem", &pem(Authority::root("stranger").certificate()));
    let trust = [("SSL_CERT_FILE", &*stranger)];
    let output = gateway.run(&CALL, &trust).await;
    let line = complaint(&output, 1);
    assert!(line.contains(&identity.pin().to_string()), "{line}");
    let (_, advice) = line.split_once("add --pin ").expect("it says what to add");
    assert_eq!(advice, identity.key_pin().to_string());
    let output = gateway.run(&[&CALL[..], &["--pin", advice]].concat(), &trust).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let other = Identity::new("gateway.test");
    gateway.presents(&other);
    let output = gateway.run(&[&CALL[..], &["--pin", advice]].concat(), &trust).await;
    let line = complaint(&output, 1);
    assert!(line.contains("is not the pinned one") && line.contains(&other.key_pin().to_string()), "{line}");
    let (one, fingerprint) = (identity.key_pin().to_string(), other.pin().to_string());
    let both = format!("{one};{fingerprint}");
    for arguments in [
        &["--pin", &*one, "--pin", &*fingerprint][..],
        &["--pin", &*both],
        &["--tls-fingerprint", &*fingerprint],
        &["--pin", &*fingerprint, "--pin-policy", "or-system"],
    ] {
        let output = gateway.run(&[&CALL[..], arguments].concat(), &trust).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    }
    let output = gateway
        .run(&[&CALL[..], &["--pin", &fingerprint, "--pin-policy", "and-system"]].concat(), &trust)
        .await;
    assert!(complaint(&output, 1).contains("is signed by no authority"), "{output:?}");
    for unusable in ["", "sha1//AAAA", "sha256//AAAA", "zz"] {
        let output = gateway.run(&[&CALL[..], &["--pin", unusable]].concat(), &trust).await;
        assert!(complaint(&output, 2).contains("a pin is a certificate's SHA-256"), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tool_names_a_port_without_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}", listener.local_addr().unwrap());
    let pin = Identity::new("gateway.test").pin().to_string();
    let mut status = tool(&["status", "--pin", &pin], &url, &[]);
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4_096]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await.unwrap();
    });
    let output = timeout(Duration::from_secs(60), status.output()).await.unwrap().unwrap();
    assert!(complaint(&output, 1).contains("this port does not speak TLS"), "{output:?}");
    answering.await.unwrap();
}
