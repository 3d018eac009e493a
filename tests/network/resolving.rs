//! The system's own resolver, with name servers that are silent, wrong or slow. `tests/network/namespace` makes the
//! network that these run in, one after the other.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use onesocket::Client;
use onesocket::core::{Config, ConnectionError, DialError, Endpoint, NameProblem, Options, Status};
use onesocket::net::{TcpConnector, TcpNetwork, TcpOptions};
use onesocket::network::Network;
use tokio::net::TcpListener;

/// Makes this the only name server.
fn name_server(address: &str) {
    let file = std::env::var_os("ONESOCKET_RESOLV_CONF").expect("it runs in tests/network/namespace");
    // In place: it is mounted.
    std::fs::write(file, format!("nameserver {address}\n")).expect("it can be written");
}

const SILENT: &str = "10.255.0.53";
const HERE: &str = "127.0.0.1";

/// What a name server answers to a question.
#[derive(Clone, Copy)]
enum Answer {
    /// No such name.
    Unknown,
    /// It failed.
    Failed,
    /// Loopback, for IPv4; for IPv6 not a word.
    Ipv4Only,
}

/// A name server at 127.0.0.1, until it is dropped.
struct Server {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(answer: Answer) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).expect("the port is free in this network");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("it has one");
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut question = [0; 512];
            while !ends.load(Ordering::SeqCst) {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                if let Some(reply) = reply(&question[..length], answer) {
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        name_server(HERE);
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().expect("it is dropped once").join().expect("it does not panic");
    }
}

/// RFC 1035, 4.1: a header of twelve bytes, the question, and an answer that points to its name.
fn reply(question: &[u8], answer: Answer) -> Option<Vec<u8>> {
    let end_of_name = 12 + question[12..].iter().position(|&byte| byte == 0)?;
    let asked = question.get(..end_of_name + 5)?;
    let is_ipv6 = asked[end_of_name + 2] == 28;
    let (code, answers) = match answer {
        Answer::Unknown => (3, 0),
        Answer::Failed => (2, 0),
        Answer::Ipv4Only if is_ipv6 => return None,
        Answer::Ipv4Only => (0, 1),
    };
    let mut reply = asked.to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
    if answers == 1 {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    Some(reply)
}

async fn dial(network: &impl Network, url: &str, limit: Duration) -> Result<(), DialError> {
    let endpoint = Endpoint::parse(url).expect(url);
    network.connect_within(&endpoint, limit).await.map(drop).map_err(|error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<DialError>());
        inner.unwrap_or_else(|| panic!("{error} is not typed")).clone()
    })
}

async fn problem(name: &str, limit: Duration) -> NameProblem {
    match dial(&TcpNetwork, &format!("ws://{name}"), limit).await {
        Err(DialError::Name { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

const SECONDS: Duration = Duration::from_secs(10);

/// The first addresses of the name swallow what is sent to them, over IPv6 and over IPv4.
#[tokio::test]
#[ignore = "runs in a network of its own: tests/network/namespace"]
async fn no_wedge_the_first_addresses_may_be_black_holes() {
    name_server(SILENT);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let begun = Instant::now();
    dial(&TcpNetwork, &format!("ws://gateway.local:{port}"), SECONDS).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());

    drop(listener);
    let error =
        dial(&TcpNetwork, &format!("ws://gateway.local:{port}"), Duration::from_secs(2)).await.unwrap_err();
    let DialError::Addresses(failures) = &error else { panic!("{error}") };
    let of = |address: &str| {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        failures.told().iter().find(|failure| failure.address == address).map(|failure| &failure.error)
    };
    assert_eq!(of("127.0.0.1"), Some(&DialError::Refused), "{error}");
    assert_eq!(of("10.255.0.7"), Some(&DialError::TimedOut), "{error}");
}

/// The lookup cannot be interrupted, and neither a dial, nor a shutdown, nor the end of the runtime waits for it.
#[test]
#[ignore = "runs in a network of its own: tests/network/namespace"]
fn stop_is_final_nobody_waits_for_a_silent_name_server() {
    name_server(SILENT);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut options = Options::default();
        options.dial_timeout = Duration::from_secs(1);
        let config = Config::new("ws://silent.local").unwrap();
        let client = Client::builder().config(config).options(options).spawn(TcpNetwork).unwrap();
        let mut statuses = client.watch_status();
        client.connect();
        let failed = statuses.wait_for(|status| matches!(status, Status::Backoff { .. })).await;
        let Some(Status::Backoff { cause, .. }) = failed else { panic!("{failed:?}") };
        let problem = NameProblem::Unanswered;
        let expected = DialError::Name { name: "silent.local".to_owned(), problem };
        assert_eq!(*cause, ConnectionError::Dial(expected));
        statuses.wait_for(|status| matches!(status, Status::Connecting { .. })).await;
        let begun = Instant::now();
        client.shutdown().await;
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    });
    let begun = Instant::now();
    drop(runtime);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
}

/// The program ends when its time is up.
#[cfg(feature = "cli")]
#[tokio::test]
#[ignore = "runs in a network of its own: tests/network/namespace"]
async fn stop_is_final_the_program_waits_for_no_name_server() {
    name_server(SILENT);
    let begun = Instant::now();
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_onesocket"));
    program.args(["--timeout", "2", "--url", "ws://silent.local", "call", "health"]);
    let output = program.output().await.unwrap();
    let taken = begun.elapsed();
    assert_eq!(output.status.code(), Some(1));
    assert!((1_900..3_000).contains(&taken.as_millis()), "{taken:?}");
}

#[tokio::test]
#[ignore = "runs in a network of its own: tests/network/namespace"]
async fn no_wedge_what_a_name_server_says_is_told_apart() {
    let server = Server::start(Answer::Unknown);
    assert_eq!(problem("unknown.local", SECONDS).await, NameProblem::NotFound);
    drop(server);
    let server = Server::start(Answer::Failed);
    assert_eq!(problem("failed.local", SECONDS).await, NameProblem::Temporary);
    drop(server);
    name_server(SILENT);
    assert_eq!(problem("silent.local", Duration::from_millis(300)).await, NameProblem::Unanswered);
}

/// A name server that has no word for IPv6 costs a moment, and one that knows the name later is asked later.
#[tokio::test]
#[ignore = "runs in a network of its own: tests/network/namespace"]
async fn no_wedge_half_an_answer_is_enough_and_a_late_one_counts() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server::start(Answer::Unknown);
    assert_eq!(problem("mended.local", SECONDS).await, NameProblem::NotFound);
    drop(server);
    let _server = Server::start(Answer::Ipv4Only);
    let begun = Instant::now();
    dial(&TcpNetwork, &format!("ws://mended.local:{port}"), SECONDS).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// Lookups that were given up and are not over are bounded.
#[tokio::test]
#[ignore = "runs in a network of its own: tests/network/namespace"]
async fn stop_is_final_lookups_that_hang_are_bounded() {
    name_server(SILENT);
    let mut options = TcpOptions::default();
    options.max_lookups = 4;
    let network = TcpConnector::new(options).unwrap();
    let mut problems = Vec::new();
    for _ in 0..3 {
        match dial(&network, "ws://silent.local", Duration::from_millis(100)).await {
            Err(DialError::Name { problem, .. }) => problems.push(problem),
            other => panic!("{other:?}"),
        }
    }
    let unanswered = NameProblem::Unanswered;
    assert_eq!(problems, [unanswered.clone(), unanswered, NameProblem::Busy { limit: 4 }]);
}
