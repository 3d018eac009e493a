//! The numbering of one connection's events.

/// The highest number seen so far. Starts anew with every connection (B34).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sequence {
    highest: Option<u64>,
}

/// Numbers that never came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) expected: u64,
    pub(super) received: u64,
}

impl Sequence {
    /// Takes the number of the next event and reports the hole it reveals, if any.
    ///
    /// The first number sets the base. Unnumbered, repeated and older events are let through and
    /// never move the base back, so that they cannot cause a false gap (protocol 11.3, B39).
    pub(super) fn admit(&mut self, seq: Option<u64>) -> Option<Missing> {
        let received = seq?;
        let missing = self
            .highest
            .map(|highest| highest.saturating_add(1))
            .filter(|expected| received > *expected)
            .map(|expected| Missing { expected, received });
        self.highest = self.highest.max(Some(received));
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(seqs: &[Option<u64>]) -> Vec<(u64, u64)> {
        let mut sequence = Sequence::default();
        seqs.iter().filter_map(|seq| sequence.admit(*seq)).map(|gap| (gap.expected, gap.received)).collect()
    }

    #[test]
    fn gap_before_event_duplicates_and_unnumbered_events_make_no_false_gap() {
        let seqs = [Some(41), None, Some(42), Some(42), Some(41), Some(42), Some(44)];
        assert_eq!(gaps(&seqs), [(43, 44)]);
    }

    #[test]
    fn gap_before_event_the_first_number_is_the_base() {
        assert_eq!(gaps(&[Some(100), Some(102)]), [(101, 102)]);
    }

    #[test]
    fn the_largest_number_does_not_overflow() {
        assert_eq!(gaps(&[Some(u64::MAX), Some(u64::MAX)]), []);
    }
}
