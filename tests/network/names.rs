//! Names and addresses: all are tried, whoever fails is named, and nothing is waited for that cannot be given up.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use onesocket::Client;
use onesocket::core::{
    Config, ConnectionError, DialError, Endpoint, Initiator, NameProblem, Options, Plaintext, Status,
};
use onesocket::net::resolver::{Answers, Resolver, SystemResolver};
use onesocket::net::{TcpConnector, TcpNetwork, TcpOptions};
use onesocket::network::Network;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Says the same about every name.
#[derive(Clone, Debug)]
struct Fixed(Vec<Result<Vec<Ipv4Addr>, NameProblem>>);

impl Resolver for Fixed {
    fn resolve(&self, _: &str, port: u16) -> Answers {
        let with_port = move |addresses: Vec<Ipv4Addr>| {
            addresses.into_iter().map(|address| SocketAddr::from((address, port))).collect()
        };
        Box::pin(stream::iter(self.0.clone().into_iter().map(move |part| part.map(with_port))))
    }
}

/// Never answers, and counts who waits.
#[derive(Clone, Debug, Default)]
struct Silent(Arc<AtomicUsize>);

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Resolver for Silent {
    fn resolve(&self, _: &str, _: u16) -> Answers {
        self.0.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting(Arc::clone(&self.0));
        Box::pin(stream::poll_fn(move |_| {
            let _ = &waiting;
            std::task::Poll::Pending
        }))
    }
}

fn found(addresses: &[Ipv4Addr]) -> TcpConnector {
    TcpConnector::default().resolver(Fixed(vec![Ok(addresses.to_vec())]))
}

fn failed(error: &io::Error) -> DialError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<DialError>());
    inner.unwrap_or_else(|| panic!("{error} is not typed")).clone()
}

async fn dial(network: &TcpConnector, url: &str) -> Result<SocketAddr, DialError> {
    let endpoint = Endpoint::parse(url).expect(url);
    match network.connect(&endpoint).await {
        Ok(stream) => Ok(stream.peer_addr().expect("it is connected")),
        Err(error) => Err(failed(&error)),
    }
}

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A listener, and the same port at an address of this machine where nothing listens.
async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((HERE, 0)).await.expect("loopback can be bound");
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port)
}

fn nobody(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

#[tokio::test]
async fn no_wedge_any_address_of_a_name_will_do() {
    let (_listener, port) = listener().await;
    let url = format!("ws://gateway.local:{port}");
    let reached = dial(&found(&[nobody(2), nobody(3), HERE]), &url).await;
    assert_eq!(reached, Ok(SocketAddr::from((HERE, port))));
}

/// What became of each address is told, to programs and to people. On Linux, all of 127.0.0.0/8 is this machine.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_wedge_addresses_that_fail_are_told_apart() {
    let (listener, port) = listener().await;
    drop(listener);
    let url = format!("ws://gateway.local:{port}");
    let error = dial(&found(&[HERE]), &url).await.unwrap_err();
    assert_eq!(error, DialError::Refused, "one address speaks for itself");

    let error = dial(&found(&[HERE, nobody(2)]), &url).await.unwrap_err();
    let DialError::Addresses(failures) = &error else { panic!("{error}") };
    assert_eq!((failures.total(), failures.untried()), (2, 0));
    assert_eq!(failures.told()[0].address, SocketAddr::from((HERE, port)));
    assert_eq!(failures.told()[0].error, DialError::Refused);
    let text = error.to_string();
    assert!(text.starts_with(&format!("none of 2 addresses could be reached: 127.0.0.1:{port}: ")), "{text}");

    let many: Vec<Ipv4Addr> = (1..=40).map(nobody).collect();
    let error = dial(&found(&many), &url).await.unwrap_err();
    let DialError::Addresses(failures) = &error else { panic!("{error}") };
    assert_eq!((failures.total(), failures.told().len()), (40, 8));
    assert!(error.to_string().ends_with("; and 32 more"), "{error}");
}

#[tokio::test]
async fn no_wedge_a_name_that_leads_nowhere_says_whose_doing_it_is() {
    let problem = async |answers| {
        let network = TcpConnector::default().resolver(Fixed(answers));
        match dial(&network, "ws://gateway.local").await {
            Err(DialError::Name { name, problem }) if name == "gateway.local" => problem,
            other => panic!("{other:?}"),
        }
    };
    let unknown = || Err(NameProblem::NotFound);
    assert_eq!(problem(vec![unknown(), unknown()]).await, NameProblem::NotFound);
    assert_eq!(problem(vec![unknown(), Err(NameProblem::Temporary)]).await, NameProblem::Temporary);
    assert_eq!(problem(vec![Ok(Vec::new())]).await, NameProblem::NotFound);
    // Whatever a name of the local network leads to: plaintext stays in it.
    let public = Ipv4Addr::new(203, 0, 113, 1);
    assert_eq!(problem(vec![Ok(vec![public]), unknown()]).await, NameProblem::Public);

    let busy = TcpConnector::default().resolver(SystemResolver::new(0));
    let error = dial(&busy, "ws://gateway.local").await;
    let problem = NameProblem::Busy { limit: 0 };
    assert_eq!(error, Err(DialError::Name { name: "gateway.local".to_owned(), problem }));
}

