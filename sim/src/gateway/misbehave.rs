//! Deviations from the protocol on order. Nothing in here happens without one.

use std::collections::VecDeque;
use std::time::Duration;

use super::broadcast::Event;
use super::effect::{ConnectionId, Effect, Mischief, Note};
use super::frame;
use super::model::{GatewayModel, Turn};
use super::order::{HandshakeFault, Misbehave, Rejection};
use super::session::Session;

/// The orders to misbehave that still have occasions left.
#[derive(Debug, Clone, Default)]
pub(super) struct Misdeeds {
    handshakes: VecDeque<(u32, HandshakeFault)>,
    treatments: VecDeque<(u32, Treatment)>,
    /// Events that consume their number and are not sent.
    pub(super) drop_events: u32,
    extra_fields: u32,
    ticks_starved_until: Duration,
    pings_starved_until: Duration,
    upgrades_refused_until: Option<Duration>,
}

/// How a request is treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Treatment {
    Faithful,
    Withhold,
    Delay(Duration),
    RefuseCapacity,
    Fail(Box<Rejection>),
}

impl Misdeeds {
    pub(super) fn take_handshake_fault(&mut self) -> Option<HandshakeFault> {
        take(&mut self.handshakes)
    }

    pub(super) fn take_treatment(&mut self) -> Treatment {
        take(&mut self.treatments).unwrap_or(Treatment::Faithful)
    }

    pub(super) fn take_event_drop(&mut self) -> bool {
        take_one(&mut self.drop_events)
    }

    pub(super) fn take_extra_fields(&mut self) -> bool {
        take_one(&mut self.extra_fields)
    }

    pub(super) fn ticks_starved(&self, now: Duration) -> bool {
        now < self.ticks_starved_until
    }

    pub(super) fn pings_starved(&self, now: Duration) -> bool {
        now < self.pings_starved_until
    }

    pub(super) fn upgrades_refused(&self) -> bool {
        self.upgrades_refused_until.is_some()
    }
}

/// Takes one occasion of the first order.
fn take<T: Clone>(orders: &mut VecDeque<(u32, T)>) -> Option<T> {
    let (count, order) = orders.front_mut()?;
    let order = order.clone();
    *count -= 1;
    if *count == 0 {
        orders.pop_front();
    }
    Some(order)
}

fn take_one(count: &mut u32) -> bool {
    let any = *count > 0;
    *count = count.saturating_sub(1);
    any
}

impl GatewayModel {
    pub(super) fn misbehaved(&self, turn: &mut Turn<'_>, connection: ConnectionId, mischief: Mischief) {
        turn.note(Note::Misbehaved { connection: Some(connection), mischief });
    }

    pub(super) fn misbehave(&mut self, turn: &mut Turn<'_>, misbehave: Misbehave) {
        let _ = turn;
        let _ = misbehave;
    }
}
