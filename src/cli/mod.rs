//! What the command line understands.

mod first_contact;
mod headers;
mod input;
mod json;
pub(crate) mod output;
mod requests;
mod signals;
mod sockets;
mod waiting;
mod watching;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use onesocket::Client;
use onesocket::core::config::DEFAULT_URL;
use onesocket::core::{
    ClientInfo, Config, ConfigError, ConnectionError, DriverEnd, Endpoint, Options, PauseReason, Pin,
    PinPolicy, Pins, Plaintext, Proxy, RequestError,
};
use onesocket::endpoint_store::{PASSWORD_VARIABLE, TOKEN_VARIABLE};
use onesocket::net::any_network;
use thiserror::Error;

use input::{Environment, InputFile, InputProblem};
use signals::Signal;

/// The environment variable that holds the gateway's url.
const URL_VARIABLE: &str = "OPENCLAW_GATEWAY_URL";

/// The environment variable that lets plaintext go to private names (protocol 18.1).
const PLAINTEXT_VARIABLE: &str = "OPENCLAW_ALLOW_INSECURE_PRIVATE_WS";

/// What the command tells its caller.
const EXIT_STATUS: &str = "Exit status: 0 done; 1 the gateway could not be reached in time, or said no; 2 wrong usage or \
    input; 130 interrupted (Ctrl-C), 143 terminated. Results go to standard output, everything else to standard error.";

/// Talks to an OpenClaw Gateway over one socket.
///
/// The token comes from OPENCLAW_GATEWAY_TOKEN or from --token-file, never from an argument: the
/// arguments of a process can be seen by everybody on the machine. A password comes from
/// OPENCLAW_GATEWAY_PASSWORD, and headers for a proxy in front of the gateway from --header-file or
/// OPENCLAW_GATEWAY_HEADERS. A blank variable counts as not set.
#[derive(Debug, Parser)]
#[command(name = "onesocket", version, after_long_help = EXIT_STATUS)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What all commands take.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// The gateway, like ws://127.0.0.1:18789; by default OPENCLAW_GATEWAY_URL, or this machine.
    #[arg(long, global = true)]
    url: Option<String>,
    /// A file that holds the token, which goes before OPENCLAW_GATEWAY_TOKEN.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Send this header with the upgrade, like 'X-Team: blue'; may be repeated. Everybody on the machine can see it.
    #[arg(long, global = true, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// A file that holds headers, one a line, which go before those of OPENCLAW_GATEWAY_HEADERS.
    #[arg(long, global = true, value_name = "FILE")]
    header_file: Option<PathBuf>,
    /// Take only a gateway with this pin: sha256// and base64 for a public key, or sha256: and hexadecimal digits for a
    /// certificate. One of several is enough.
    #[arg(long, global = true, value_name = "PIN", visible_alias = "tls-fingerprint", value_delimiter = ';')]
    pin: Vec<String>,
    /// What pins mean beside the system's trust: no more than they do is asked for, both are, or either.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "POLICY")]
    pin_policy: Policy,
    /// Reach the gateway through this proxy, like http://proxy.example:3128 or socks5h://127.0.0.1:1080. A password
    /// belongs in HTTPS_PROXY or ALL_PROXY, which count without this: everybody on the machine can see arguments.
    #[arg(long, global = true, value_name = "URL", conflicts_with = "no_proxy")]
    proxy: Option<String>,
    /// Reach the gateway without a proxy, whatever HTTPS_PROXY, HTTP_PROXY and ALL_PROXY say.
    #[arg(long, global = true)]
    no_proxy: bool,
    /// Let ws:// go to any name that leads to private addresses, although whoever is on the way can read the token. So
    /// does OPENCLAW_ALLOW_INSECURE_PRIVATE_WS=1.
    #[arg(long, global = true)]
    allow_private_plaintext: bool,
    /// Seconds to connect and get an answer. What may pass by itself, such as a restart of the gateway, is waited for.
    #[arg(long, global = true, default_value = "10", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Print JSON, one value to a line.
    #[arg(long, global = true)]
    json: bool,
}

