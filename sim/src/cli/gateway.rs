//! `cargo sim gateway`.

use std::io::{self, BufRead, IsTerminal};
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use onesocket_gateway::GatewayConfig;
use onesocket_gateway::config::{Auth, Latency};
use onesocket_sim::plan::Plan;
use onesocket_sim::standin::command::{Command, help};
use onesocket_sim::standin::{EventLog, StandIn, StandInConfig, Steering, play};
use tokio::sync::mpsc;

use super::arguments::Gateway;
use super::error::{CliError, Verdict};
use super::output::{complain, print};
use super::printer::{Lines, Printer};
use super::replaying::load;

/// How long the gateway may take to close its connections at the end.
const GOODBYE: Duration = Duration::from_secs(3);
/// Lines that wait to be printed; more are counted instead.
const LINES_MAX: usize = 10_000;

/// Serves the gateway model on real TCP until it is interrupted.
pub(super) fn gateway(arguments: &Gateway) -> Result<Verdict, CliError> {
    let plan = arguments.plan.as_deref().map(load).transpose()?.map(|scenario| scenario.plan);
    let listen = address(&arguments.listen)?;
    let control = (!arguments.no_control).then(|| address(&arguments.control)).transpose()?;
    let setup =
        StandInConfig { config: config(arguments, plan.as_ref()), seed: fresh_seed(), listen, control };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
    runtime.block_on(serve(setup, plan.as_ref()))
}

fn config(arguments: &Gateway, plan: Option<&Plan>) -> GatewayConfig {
    let default = if plan.is_some() { Plan::FIRST_TOKEN } else { "test-token" };
    let token = arguments.token.as_deref().unwrap_or(default).to_owned();
    let mut config =
        GatewayConfig { auth: Auth::Token(token), epoch_ms: unix_ms(), ..GatewayConfig::default() };
    config.timing.head_timeout = Duration::from_secs(arguments.head_timeout);
    if let Some(plan) = plan {
        config.timing.tick_interval = Duration::from_millis(plan.params.tick_ms);
        let jitter = Duration::from_millis(plan.params.answer_ms);
        config.latency.request = Latency { fixed: Duration::ZERO, jitter };
    }
    config
}

/// The address something names; a bare port is one of this machine.
fn address(text: &str) -> Result<SocketAddr, CliError> {
    let error = |why: String| CliError::Address { text: text.to_owned(), why };
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let mut found = text.to_socket_addrs().map_err(|why| match why.kind() {
        io::ErrorKind::InvalidInput => error("an address looks like 127.0.0.1:18789".to_owned()),
        _ => error(why.to_string()),
    })?;
    found.next().ok_or_else(|| error("the name has no address".to_owned()))
}

async fn serve(setup: StandInConfig, plan: Option<&Plan>) -> Result<Verdict, CliError> {
    // A gateway whose output nobody reads is still a gateway.
    let printer = Printer::start(LINES_MAX, |line| drop(print(line)));
    let lines = printer.lines.clone();
    let event_log = EventLog::new(move |line| lines.say(line));
    let standin = StandIn::bind(setup, event_log.clone(), event_log.clone()).await?;
    if let Some(control) = standin.control_address() {
        printer.lines.say(&format!("control on http://{control}/__sim/"));
    }
    let listening = format!("listening on ws://{}", standin.address());
    let steering = standin.steering();
    let steered = async {
        tokio::select! {
            biased;
            () = interrupted() => {}
            // Whoever reads this may interrupt, so it is said once that is heard.
            () = announce(&listening, &printer.lines) => {}
            () = prompt(&steering, &printer.lines) => {}
            () = follow(plan, &steering, &event_log) => {}
        }
        // A second interrupt does not wait for clients that take their time.
        tokio::select! {
            biased;
            () = interrupted() => {}
            _ = tokio::time::timeout(GOODBYE, steering.shut_down()) => {}
        }
    };
    tokio::select! {
        biased;
        () = steered => {}
        () = standin.run() => {}
    }
    let unseen = printer.finish();
    if unseen > 0 {
        complain(&format!("{unseen} lines were not printed: nobody read them in time"));
    }
    Ok(Verdict::Clean)
}

/// Says one line, and then waits for ever.
async fn announce(line: &str, lines: &Lines) {
    lines.say(line);
    std::future::pending::<()>().await;
}

/// Carries out the plan, and then waits for ever.
async fn follow(plan: Option<&Plan>, steering: &Steering, event_log: &EventLog) {
    if let Some(plan) = plan {
        play(plan, steering, event_log).await;
    }
    std::future::pending::<()>().await;
}

/// Waits for Ctrl-C, or for what a service manager sends.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                biased;
                _ = terminate.recv() => return,
                interrupt = tokio::signal::ctrl_c() => return wait_if_deaf(interrupt).await,
            }
        }
    }
    wait_if_deaf(tokio::signal::ctrl_c().await).await;
}

/// Without a handler, an interrupt ends the process as it ends any other.
async fn wait_if_deaf(interrupt: io::Result<()>) {
    if interrupt.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Reads commands from a terminal until its end or `quit`; for ever if there is no terminal.
async fn prompt(steering: &Steering, lines: &Lines) {
    if !io::stdin().is_terminal() {
        return std::future::pending().await;
    }
    lines.say("type help for what can be done");
    let (said, mut heard) = mpsc::channel(16);
    // Reading a terminal blocks, and cannot be called off: the thread ends with the process.
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if said.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = heard.recv().await {
        if line.trim().is_empty() {
            continue;
        }
        match Command::parse(&line) {
            Ok(Command::Quit) => return,
            Ok(Command::Help) => help().lines().for_each(|line| lines.say(line)),
            Ok(command) => lines.say(&command.apply(steering)),
            Err(error) => lines.say(&error.to_string()),
        }
    }
}

/// A gateway that begins again has other ids and tokens than before.
fn fresh_seed() -> u64 {
    unix_ms().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(std::process::id())
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