/// The address of a name of which some are public is the private one, and nothing was sent to the others.
#[tokio::test]
async fn right_credential_plaintext_goes_to_private_addresses_only() {
    let (_listener, port) = listener().await;
    let endpoint = Endpoint::parse_with(&format!("ws://gateway:{port}"), Plaintext::PrivateNames).unwrap();
    let network = found(&[Ipv4Addr::new(203, 0, 113, 1), HERE]);
    let reached = network.connect(&endpoint).await.unwrap().peer_addr().unwrap();
    assert_eq!(reached, SocketAddr::from((HERE, port)));
}

/// A lookup that is not answered ends with the dial, by a failure that blames the name servers, and with the client.
#[tokio::test(start_paused = true)]
async fn stop_is_final_a_lookup_is_given_up() {
    let silent = Silent::default();
    let mut options = Options::default();
    options.dial_timeout = Duration::from_secs(2);
    let config = Config::new("ws://gateway.local").unwrap();
    let network = TcpConnector::default().resolver(silent.clone());
    let client = Client::builder().config(config).options(options).seed(7).spawn(network).unwrap();
    let mut statuses = client.watch_status();
    let begun = Instant::now();
    client.connect();
    let failed = statuses.wait_for(|status| matches!(status, Status::Backoff { .. })).await;
    let Some(Status::Backoff { cause, .. }) = failed else { panic!("{failed:?}") };
    let problem = NameProblem::Unanswered;
    let expected = ConnectionError::Dial(DialError::Name { name: "gateway.local".to_owned(), problem });
    assert_eq!(*cause, expected);
    assert_eq!(cause.initiator(), Initiator::Transport);
    let taken = begun.elapsed();
    assert!((1_900..=2_000).contains(&taken.as_millis()), "{taken:?}");
    assert_eq!(silent.0.load(Ordering::SeqCst), 0, "nobody waits any more");

    statuses.wait_for(|status| matches!(status, Status::Connecting { .. })).await;
    tokio::task::yield_now().await;
    assert_eq!(silent.0.load(Ordering::SeqCst), 1);
    let begun = Instant::now();
    client.shutdown().await;
    assert_eq!((begun.elapsed(), silent.0.load(Ordering::SeqCst)), (Duration::ZERO, 0));
}

/// Waiting mends a name: it is looked up anew for every dial, and nothing is remembered.
#[tokio::test(start_paused = true)]
async fn no_wedge_an_unknown_name_is_asked_for_again() {
    #[derive(Clone, Debug, Default)]
    struct Unknown(Arc<AtomicUsize>);
    impl Resolver for Unknown {
        fn resolve(&self, _: &str, _: u16) -> Answers {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(stream::iter([Err(NameProblem::NotFound)]))
        }
    }
    let unknown = Unknown::default();
    let config = Config::new("ws://gateway.local").unwrap();
    let network = TcpConnector::default().resolver(unknown.clone());
    let client = Client::builder().config(config).seed(7).spawn(network).unwrap();
    client.connect();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let asked = unknown.0.load(Ordering::SeqCst);
    assert!((15..30).contains(&asked), "{asked} lookups in ten minutes: no storm and no wedge");
}

/// The system's own resolver, whose threads nobody waits for.
#[tokio::test]
async fn no_wedge_the_system_resolves() {
    let answers: Vec<_> = SystemResolver::new(2).resolve("localhost", 7).collect().await;
    let addresses: Vec<SocketAddr> = answers.into_iter().flatten().flatten().collect();
    assert!(addresses.contains(&SocketAddr::from((HERE, 7))), "{addresses:?}");
}

/// What is trusted as this machine is this machine, whatever its name servers say.
#[tokio::test]
async fn right_credential_localhost_is_not_looked_up() {
    let (_listener, port) = listener().await;
    let elsewhere = found(&[Ipv4Addr::new(10, 0, 0, 1)]);
    let reached = dial(&elsewhere, &format!("ws://localhost:{port}")).await;
    assert_eq!(reached, Ok(SocketAddr::from((HERE, port))));
    let endpoint = Endpoint::parse(&format!("ws://localhost:{port}")).unwrap();
    assert!(TcpNetwork.connect_within(&endpoint, Duration::from_secs(60)).await.is_ok());
    assert!(TcpNetwork.connect(&endpoint).await.is_ok());
}

/// A zone is an interface of this machine, by name or number, and one that is not there is told as that.
#[tokio::test]
async fn no_wedge_a_zone_is_an_interface() {
    let network = TcpConnector::default();
    for zone in ["nosuch0", "4294967295"] {
        let error = dial(&network, &format!("ws://[fe80::1%25{zone}]:9")).await.unwrap_err();
        if zone == "nosuch0" {
            assert_eq!(error, DialError::Zone { zone: zone.to_owned() });
            assert_eq!(ConnectionError::Dial(error).initiator(), Initiator::Local);
        }
    }
    let loopback = if cfg!(target_os = "macos") { "lo0" } else { "lo" };
    let endpoint = Endpoint::parse(&format!("ws://[fe80::dead%25{loopback}]:9")).unwrap();
    let reached = network.connect_within(&endpoint, Duration::from_millis(200)).await.map_err(|e| failed(&e));
    assert!(
        !matches!(reached, Ok(_) | Err(DialError::Zone { .. })),
        "the interface is there, and nobody at it"
    );
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let refused = |change: fn(&mut TcpOptions)| {
        let mut options = TcpOptions::default();
        change(&mut options);
        TcpConnector::new(options).is_err()
    };
    assert!(!refused(|_| {}));
    assert!(refused(|options| options.attempt_delay = Duration::from_millis(9)));
    assert!(refused(|options| options.max_addresses = 0));
    assert!(refused(|options| options.max_lookups = 1));
}
