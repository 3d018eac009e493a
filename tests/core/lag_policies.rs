//! `isolated_consumers`: what becomes of a subscriber that reads too slowly is its own choice.

use std::ops::RangeInclusive;
use std::sync::Arc;

use insta::assert_snapshot;
use onesocket::core::mailbox::Mailbox;
use onesocket::core::{Epoch, Gap, LagPolicy, PauseReason, Push, Snapshot, Status};
use proptest::prelude::*;

use crate::mailbox::{drain, event, sized_event, snapshot};

/// A mailbox for five items in which a snapshot waits.
fn unread(policy: LagPolicy, latest: &Arc<Snapshot>) -> Mailbox {
    let mut mailbox = Mailbox::new(5, usize::MAX).with_policy(policy);
    mailbox.push(Push::Snapshot(Arc::clone(latest)), Some(latest));
    mailbox
}

/// A mailbox for five items that has these events since its snapshot was read.
fn filled(policy: LagPolicy, latest: &Arc<Snapshot>, seqs: RangeInclusive<u64>) -> Mailbox {
    let mut mailbox = unread(policy, latest);
    assert!(matches!(mailbox.pop(), Some(Push::Snapshot(_))));
    push_events(&mut mailbox, latest, seqs);
    mailbox
}

fn push_events(mailbox: &mut Mailbox, latest: &Arc<Snapshot>, seqs: RangeInclusive<u64>) {
    for seq in seqs {
        mailbox.push(event(seq), Some(latest));
    }
}

