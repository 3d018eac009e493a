//! The async shell of the gateway model: it gives a [`GatewayModel`] a clock and byte streams.
//!
//! ```text
//!   listener ── stream ──▶ serve: upgrade, then          ┌──────┐
//!     (pipes, turmoil,     websocket messages ── Input ──▶│      │
//!      real TCP)                ▲                        │ Host │── ModelEvent ──▶ Observer
//!                               └── queue ◀───── Effect ──│      │
//!                       run_clock ───────────── Timeout ▶└──────┘
//!                       whoever steers ──────── Order ──▶
//! ```
//!
//! Every connection has a queue of what the model wants sent on it. A step of the model only fills queues
//! and wakes their tasks, so a peer that does not read stops neither the other connections nor the clock. Nothing
//! is decided here that the model can decide.

mod send_queue;
mod socket_policy;
mod upgrade;
mod websocket_connection;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::{
    Admission, ConnectionId, GatewayModel, Input, Message, ModelEvent, Order, Peer, Probe, ProbeAnswer,
};
pub use socket_policy::{CloseAnswer, SocketPolicy};

use send_queue::{Connections, SendQueue};
use upgrade::Upgraded;
use websocket_connection::WebSocketConnection;

/// How long a peer may take to read the answer to its HTTP request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Sees everything a [`Host`] does, in order. `now` is the host's time.
///
/// It is called while the host is locked: it must not call the host.
pub trait Observer: Send + 'static {
    /// What the model did.
    fn note(&mut self, now: Duration, note: &ModelEvent) {
        let _ = (now, note);
    }

    /// A message arrived; the model sees it next.
    fn received(&mut self, now: Duration, connection: ConnectionId, message: &Message) {
        let _ = (now, connection, message);
    }

    /// The model sent a text message. The socket may not have taken it yet.
    fn sent(&mut self, now: Duration, connection: ConnectionId, text: &str) {
        let _ = (now, connection, text);
    }

    /// The model sent a binary message. The socket may not have taken it yet.
    fn sent_binary(&mut self, now: Duration, connection: ConnectionId, data: &[u8]) {
        let _ = (now, connection, data);
    }
}

/// Sees nothing.
impl Observer for () {}

/// A gateway with a clock and sockets. Clones are the same gateway.
#[derive(Clone)]
pub struct Host {
    shared: Arc<Shared>,
}

struct Shared {
    socket_policy: Mutex<SocketPolicy>,
    connections: Mutex<Connections>,
    /// Says the time since the host began.
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    /// The model's deadline changed.
    deadline_moved: Notify,
    /// The gateway began or ceased to listen.
    listening_changed: Notify,
    /// How long a peer may take for the head of its request.
    head_timeout: Duration,
    /// What may be read from a peer before hello.
    preauth_allowance: u64,
    payload_bytes_max: usize,
}

impl Host {
    /// A gateway that begins now, on the clock of the current tokio runtime.
    pub fn new(model: GatewayModel, observer: impl Observer) -> Self {
        let start = Instant::now();
        Host::with_clock(model, observer, move || start.elapsed())
    }

    /// A gateway that is told the time since it began.
    ///
    /// For hosts that outlive a runtime: tokio's instants cannot be compared between runtimes. The clock must run
    /// at the pace of the runtime's timers.
    pub fn with_clock(
        model: GatewayModel,
        observer: impl Observer,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let limits = &model.config().limits;
        let payload_bytes_max = limits.payload_bytes;
        let head_timeout = model.config().timing.head_timeout;
        // As many messages as wait while a connect is decided, and two more, each twice as long as is allowed.
        let preauth_bytes_max = limits.preauth_bytes.saturating_mul(2 * (limits.preauth_queue + 2));
        let preauth_allowance = u64::try_from(preauth_bytes_max).unwrap_or(u64::MAX);
        let shared = Shared {
            socket_policy: Mutex::default(),
            connections: Mutex::new(Connections::new(model, Box::new(observer))),
            clock: Box::new(clock),
            deadline_moved: Notify::new(),
            listening_changed: Notify::new(),
            head_timeout,
            preauth_allowance,
            payload_bytes_max,
        };
        Host { shared: Arc::new(shared) }
    }

    /// Steers the gateway.
    pub fn order(&self, order: Order) {
        self.step(Input::Order(order));
    }

    /// Sockets are treated like this from now on.
    pub fn set_socket_policy(&self, socket_policy: SocketPolicy) {
        *self.shared.socket_policy.lock().unwrap_or_else(PoisonError::into_inner) = socket_policy;
    }