/// What pins mean beside the system's trust.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Policy {
    /// The pins decide, whatever the system says.
    #[default]
    Alone,
    /// The system must trust the gateway as well.
    AndSystem,
    /// A gateway that the system trusts needs no pin.
    OrSystem,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Calls a method and prints the answer.
    Call(Call),
    /// Prints everything the gateway pushes, and reconnects if need be, until interrupted.
    Watch(Watch),
    /// Connects once and prints who is there.
    Status,
    /// Counts the TCP connections to the gateway's port, grouped by process: what to look at first
    /// when a socket leak is suspected.
    Sockets(Sockets),
}

/// Calls a method and prints the answer.
#[derive(Args, Debug)]
struct Call {
    /// The method, like health.
    method: String,
    /// Its parameters, as JSON; or @FILE for those in a file, where - is standard input.
    params: Option<String>,
    /// Wait for the final answer of a method that answers twice.
    #[arg(long = "final")]
    final_reply: bool,
}

/// Prints everything the gateway pushes.
#[derive(Args, Debug)]
struct Watch {
    /// Stop after so many items.
    #[arg(long)]
    count: Option<u64>,
    /// While this device waits to be approved, ask the gateway again after so many seconds, instead of giving up.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..=3_600))]
    pairing_poll: Option<u64>,
}

/// Counts TCP connections.
#[derive(Args, Debug)]
struct Sockets {
    /// Another port than the one of the url.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

/// Why a command could not do its work.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The url cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The token would cross a network in the clear.
    #[error("{0}; if it is the name of a host in a private network, --allow-private-plaintext lets it")]
    Plaintext(ConfigError),
    /// A file cannot be used.
    #[error("{file} {path} {problem}")]
    File {
        /// What it is for.
        file: InputFile,
        /// The file.
        path: String,
        /// Why not.
        problem: InputProblem,
    },
    /// A variable of the environment cannot be used.
    #[error("the variable {name} {problem}")]
    Variable {
        /// Its name.
        name: String,
        /// Why not.
        problem: InputProblem,
    },
    /// Something is no header.
    #[error("{from} does not hold headers, which are lines like 'X-Team: blue'")]
    HeaderLine {
        /// Where it is from.
        from: String,
    },
    /// The parameters are not JSON.
    #[error("the parameters are not JSON: {0}")]
    Params(serde_json::Error),
    /// There was no connection in time.
    #[error("{cause}{advice}; gave up after {after:?}", advice = first_contact::advice(.cause))]
    NotConnected {
        /// Why the last attempt failed.
        cause: Arc<ConnectionError>,
        /// The time it was tried for.
        after: Duration,
        /// Whether that was told when it happened.
        was_told: bool,
    },
    /// TLS came to nothing in a way that no wait of seconds mends.
    #[error("{cause}{advice}", cause = .0, advice = first_contact::advice(.0))]
    NoTls(Arc<ConnectionError>),
    /// The gateway wants somebody to act.
    #[error("{0}")]
    Paused(Arc<PauseReason>),
    /// The gateway did not answer in time.
    #[error(
        "the gateway did not answer within {after:?}{}",
        if *.may_be_done { ", and may have done what it was asked all the same" } else { "" }
    )]
    NoAnswer {
        /// The time it had.
        after: Duration,
        /// Whether it has the request.
        may_be_done: bool,
    },
    /// The connection was shut down meanwhile.
    #[error("the connection was shut down")]
    ShutDown,
    /// The connection ended by a bug of something that it uses.
    #[error("{0}")]
    Lost(Arc<DriverEnd>),
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A signal ended the command.
    #[error("interrupted")]
    Interrupted(Signal),
    /// Whoever reads standard output has seen enough.
    #[error("nobody reads the output")]
    ReaderGone,
    /// The system does not tell, or cannot be used.
    #[error("{what}: {why}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        why: io::Error,
    },
}

