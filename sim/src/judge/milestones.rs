//! Counts the milestones of a run and tells which steps wait for them no longer.

use onesocket::core::Instant;

use crate::plan::{GATEWAYS, Milestone, MilestoneKind, Plan, When};
use crate::trace::{Event, GatewayEvent, Item, Record, StatusKind};

/// The counts of one kind: at each gateway, and in all.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    all: u32,
    at: [u32; GATEWAYS as usize],
}

/// Looks at every record of a run.
#[derive(Debug)]
pub(crate) struct Milestones {
    counts: [Counts; MilestoneKind::ALL.len()],
    /// Steps that wait, by their index.
    waiting: Vec<(Milestone, usize)>,
    reached: Vec<(usize, Instant)>,
    /// The gateway of each socket, the first of which has number 1.
    gateways: Vec<u8>,
}

impl Milestones {
    pub(crate) fn new(plan: &Plan) -> Self {
        let waiting = plan.steps.iter().enumerate().filter_map(|(index, step)| match step.when {
            When::At { .. } => None,
            When::After { after, .. } => Some((after, index)),
        });
        Self {
            counts: [Counts::default(); MilestoneKind::ALL.len()],
            waiting: waiting.collect(),
            reached: Vec::new(),
            gateways: Vec::new(),
        }
    }

    /// Counts a record; true if it is what a step waits for.
    pub(crate) fn observe(&mut self, record: &Record) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let Some((kind, gateway)) = self.milestone(&record.event) else { return false };
        let counts = &mut self.counts[kind as usize];
        counts.all += 1;
        let all = counts.all;
        let here = gateway.map(|gateway| {
            let here = &mut counts.at[usize::from(gateway)];
            *here += 1;
            (gateway, *here)
        });
        let before = self.reached.len();
        let reached = &mut self.reached;
        self.waiting.retain(|(wanted, index)| {
            let hit = wanted.kind == kind
                && match wanted.gateway {
                    None => wanted.number == all,
                    Some(gateway) => here == Some((gateway, wanted.number)),
                };
            if hit {
                reached.push((*index, record.at));
            }
            !hit
        });
        self.reached.len() > before
    }

    /// A step whose milestone was reached, and when: each once, in their order.
    pub(crate) fn take_reached(&mut self) -> Option<(usize, Instant)> {
        if self.reached.is_empty() { None } else { Some(self.reached.remove(0)) }
    }

    fn milestone(&mut self, what: &Event) -> Option<(MilestoneKind, Option<u8>)> {
        Some(match what {
            Event::Dialed { gateway, .. } => {
                self.gateways.push(*gateway);
                (MilestoneKind::Dial, Some(*gateway))
            }
            Event::Released { socket, .. } => {
                let gateway = usize::try_from(*socket).ok().and_then(|socket| self.gateways.get(socket - 1));
                (MilestoneKind::Released, gateway.copied())
            }
            Event::Gateway { gateway, event } => (at_gateway(event)?, Some(*gateway)),
            Event::Healed { gateway, .. } => (MilestoneKind::Healed, Some(*gateway)),
            Event::Status(status) => (of_status(*status)?, None),
            Event::Pushed { item: Item::Snapshot { .. }, .. } => (MilestoneKind::Snapshot, None),
            Event::Pushed { item: Item::Event { .. }, .. } => (MilestoneKind::Event, None),
            Event::Pushed { item: Item::Gap { .. }, .. } => (MilestoneKind::Gap, None),
            Event::RequestSettled { .. } => (MilestoneKind::Settled, None),
            Event::Pushed { item: Item::Status(_) | Item::Lagged { .. } | Item::Closed, .. }
            | Event::RequestMade { .. }
            | Event::RequestDropped { .. }
            | Event::Subscribed { .. }
            | Event::Unsubscribed { .. }
            | Event::Panicked { .. }
            | Event::Behaves { .. }
            | Event::Configured { .. }
            | Event::Unconfigured { .. }
            | Event::Wanted
            | Event::Woken
            | Event::Resumed
            | Event::ShutdownCalled
            | Event::ShutdownReturned
            | Event::Fault { .. }
            | Event::Skipped { .. }
            | Event::Remaining { .. } => return None,
        })
    }
}

fn at_gateway(event: &GatewayEvent) -> Option<MilestoneKind> {
    Some(match event {
        GatewayEvent::Accepted { .. } => MilestoneKind::Accepted,
        GatewayEvent::Connect { .. } => MilestoneKind::Connect,
        GatewayEvent::Hello { .. } => MilestoneKind::Hello,
        GatewayEvent::Refused { .. } => MilestoneKind::Refused,
        GatewayEvent::Request { .. } => MilestoneKind::Request,
        GatewayEvent::Closed { .. } => MilestoneKind::Closed,
        GatewayEvent::Dropped { .. } => MilestoneKind::Dropped,
        GatewayEvent::Gone { .. } => MilestoneKind::Gone,
        GatewayEvent::Misbehaved { .. } => MilestoneKind::Misbehaved,
        GatewayEvent::Booted => MilestoneKind::Booted,
        GatewayEvent::Down => MilestoneKind::Down,
        GatewayEvent::RunStarted { .. } | GatewayEvent::EventSent { .. } | GatewayEvent::EventLost { .. } => {
            return None;
        }
    })
}

fn of_status(status: StatusKind) -> Option<MilestoneKind> {
    match status {
        StatusKind::Ready => Some(MilestoneKind::Ready),
        StatusKind::Backoff => Some(MilestoneKind::Backoff),
        StatusKind::Paused => Some(MilestoneKind::Paused),
        StatusKind::Closing => Some(MilestoneKind::Closing),
        StatusKind::Idle
        | StatusKind::NotConfigured
        | StatusKind::Connecting
        | StatusKind::Handshaking
        | StatusKind::Settling
        | StatusKind::Stopped => None,
    }
}
