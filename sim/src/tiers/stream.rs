//! The `stream` tier: the real driver over in-memory byte streams, on one paused runtime.
//!
//! Everything runs on one thread whose clock jumps to the next timer when all tasks are idle, so a
//! run is a function of its plan. Bytes are chopped and coalesced: the frames of both ends meet every
//! boundary there is.

use std::future::Future;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;

use onesocket::Client;
use onesocket::core::{Endpoint, Instant};
use onesocket::network::Network;

use crate::base::rng::Rng;
use crate::base::tasks::Tasks;
use crate::judge::recorder::Finished;
use crate::judge::shared_recorder::SharedRecorder;
use crate::pipe::{Direction, Link, PipeStream, Profile};
use crate::plan::environment::{gateway, gateway_of};
use crate::plan::{GATEWAYS, Plan, Tier};
use crate::subject::Subject;
use crate::tiers::gateway_observer::GatewayObserver;
use crate::tiers::link_state::LinkState;
use crate::tiers::runtime::{self, Links, Stage};
use crate::tiers::tracked_stream::{Sockets, Tracked};
use onesocket_gateway::host::Host;
use onesocket_gateway::{Admission, Peer};

/// Runs `plan` on this tier.
#[must_use]
pub fn run(plan: &Plan) -> Finished {
    run_with::<Client>(plan)
}

/// Runs `plan` on this tier with any client.
#[must_use]
pub fn run_with<C: Subject>(plan: &Plan) -> Finished {
    run_app(plan, |_: C| async {})
}

/// Runs `plan` on this tier with any client, and an app's own code beside the consumers of the plan.
pub(crate) fn run_app<C: Subject, F>(plan: &Plan, app: impl FnOnce(C) -> F) -> Finished
where
    F: Future<Output = ()> + Send + 'static,
{
    let plan = &*plan.for_tier(Tier::Stream);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing from the system");
    let recorder = runtime.block_on(async {
        let started = tokio::time::Instant::now();
        let recorder = SharedRecorder::new(plan, move || Instant::from(started.elapsed()));
        let network = SimNetwork::new(plan, &recorder);
        let hosts = network.hosts.clone();
        let tasks = network.tasks.clone();
        for host in &hosts {
            let host = host.clone();
            tasks.spawn(async move { host.run_clock().await });
        }
        let app_tasks = tasks.clone();
        let stage = Stage { recorder: recorder.clone(), links: network.clone(), hosts, network, tasks };
        runtime::run(plan, stage, |client: &C| drop(app_tasks.spawn(app(client.clone())))).await;
        recorder
    });
    // What the tasks hold goes with the runtime, and is no longer part of the run.
    let finished = recorder.finish();
    drop(runtime);
    finished
}

/// Gateways at the far ends of links.
#[derive(Clone)]
struct SimNetwork {
    profile: Profile,
    links: Vec<Arc<Link>>,
    hosts: Vec<Host>,
    sockets: Sockets,
    tasks: Tasks,
}

impl SimNetwork {
    fn new(plan: &Plan, recorder: &SharedRecorder) -> Self {
        let mut draw = Rng::new(plan.seed, "bytes");
        let profile = Profile {
            latency_min_us: plan.params.latency_min_us,
            latency_max_us: plan.params.latency_max_us,
            // Half of the runs cut everything into small pieces.
            chop_read_bytes: chop(&mut draw),
            chop_write_bytes: chop(&mut draw),
            ..Profile::default()
        };
        let links = (0..GATEWAYS).map(|_| Link::new(profile.clone(), draw.any())).collect();
        let hosts = (0..GATEWAYS)
            .map(|index| Host::new(gateway(plan, index), GatewayObserver::new(recorder.clone(), index)))
            .collect();
        let (sockets, tasks) = (Sockets::new(recorder.clone()), Tasks::default());
        Self { profile, links, hosts, sockets, tasks }
    }
}

fn chop(draw: &mut Rng) -> Option<NonZeroU32> {
    let bytes = u32::try_from(draw.log_between(64, 16_384)).ok().and_then(NonZeroU32::new);
    if draw.chance(50) { bytes } else { None }
}

impl Network for SimNetwork {
    type Stream = Tracked<PipeStream>;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<Self::Stream> {
        let gateway = gateway_of(endpoint);
        let held = self.sockets.dial(gateway);
        let (link, host) = (&self.links[usize::from(gateway)], &self.hosts[usize::from(gateway)]);
        link.dial().await?;
        if host.admission() == Admission::Refused {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (client_end, gateway_end) = PipeStream::pair(link);
        self.tasks.spawn(host.serve(gateway_end, Peer::LOCAL));
        Ok(held.carry(client_end))
    }
}

impl Links for SimNetwork {
    fn set_link_state(&self, gateway: u8, link_state: &LinkState) {
        let link = &self.links[usize::from(gateway)];
        for direction in Direction::BOTH {
            if link_state.loses(direction) {
                link.lose(direction);
            } else {
                link.restore(direction);
            }
            if link_state.stalls(direction) { link.stall(direction) } else { link.resume(direction) }
        }
        link.set_dials(link_state.dials());
        let profile = link_state.profile(&self.profile);
        if link.profile() != profile {
            link.set_profile(profile);
        }
    }

    fn half_open(&self, gateway: u8) {
        // The path is set right afterwards.
        self.links[usize::from(gateway)].partition();
    }

    fn reset(&self, gateway: u8) {
        self.links[usize::from(gateway)].reset_all();
    }

    fn held(&self) -> u32 {
        self.sockets.held()
    }
}