    fn socket_policy(&self) -> SocketPolicy {
        *self.shared.socket_policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a dial and its upgrade are admitted now.
    ///
    /// A network should refuse dials while this is [`Admission::Refused`]; [`serve`](Host::serve) can only drop them.
    pub fn admission(&self) -> Admission {
        self.lock().model.admission()
    }

    /// Answers what a monitor asks over plain HTTP; who is on the same machine is told more.
    fn probe(&self, probe: Probe, local: bool) -> ProbeAnswer {
        let connections = self.lock();
        connections.model.probe(connections.not_before((self.shared.clock)()), probe, local)
    }

    /// Waits until the gateway listens, or until it does not: admission other than [`Admission::Refused`].
    pub async fn listening(&self, wanted: bool) {
        loop {
            let mut changed = pin!(self.shared.listening_changed.notified());
            // Registered before looking: no change can slip in between.
            changed.as_mut().enable();
            if self.lock().is_listening() == wanted {
                return;
            }
            changed.await;
        }
    }

    /// Looks at the model.
    pub fn inspect<T>(&self, look: impl FnOnce(&GatewayModel) -> T) -> T {
        look(&self.lock().model)
    }

    /// Lets the model's time pass. Never ends; run one of these for each host, on the runtime with its timers.
    pub async fn run_clock(&self) {
        loop {
            match self.until_deadline() {
                None => self.shared.deadline_moved.notified().await,
                Some(Duration::ZERO) => {
                    self.step(Input::Timeout);
                    // A model whose deadlines do not advance must not keep its connections from moving.
                    tokio::task::yield_now().await;
                }
                Some(wait) => tokio::select! {
                    biased;
                    () = self.shared.deadline_moved.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                },
            }
        }
    }

    /// Serves one accepted byte stream until it ends.
    ///
    /// A WebSocket upgrade becomes a connection of the model if the gateway [admits](Host::admission) it; other
    /// requests get a short answer. An `Origin` header replaces the one of `peer`. Dropping the future drops the
    /// stream, which the model takes for a disconnect.
    ///
    /// Messages up to twice the model's limit reach the model, which refuses what is too large; larger ones are
    /// refused here, with the same close code, to bound memory.
    pub fn serve<S>(&self, stream: S, peer: Peer) -> impl Future<Output = ()> + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = self.clone();
        async move {
            if host.socket_policy().ignores_upgrades {
                return upgrade::ignore(stream).await;
            }
            let request = upgrade::answer(
                &host,
                stream,
                peer.loopback,
                host.shared.payload_bytes_max.saturating_mul(2),
            );
            let Ok(Ok(Some(Upgraded { socket, origin }))) =
                tokio::time::timeout(host.shared.head_timeout + ANSWER_TIMEOUT, request).await
            else {
                // It has been answered, or there is nobody to answer to.
                return;
            };
            let peer = Peer { origin: origin.or(peer.origin), ..peer };
            let guard = ConnectionGuard::take(host, peer);
            WebSocketConnection::new(guard, socket).run().await;
        }
    }

    fn until_deadline(&self) -> Option<Duration> {
        let connections = self.lock();
        let now = connections.not_before((self.shared.clock)());
        Some(connections.model.next_deadline()?.saturating_sub(now))
    }

    fn step(&self, input: Input) {
        self.with_desks(|connections, now, wake| connections.step(now, input, wake));
    }

    /// Runs `act` on the locked state, and afterwards tells everybody whom it concerns.
    fn with_desks<T>(&self, act: impl FnOnce(&mut Connections, Duration, &mut Vec<Waker>) -> T) -> T {
        let mut wake = Vec::new();
        let mut connections = self.lock();
        let before = (connections.model.next_deadline(), connections.is_listening());
        // Read under the lock: on several threads time would otherwise seem to go back.
        let now = connections.not_before((self.shared.clock)());
        let result = act(&mut connections, now, &mut wake);
        let after = (connections.model.next_deadline(), connections.is_listening());
        drop(connections);
        if before.0 != after.0 {
            self.shared.deadline_moved.notify_one();
        }
        if before.1 != after.1 {
            self.shared.listening_changed.notify_waiters();
        }
        for waker in wake {
            waker.wake();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        // After a panic of the model or an observer the run has failed; what still runs may fail for itself.
        self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("admission", &self.admission()).finish_non_exhaustive()
    }
}

/// A connection's place in the host. Dropping it disconnects it in the model.
struct ConnectionGuard {
    host: Host,
    connection: ConnectionId,
}

impl ConnectionGuard {
    fn take(host: Host, peer: Peer) -> ConnectionGuard {
        let connection = host.with_desks(|connections, now, wake| connections.accept(now, peer, wake));
        ConnectionGuard { host, connection }
    }

    fn message(&self, message: Message) {
        let input = Input::Received { connection: self.connection, message };
        self.host.step(input);
    }

    fn is_established(&self) -> bool {
        self.host.inspect(|model| model.is_established(self.connection))
    }

    fn pong(&self) {
        self.host.step(Input::Pong { connection: self.connection });
    }

    fn buffered(&self, bytes: u64) {
        self.host.step(Input::Buffered { connection: self.connection, bytes });
    }

    /// Looks at what lies on the queue.
    fn with_desk<T>(&self, look: impl FnOnce(&mut SendQueue) -> T) -> T {
        look(self.host.lock().queue(self.connection))
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.host.with_desks(|connections, now, wake| connections.leave(now, self.connection, wake));
    }
}
