//! What the director of an async tier does when.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::{Plan, When};

/// Something the director does: the step of the plan with this index, or the end of the fault it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cue {
    Act(usize),
    Heal(usize),
}

/// Cues in order of time. At the same time steps come before the ends of faults, and both in the order they were
/// added in.
#[derive(Debug)]
pub(crate) struct Agenda {
    cues: BTreeMap<(Duration, bool, u64), Cue>,
    added: u64,
}

impl Agenda {
    /// The steps whose time the plan knows.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut agenda = Self { cues: BTreeMap::new(), added: 0 };
        for (index, step) in plan.steps.iter().enumerate() {
            if let When::At { at_ms } = step.when {
                agenda.add(Duration::from_millis(at_ms), Cue::Act(index));
            }
        }
        agenda
    }

    pub(crate) fn add(&mut self, at: Duration, cue: Cue) {
        self.added += 1;
        self.cues.insert((at, matches!(cue, Cue::Heal(_)), self.added), cue);
    }

    pub(crate) fn next_time(&self) -> Option<Duration> {
        self.cues.first_key_value().map(|((at, _, _), _)| *at)
    }

    /// The first cue, if its time has come.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<Cue> {
        if self.next_time()? > now {
            return None;
        }
        self.cues.pop_first().map(|(_, cue)| cue)
    }
}
