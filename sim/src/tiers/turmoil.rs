//! The `turmoil` tier: the real driver on turmoil's hosts and links.
//!
//! An independent network with other strengths, and with traps that shape this file:
//!
//! - It never retransmits: a partition wedges the connections it strikes for ever, so a blip is a
//!   hold and a release.
//! - A dial into a partition is refused at once, where the real one hangs; only the other tiers test
//!   a hanging dial.
//! - Panics of spawned tasks are swallowed; [`panics`](crate::base::panics) sees them.
//! - A failed dial leaks a port, and 64 waiting dials panic: runs are short, and the capacity is
//!   raised.
//! - A write is never split, so only the `stream` tier tests partial frames.
//! - Idle time costs as much as busy time, tick by tick: few seeds, to confirm what the others say.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use onesocket::Client;
use onesocket::core::{Endpoint, Instant};
use onesocket::network::Network;
use turmoil::net::{TcpListener, TcpStream};

use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::judge::recorder::Finished;
use crate::judge::shared_recorder::SharedRecorder;
use crate::pipe::{Dials, Direction};
use crate::plan::environment::{gateway, gateway_of, gateway_port};
use crate::plan::{GATEWAYS, Plan, Tier};
use crate::subject::Subject;
use crate::tiers::gateway_observer::GatewayObserver;
use crate::tiers::link_state::LinkState;
use crate::tiers::runtime::{self, Links, Stage};
use crate::tiers::tracked_stream::{Sockets, Tracked};
use onesocket_gateway::Peer;
use onesocket_gateway::host::Host;

/// What a run costs is its number of ticks, idle ones included. Shorter ticks find no more; much longer ones quantise
/// every latency, and would use up what the oracles allow a tick.
const TICK: Duration = Duration::from_millis(8);
/// The name of the client's host.
const CLIENT: &str = "client";

/// The name of a gateway's host.
fn gateway_host(gateway: u8) -> String {
    format!("gateway-{gateway}")
}

/// Runs `plan` on this tier.
#[must_use]
pub fn run(plan: &Plan) -> Finished {
    run_with::<Client>(plan)
}

/// Runs `plan` on this tier with any client.
#[must_use]
pub fn run_with<C: Subject>(plan: &Plan) -> Finished {
    let plan = &*plan.for_tier(Tier::Turmoil);
    let mut sim = turmoil::Builder::new()
        .rng_seed(Rng::new(plan.seed, "turmoil").any())
        .epoch(UNIX_EPOCH)
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(100_000))
        .min_message_latency(Duration::from_micros(plan.params.latency_min_us))
        .max_message_latency(Duration::from_micros(plan.params.latency_max_us.max(1_000)))
        .tcp_capacity(4_096)
        .build();
    let clock = Clock::default();
    let book_clock = clock.clone();
    let recorder = SharedRecorder::new(plan, move || Instant::from(book_clock.now()));
    let hosts: Vec<Host> = (0..GATEWAYS)
        .map(|index| {
            let clock = clock.clone();
            Host::with_clock(gateway(plan, index), GatewayObserver::new(recorder.clone(), index), move || {
                clock.now()
            })
        })
        .collect();
    for (index, host) in (0..GATEWAYS).zip(&hosts) {
        let host = host.clone();
        sim.host(gateway_host(index), move || serve(host.clone(), gateway_port(index)));
    }
    let network = TurmoilNetwork { sockets: Sockets::new(recorder.clone()), known: Arc::default() };
    let (played, client_book) = (plan.clone(), recorder.clone());
    sim.client(CLIENT, async move {
        let (links, tasks) = (network.clone(), Tasks::default());
        runtime::run::<C, _, _>(
            &played,
            Stage { recorder: client_book, links, hosts, network, tasks },
            |_| {},
        )
        .await;
        Ok(())
    });
    sim.run().expect("neither the executor nor a gateway returns an error");
    recorder.finish()
}

/// Simulated time, also where no host is running.
#[derive(Clone, Default)]
struct Clock {
    last_us: Arc<AtomicU64>,
}

impl Clock {
    fn now(&self) -> Duration {
        let now = turmoil::sim_elapsed().and_then(|now| u64::try_from(now.as_micros()).ok());
        // Hosts run one after the other within a tick; time must not go back between them.
        let now = now.unwrap_or(0);
        Duration::from_micros(self.last_us.fetch_max(now, Ordering::Relaxed).max(now))
    }
}

/// A gateway's host: listens while the gateway does, and serves what it accepts.
async fn serve(host: Host, port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let clock = host.clone();
    tokio::spawn(async move { clock.run_clock().await });
    loop {
        host.listening(true).await;
        let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)).await?;
        loop {
            tokio::select! {
                biased;
                () = host.listening(false) => break,
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    tokio::spawn(host.serve(stream, Peer::LOCAL));
                }
            }
        }
    }
}

/// TCP between turmoil's hosts.
#[derive(Clone)]
struct TurmoilNetwork {
    sockets: Sockets,
    known: Arc<[Mutex<Known>; GATEWAYS as usize]>,
}

/// What turmoil knows of a link.
#[derive(Default)]
struct Known {
    losing: [bool; 2],
    held: bool,
    dials: Dials,
}

impl Network for TurmoilNetwork {
    type Stream = Tracked<TcpStream>;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Self::Stream> {
        let gateway = gateway_of(endpoint);
        let held = self.sockets.dial(gateway);
        let dials = self.known[usize::from(gateway)].lock().unwrap_or_else(PoisonError::into_inner).dials;
        match dials {
            Dials::Answered => {}
            Dials::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
            Dials::Ignored => std::future::pending::<()>().await,
        }
        let stream = TcpStream::connect((gateway_host(gateway), endpoint.port())).await?;
        Ok(held.carry(stream))
    }
}

impl Links for TurmoilNetwork {
    fn set_link_state(&self, gateway: u8, link_state: &LinkState) {
        let host = gateway_host(gateway);
        let mut known = self.known[usize::from(gateway)].lock().unwrap_or_else(PoisonError::into_inner);
        let new = Known {
            losing: Direction::BOTH.map(|direction| link_state.loses(direction)),
            // A hold is of both directions; stalls of one do not exist here.
            held: Direction::BOTH.into_iter().all(|direction| link_state.stalls(direction)),
            dials: link_state.dials(),
        };
        // Only what changes is told: a repair or a release has consequences of its own.
        for direction in Direction::BOTH {
            let (was, is) = (known.losing[direction as usize], new.losing[direction as usize]);
            match (direction, was, is) {
                (Direction::ToGateway, false, true) => turmoil::partition_oneway(CLIENT, &*host),
                (Direction::ToGateway, true, false) => turmoil::repair_oneway(CLIENT, &*host),
                (Direction::ToClient, false, true) => turmoil::partition_oneway(&*host, CLIENT),
                (Direction::ToClient, true, false) => turmoil::repair_oneway(&*host, CLIENT),
                (Direction::ToGateway | Direction::ToClient, false, false)
                | (Direction::ToGateway | Direction::ToClient, true, true) => {}
            }
        }
        match (known.held, new.held) {
            (false, true) => turmoil::hold(CLIENT, &*host),
            (true, false) => turmoil::release(CLIENT, &*host),
            (false, false) | (true, true) => {}
        }
        *known = new;
    }

    /// Turmoil's partition strikes what is on its way and leaves an idle connection alone.
    fn half_open(&self, _: u8) {}

    /// Turmoil resets what a crashed host had, and nothing else.
    fn reset(&self, _: u8) {}

    fn held(&self) -> u32 {
        self.sockets.held()
    }
}