#[test]
fn isolated_consumers_resnapshot_starts_from_the_latest_state() {
    let latest = snapshot();
    let mut mailbox = filled(LagPolicy::Resnapshot, &latest, 1..=7);
    assert_snapshot!(drain(&mut mailbox), @r"
    lagged 5
    snapshot of 1 (presence 1 [], health 1 {})
    event e 6 of 1
    event e 7 of 1
    ");
}

/// Nothing is lost twice, and nothing is lost in silence: notices add up until they are read.
#[test]
fn isolated_consumers_resnapshot_counts_what_is_lost_in_several_overflows() {
    let latest = snapshot();
    let mut mailbox = filled(LagPolicy::Resnapshot, &latest, 1..=20);
    assert_snapshot!(drain(&mut mailbox), @r"
    lagged 17
    snapshot of 1 (presence 1 [], health 1 {})
    event e 18 of 1
    event e 19 of 1
    event e 20 of 1
    ");
}

/// The invariant of all subscriptions holds also for one that has never read anything.
#[test]
fn snapshot_first_resnapshot_before_the_first_read_keeps_the_snapshot_in_front() {
    let latest = snapshot();
    let mut mailbox = unread(LagPolicy::Resnapshot, &latest);
    push_events(&mut mailbox, &latest, 1..=5);
    assert_snapshot!(drain(&mut mailbox), @r"
    snapshot of 1 (presence 1 [], health 1 {})
    lagged 4
    event e 5 of 1
    ");
}

/// A new connection's snapshot that overflows the mailbox is the one that the subscriber goes on from.
#[test]
fn isolated_consumers_resnapshot_gives_no_snapshot_twice() {
    let latest = snapshot();
    let mut mailbox = filled(LagPolicy::Resnapshot, &latest, 1..=5);
    mailbox.push(Push::Snapshot(Arc::clone(&latest)), Some(&latest));
    assert_snapshot!(drain(&mut mailbox), @r"
    lagged 5
    snapshot of 1 (presence 1 [], health 1 {})
    ");
}

/// A gap that nobody read is part of the lag; one that is the newest item is kept.
#[test]
fn gap_before_event_resnapshot_keeps_the_gap_that_overflowed() {
    let latest = snapshot();
    let mut mailbox = filled(LagPolicy::Resnapshot, &latest, 1..=5);
    mailbox.push(Push::Gap(Gap { epoch: Epoch(1), expected: 6, received: 9 }), Some(&latest));
    mailbox.push(event(9), Some(&latest));
    assert_snapshot!(drain(&mut mailbox), @r"
    lagged 5
    snapshot of 1 (presence 1 [], health 1 {})
    gap of 1: expected 6, received 9
    event e 9 of 1
    ");
}

/// Without a connection there is no state to begin from; the status of a pause must not get lost all the
/// same, because nothing follows it.
#[test]
fn isolated_consumers_resnapshot_without_a_snapshot_drops_the_oldest() {
    let latest = snapshot();
    let mut mailbox = filled(LagPolicy::Resnapshot, &latest, 1..=5);
    let reason = PauseReason::Endpoint(onesocket::core::DialError::Unsupported("no TLS".into()));
    mailbox.push(Push::Status(Status::Paused(Arc::new(reason))), None);
    assert_snapshot!(drain(&mut mailbox), @r"
    lagged 2
    event e 3 of 1
    event e 4 of 1
    event e 5 of 1
    status paused: this network cannot dial the endpoint: no TLS; configure another endpoint
    ");
}

/// A snapshot and the newest item are kept whatever their size: a small limit does not loop for ever.
#[test]
fn isolated_consumers_resnapshot_lets_events_through_that_are_larger_than_the_limit() {
    let latest = snapshot();
    let mut mailbox = Mailbox::new(5, 10).with_policy(LagPolicy::Resnapshot);
    mailbox.push(Push::Snapshot(Arc::clone(&latest)), Some(&latest));
    mailbox.push(sized_event(1, 300), Some(&latest));
    assert_snapshot!(drain(&mut mailbox), @r"
    snapshot of 1 (presence 1 [], health 1 {})
    event e 1 of 1
    ");
}

#[test]
fn isolated_consumers_close_ends_the_subscription_with_the_lag() {
    let latest = snapshot();
    let mut mailbox = filled(LagPolicy::Close, &latest, 1..=5);
    assert!(!mailbox.is_closed(), "five items fit");
    mailbox.push(event(6), Some(&latest));
    assert!(mailbox.is_closed());
    mailbox.push(event(7), Some(&latest));
    assert_snapshot!(drain(&mut mailbox), @r"
    lagged 6
    closed
    ");
}

/// A subscription that ends anyway has one end.
#[test]
fn isolated_consumers_close_has_one_end() {
    let latest = snapshot();
    let mut mailbox = filled(LagPolicy::Close, &latest, 1..=5);
    mailbox.push(Push::Closed, Some(&latest));
    assert_snapshot!(drain(&mut mailbox), @r"
    lagged 5
    closed
    ");
}

#[derive(Clone, Debug)]
enum Act {
    Snapshot,
    Event(usize),
    Pop,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::Snapshot),
        5 => (0..400_usize).prop_map(Act::Event),
        3 => Just(Act::Pop),
    ]
}

fn policy() -> impl Strategy<Value = LagPolicy> {
    prop_oneof![Just(LagPolicy::Resnapshot), Just(LagPolicy::Close)]
}

proptest! {
    /// Any sequence of pushes and pops: the limits hold, events keep their order, a loss is reported before what
    /// follows it, and after a loss comes a snapshot or the end.
    #[test]
    fn isolated_consumers_a_loss_is_reported_and_repaired_or_is_the_end(
        acts in prop::collection::vec(act(), 1..200),
        policy in policy(),
        max_items in 4_usize..12,
        max_bytes in 500_usize..3_000,
    ) {
        let latest = snapshot();
        let mut mailbox = Mailbox::new(max_items, max_bytes).with_policy(policy);
        mailbox.push(Push::Snapshot(Arc::clone(&latest)), Some(&latest));
        let mut delivered = Vec::new();
        for (number, act) in (1..).zip(acts) {
            match act {
                Act::Pop => delivered.extend(mailbox.pop()),
                Act::Snapshot => mailbox.push(Push::Snapshot(Arc::clone(&latest)), Some(&latest)),
                Act::Event(bytes) => mailbox.push(sized_event(number, bytes), Some(&latest)),
            }
            prop_assert!(mailbox.len() <= max_items, "{} items", mailbox.len());
        }
        delivered.extend(std::iter::from_fn(|| mailbox.pop()));
        let ended = delivered.iter().position(|push| *push == Push::Closed);
        prop_assert_eq!(ended.is_some(), mailbox.is_closed());
        prop_assert!(ended.is_none_or(|end| end + 1 == delivered.len()), "nothing follows the end");
        let mut last = 0;
        for (index, push) in delivered.iter().enumerate() {
            if let Push::Event(event) = push {
                let number = event.seq.expect("events are numbered");
                prop_assert!(number > last, "{number} after {last}");
                last = number;
            }
            if let Push::Lagged { missed } = push {
                prop_assert!(*missed > 0);
                // What would have mended a loss may give way to a further loss, with a notice of its own.
                let is_lag = |push: &&Push| matches!(push, Push::Lagged { .. });
                let next = delivered[index..].iter().find(|push| !is_lag(push));
                let before = delivered[..index].last();
                let mends = |push: Option<&Push>| matches!(push, Some(Push::Snapshot(_) | Push::Closed));
                prop_assert!(mends(next) || mends(before), "{delivered:?}");
            }
        }
    }
}
