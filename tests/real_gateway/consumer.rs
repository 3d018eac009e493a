//! What the tests of the client share: a network that counts dials, a census of the sockets that really
//! exist, a subscriber that checks the order of what it is given, and ways to wait for conditions.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use onesocket::core::{Config, ConnectionError, Endpoint, Epoch, Options, Payload, Push, Snapshot, Status};
use onesocket::net::TcpNetwork;
use onesocket::network::Network;
use onesocket::{Client, RequestFuture, Subscription};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::sockets::Connection;
use crate::support::{Gateway, established_connections};

/// The longest wait for anything. A gateway that boots beside another one needs most of it.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long something must not happen to count as not happening: many times the longest backoff of
/// [`quick`].
pub(crate) const QUIET: Duration = Duration::from_secs(1);

/// Options with which ten attempts fit into [`QUIET`], should there be any.
pub(crate) fn quick() -> Options {
    let mut options = Options::default();
    options.backoff.initial = Duration::from_millis(20);
    options.backoff.cap = Duration::from_millis(100);
    options
}

/// The right config for `gateway`.
pub(crate) fn config_for(gateway: &Gateway) -> Config {
    config_with_token(gateway, gateway.token())
}

/// A config for `gateway` with a token that need not be right.
pub(crate) fn config_with_token(gateway: &Gateway, token: &str) -> Config {
    Config::new(&gateway.url()).expect("the gateway has a usable url").token(token)
}

/// `TcpNetwork`, counting how often it is asked to connect, and making sure each time that what it
/// opened before is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct CountingNetwork {
    dials: Arc<AtomicUsize>,
    opened: Arc<Mutex<Vec<Connection>>>,
}

impl CountingNetwork {
    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }

    fn opened(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network for CountingNetwork {
    type Stream = TcpStream;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<TcpStream> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        for earlier in self.opened().drain(..) {
            let held = established_connections(earlier.remote.port())?;
            assert!(!held.contains(&earlier), "a dial while {earlier:?} is open");
        }
        let stream = TcpNetwork.connect(endpoint).await?;
        self.opened().push(Connection { local: stream.local_addr()?, remote: stream.peer_addr()? });
        Ok(stream)
    }
}

/// A client over a network that counts its dials.
pub(crate) fn client_with(config: Config, options: Options) -> (Client, CountingNetwork) {
    let network = CountingNetwork::default();
    let client = Client::builder().config(config).options(options).spawn(network.clone());
    (client.expect("the options are in range"), network)
}

/// Parameters of `agent.wait` for a run that nobody started: a request that stays in flight for as long
/// as it asks to.
pub(crate) fn held_for(time: Duration, run: &str) -> Value {
    json!({ "runId": run, "timeoutMs": u64::try_from(time.as_millis()).expect("a short time") })
}

/// A request that has been written to the gateway's socket, to be awaited later.
pub(crate) async fn in_flight(client: &Client, method: &str, params: Value) -> RequestFuture {
    let mut request = client.request(method, params).into_future();
    assert!((&mut request).now_or_never().is_none(), "nothing is answered before it is asked");
    // Requests are written in the order in which they are made, so this answer comes behind it.
    let behind = client.request("health", ()).into_future();
    within("an answer", behind).await.expect("the gateway is well");
    request
}

/// Shuts `client` down and wants nothing left of it, at once.
pub(crate) async fn leave(client: &Client, port: u16) {
    let report = within("the shutdown", client.shutdown()).await;
    assert!(report.had_socket, "{report:?}");
    assert_eq!(sockets_to(port), [], "a socket outlived the shutdown");
}

/// The local ends of the sockets that this process holds to `port`.
pub(crate) fn sockets_to(port: u16) -> Vec<SocketAddr> {
    let held = established_connections(port).expect("the system's tables can be read");
    held.into_iter().map(|connection| connection.local).collect()
}

/// The result of `future`, which must come in time.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(DEADLINE, future).await;
    result.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

