//! What is wrong with the path to a gateway at a time, the same on every tier.
//!
//! Faults overlap: a path is as bad as everything that has begun and not ended makes it. What begins and ends in
//! one moment, such as a reset, leaves nothing here.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use onesocket_gateway::host::CloseAnswer;

use crate::pipe::{Dials, Direction, Profile};
use crate::plan::LinkFault;

/// The state of a link, and of how the gateway at its end treats sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkState {
    /// Losses that go on, by direction.
    losing: [u32; 2],
    /// Stalls that go on, by direction.
    stalling: [u32; 2],
    delay_ms: u64,
    refusing: u32,
    ignoring: u32,
    ignoring_upgrades: u32,
    ignoring_closes: u32,
    closes_late_ms: u64,
    /// The latest one is in force.
    bytes: Vec<Pieces>,
    /// The latest one is in force.
    buffers: Vec<Buffer>,
}

/// How bytes are cut up and slowed down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pieces {
    chop: u32,
    coalesce: bool,
    per_ms: u32,
}

/// A buffer at the beginning of a slow line, one in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffer {
    per_ms: NonZeroU32,
    up_to_ms: u64,
}

impl Buffer {
    /// How long so many bytes take over the line.
    pub(crate) fn time_for(self, bytes: usize) -> Duration {
        Duration::from_micros(bytes as u64 * 1_000 / u64::from(self.per_ms.get()))
    }

    /// The longest that anything waits.
    pub(crate) fn longest(self) -> Duration {
        Duration::from_millis(self.up_to_ms)
    }

    fn capacity(self) -> usize {
        let bytes = u64::from(self.per_ms.get()).saturating_mul(self.up_to_ms);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

impl LinkState {
    /// A fault begins; one that does not last leaves nothing here.
    pub(crate) fn begin(&mut self, fault: &LinkFault) {
        self.change(fault, |count| *count += 1, |sum, part| *sum += part);
        if let Some(pieces) = pieces(fault) {
            self.bytes.push(pieces);
        }
        self.buffers.extend(buffer(fault));
    }

    /// A fault ends that began before.
    pub(crate) fn end(&mut self, fault: &LinkFault) {
        self.change(fault, |count| *count -= 1, |sum, part| *sum -= part);
        if let Some(index) = pieces(fault).and_then(|ended| self.bytes.iter().position(|one| *one == ended)) {
            self.bytes.remove(index);
        }
        if let Some(index) = buffer(fault).and_then(|ended| self.buffers.iter().position(|one| *one == ended))
        {
            self.buffers.remove(index);
        }
    }

    fn change(&mut self, fault: &LinkFault, count: impl Fn(&mut u32), add: impl Fn(&mut u64, u64)) {
        match fault {
            LinkFault::Partition { .. } => self.losing.iter_mut().for_each(count),
            LinkFault::Lose { direction, .. } => count(&mut self.losing[*direction as usize]),
            LinkFault::Blip { .. } => self.stalling.iter_mut().for_each(count),
            LinkFault::Stall { direction, .. } => count(&mut self.stalling[*direction as usize]),
            LinkFault::Delay { by_ms, .. } => add(&mut self.delay_ms, *by_ms),
            LinkFault::RefuseDials { .. } => count(&mut self.refusing),
            LinkFault::IgnoreDials { .. } => count(&mut self.ignoring),
            LinkFault::IgnoreUpgrades { .. } => count(&mut self.ignoring_upgrades),
            LinkFault::IgnoreCloses { .. } => count(&mut self.ignoring_closes),
            LinkFault::LateCloses { by_ms, .. } => add(&mut self.closes_late_ms, *by_ms),
            LinkFault::Bytes { .. }
            | LinkFault::Bufferbloat { .. }
            | LinkFault::HalfOpen {}
            | LinkFault::Reset {} => {}
        }
    }

    pub(crate) fn loses(&self, direction: Direction) -> bool {
        self.losing[direction as usize] > 0
    }

    pub(crate) fn stalls(&self, direction: Direction) -> bool {
        self.stalling[direction as usize] > 0
    }

    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// What becomes of dials that reach the far end.
    pub(crate) fn dials(&self) -> Dials {
        if self.ignoring > 0 {
            Dials::Ignored
        } else if self.refusing > 0 {
            Dials::Refused
        } else {
            Dials::Answered
        }
    }

    pub(crate) fn ignores_upgrades(&self) -> bool {
        self.ignoring_upgrades > 0
    }

    pub(crate) fn close_answer(&self) -> CloseAnswer {
        match (self.ignoring_closes, self.closes_late_ms) {
            (0, 0) => CloseAnswer::Prompt,
            (0, late_ms) => CloseAnswer::Late(Duration::from_millis(late_ms)),
            (1.., _) => CloseAnswer::Never,
        }
    }

    /// What becomes of a byte stream that would have the `ordinary` profile.
    pub(crate) fn profile(&self, ordinary: &Profile) -> Profile {
        let mut profile = ordinary.clone();
        let delay_us = u64::try_from(self.delay().as_micros()).unwrap_or(u64::MAX);
        profile.latency_min_us = profile.latency_min_us.saturating_add(delay_us);
        profile.latency_max_us = profile.latency_max_us.saturating_add(delay_us);
        if let Some(pieces) = self.bytes.last() {
            profile.chop_read_bytes = NonZeroU32::new(pieces.chop);
            profile.chop_write_bytes = NonZeroU32::new(pieces.chop);
            profile.coalesce = pieces.coalesce;
            profile.bandwidth_bytes_per_ms = NonZeroU32::new(pieces.per_ms);
        }
        if let Some(buffer) = self.buffer() {
            let line = profile.bandwidth_bytes_per_ms;
            profile.bandwidth_bytes_per_ms = Some(line.map_or(buffer.per_ms, |line| line.min(buffer.per_ms)));
            let capacity = NonZeroUsize::new(buffer.capacity()).unwrap_or(NonZeroUsize::MIN);
            profile.capacity_bytes = profile.capacity_bytes.min(capacity);
        }
        profile
    }

    pub(crate) fn buffer(&self) -> Option<Buffer> {
        self.buffers.last().copied()
    }
}

fn pieces(fault: &LinkFault) -> Option<Pieces> {
    let LinkFault::Bytes { chop, coalesce, per_ms, .. } = fault else { return None };
    Some(Pieces { chop: *chop, coalesce: *coalesce, per_ms: *per_ms })
}

fn buffer(fault: &LinkFault) -> Option<Buffer> {
    let LinkFault::Bufferbloat { per_ms, up_to_ms, .. } = fault else { return None };
    Some(Buffer { per_ms: *per_ms, up_to_ms: *up_to_ms })
}