impl CliError {
    /// 2 if the caller must call differently, 1 if the world must be different; what shells give for a signal; and 0
    /// where nobody wants more.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Plaintext(_)
            | Self::File { .. }
            | Self::Variable { .. }
            | Self::HeaderLine { .. }
            | Self::Params(_) => 2,
            Self::NotConnected { .. }
            | Self::NoTls(_)
            | Self::Paused(_)
            | Self::NoAnswer { .. }
            | Self::ShutDown
            | Self::Lost(_)
            | Self::Request(_)
            | Self::System { .. } => 1,
            Self::Interrupted(signal) => signal.exit_status(),
            Self::ReaderGone => 0,
        }
    }

    /// Whether the person at the terminal does not know yet.
    pub(crate) fn is_news(&self) -> bool {
        match self {
            Self::Interrupted(_) | Self::ReaderGone => false,
            Self::NotConnected { was_told, .. } => !was_told,
            Self::Config(_)
            | Self::Plaintext(_)
            | Self::File { .. }
            | Self::Variable { .. }
            | Self::HeaderLine { .. }
            | Self::Params(_)
            | Self::NoTls(_)
            | Self::Paused(_)
            | Self::NoAnswer { .. }
            | Self::ShutDown
            | Self::Lost(_)
            | Self::Request(_)
            | Self::System { .. } => true,
        }
    }

    fn of_url(error: ConfigError) -> Self {
        match error {
            ConfigError::PlaintextToPublicHost { .. } => Self::Plaintext(error),
            other => Self::Config(other),
        }
    }

    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |why| Self::System { what, why }
    }
}

/// Carries out a command.
pub(crate) fn run(arguments: Arguments) -> Result<(), CliError> {
    let Arguments { common, command } = arguments;
    let config = common.config()?;
    if let Command::Sockets(sockets) = &command {
        return sockets::sockets(sockets.port.unwrap_or(config.endpoint().port()), common.json);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::system("no runtime can be made"))?;
    runtime.block_on(async {
        let endpoint = config.endpoint().clone();
        let client = Client::builder().config(config).options(command.options()).spawn(any_network())?;
        let work = async {
            match command {
                Command::Call(call) => requests::call(&client, &common, &call).await,
                Command::Status => requests::status(&client, &common, &endpoint).await,
                Command::Watch(watch) => watching::watch(&client, &common, &watch).await,
                Command::Sockets(_) => Ok(()),
            }
        };
        let outcome = signals::unless_interrupted(work).await;
        // Also then the socket is closed in order.
        client.shutdown().await;
        outcome
    })
}

impl Command {
    fn options(&self) -> Options {
        let mut options = Options::default();
        if let Self::Watch(watch) = self {
            options.pairing_poll = watch.pairing_poll.map(Duration::from_secs);
        }
        options
    }
}

impl Common {
    fn config(&self) -> Result<Config, CliError> {
        let environment = Environment::default();
        let url = self.url.clone().or_else(|| environment.get(URL_VARIABLE));
        let info = ClientInfo { id: "cli".to_owned(), mode: "cli".to_owned(), ..ClientInfo::default() };
        let url = url.as_deref().unwrap_or(DEFAULT_URL);
        let endpoint = Endpoint::parse_with(url, self.plaintext(&environment)).map_err(CliError::of_url)?;
        let mut config = Config::from(endpoint).client(info);
        config = match &self.proxy {
            Some(proxy) => config.proxy(Proxy::parse(proxy)?)?,
            None if self.no_proxy => config,
            None => config.proxy_of_environment(|name| environment.get(name))?,
        };
        if let Some(pins) = self.pins()? {
            config = config.pin(pins)?;
        }
        config =
            config.headers(headers::headers(&environment, &self.header, self.header_file.as_deref())?)?;
        let token = match &self.token_file {
            Some(file) => Some(InputFile::Token.read_line(file)?),
            None => environment.secret(TOKEN_VARIABLE)?,
        };
        if let Some(token) = token {
            config = config.token(&token);
        }
        if let Some(password) = environment.secret(PASSWORD_VARIABLE)? {
            config = config.password(&password);
        }
        environment.check()?;
        Ok(config)
    }

    fn pins(&self) -> Result<Option<Pins>, ConfigError> {
        if self.pin.is_empty() {
            return Ok(None);
        }
        let pins = self.pin.iter().map(|pin| pin.parse()).collect::<Result<Vec<Pin>, _>>()?;
        let policy = match self.pin_policy {
            Policy::Alone => PinPolicy::Alone,
            Policy::AndSystem => PinPolicy::AndSystem,
            Policy::OrSystem => PinPolicy::OrSystem,
        };
        Ok(Some(Pins::new(pins)?.with_policy(policy)))
    }

    fn plaintext(&self, environment: &Environment) -> Plaintext {
        let allowed = environment.get(PLAINTEXT_VARIABLE).is_some_and(|value| value == "1");
        if self.allow_private_plaintext || allowed { Plaintext::PrivateNames } else { Plaintext::Guarded }
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}