/// Looks at `condition` again and again for [`QUIET`], and wants it to hold all the time.
pub(crate) async fn stays(what: &str, condition: impl Fn() -> bool) {
    let since = Instant::now();
    while since.elapsed() < QUIET {
        assert!(condition(), "{what}: no more after {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether `text` occurs anywhere in `payload`.
pub(crate) fn mentions(payload: &Payload, text: &str) -> bool {
    payload.get().contains(text)
}

/// Counts the sockets of this process to a port over and over, on a thread of its own.
///
/// The HTTP exchanges of [`Gateway`] are connections too: don't make any meanwhile.
pub(crate) struct Census {
    stop: Sender<()>,
    thread: JoinHandle<Tally>,
}

/// What a [`Census`] saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How often it looked.
    pub(crate) looks: usize,
    /// The most sockets it saw at once.
    pub(crate) most: usize,
    /// Every socket it saw, by its local end.
    pub(crate) sockets: BTreeSet<SocketAddr>,
}

impl Census {
    pub(crate) fn of(port: u16) -> Self {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let mut tally = Tally::default();
            // The last look comes after the order to stop, so there is always one.
            loop {
                let last = stopped.recv_timeout(Duration::from_millis(2)) != Err(RecvTimeoutError::Timeout);
                let now = sockets_to(port);
                tally.looks += 1;
                tally.most = tally.most.max(now.len());
                tally.sockets.extend(now);
                if last {
                    return tally;
                }
            }
        });
        Self { stop, thread }
    }

    pub(crate) fn finish(self) -> Tally {
        drop(self.stop);
        self.thread.join().expect("the census was taken")
    }
}

/// A subscriber that holds the client to what it promises: a snapshot first, and again first on every
/// new connection; no event of another connection than the latest snapshot's; nothing lost without a notice.
pub(crate) struct Witness {
    subscription: Subscription,
    epoch: Option<Epoch>,
    /// The statuses it was notified of, in order.
    pub(crate) statuses: Vec<Status>,
    /// How many events it was given.
    pub(crate) events: usize,
}

impl Witness {
    pub(crate) fn of(client: &Client) -> Self {
        let subscription = client.subscribe().expect("there is room for a subscription");
        Self { subscription, epoch: None, statuses: Vec::new(), events: 0 }
    }

    /// Reads on until `find` finds something in an item.
    pub(crate) async fn until<T>(&mut self, what: &str, find: impl Fn(&Push) -> Option<T>) -> T {
        within(what, async {
            loop {
                let push = self.next().await.unwrap_or_else(|| panic!("{what}: the subscription ended"));
                if let Some(found) = find(&push) {
                    return found;
                }
            }
        })
        .await
    }

    /// Reads on until the next snapshot.
    pub(crate) async fn snapshot(&mut self, what: &str) -> Arc<Snapshot> {
        self.until(what, |push| match push {
            Push::Snapshot(snapshot) => Some(Arc::clone(snapshot)),
            _ => None,
        })
        .await
    }

    /// Reads the rest, after a shutdown.
    pub(crate) async fn end(&mut self) {
        within("the end of the subscription", async { while self.next().await.is_some() {} }).await;
    }

    /// How many of the statuses so far were `Ready`.
    pub(crate) fn times_ready(&self) -> usize {
        self.statuses.iter().filter(|status| matches!(status, Status::Ready { .. })).count()
    }

    /// The closes by the gateway that it was notified of, each with its code and reason.
    pub(crate) fn closes(&self) -> Vec<(u16, String)> {
        let close = |status: &Status| match status {
            Status::Backoff { cause, .. } => match &**cause {
                ConnectionError::Closed { code, reason } => Some((*code, reason.as_str().to_owned())),
                _ => None,
            },
            _ => None,
        };
        self.statuses.iter().filter_map(close).collect()
    }

    pub(crate) async fn next(&mut self) -> Option<Push> {
        let push = self.subscription.next().await?;
        match &push {
            Push::Snapshot(snapshot) => {
                let epoch = snapshot.epoch();
                assert!(self.epoch < Some(epoch), "a second snapshot of connection {epoch}");
                self.epoch = Some(epoch);
            }
            Push::Event(event) => {
                assert_eq!(Some(event.epoch), self.epoch, "`{}` without its snapshot", event.name);
                self.events += 1;
            }
            Push::Status(status) => {
                assert!(self.epoch.is_some(), "{status:?} before the first snapshot");
                self.statuses.push(status.clone());
            }
            Push::Closed => {}
            other => panic!("unexpected: {other:?}"),
        }
        Some(push)
    }
}
