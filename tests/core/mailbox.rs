//! `isolated_consumers`: a mailbox never grows beyond its limits and never hides a loss.

use std::collections::VecDeque;
use std::sync::Arc;

use insta::assert_snapshot;
use onesocket::core::mailbox::Mailbox;
use onesocket::core::{Epoch, Event, Gap, Options, Payload, Push, Snapshot};
use proptest::prelude::*;

use crate::bench::Bench;
use crate::history::tell_push;
use crate::script::config;

pub(crate) fn event(seq: u64) -> Push {
    sized_event(seq, 0)
}

/// An event whose payload has about `bytes` bytes.
pub(crate) fn sized_event(seq: u64, bytes: usize) -> Push {
    Push::Event(Arc::new(Event {
        epoch: Epoch(1),
        name: "e".into(),
        payload: Payload::from_text(format!("\"{}\"", "x".repeat(bytes))),
        seq: Some(seq),
        state_version: None,
        recipient_profile_id: None,
    }))
}

/// A snapshot can only come from a core that received a hello.
pub(crate) fn snapshot() -> Arc<Snapshot> {
    let bench = Bench::ready(config("a"), Options::default(), 1);
    Arc::clone(bench.core.snapshot().expect("hello was accepted"))
}

pub(crate) fn drain(mailbox: &mut Mailbox) -> String {
    let mut lines = String::new();
    while let Some(push) = mailbox.pop() {
        lines.push_str(&tell_push(&push));
        lines.push('\n');
    }
    lines
}

fn filled(max_items: usize, max_bytes: usize, pushes: impl IntoIterator<Item = Push>) -> Mailbox {
    let mut mailbox = Mailbox::new(max_items, max_bytes);
    for push in pushes {
        mailbox.push(push, None);
    }
    mailbox
}

/// B70: the loss stands where the lost items were, after the snapshot.
#[test]
fn isolated_consumers_the_oldest_give_way_to_a_lag_behind_the_snapshot() {
    let pushes = [Push::Snapshot(snapshot())].into_iter().chain((1..=6).map(event));
    assert_snapshot!(drain(&mut filled(5, usize::MAX, pushes)), @r"
    snapshot of 1 (presence 1 [], health 1 {})
    lagged 3
    event e 4 of 1
    event e 5 of 1
    event e 6 of 1
    ");
}

/// What came before the latest snapshot is replaced by it, so that goes first.
#[test]
fn isolated_consumers_the_latest_snapshot_is_the_first_item_after_an_overflow() {
    let first = [Push::Snapshot(snapshot()), event(1), event(2)];
    let second = [Push::Snapshot(snapshot()), event(3), event(4)];
    assert_snapshot!(drain(&mut filled(5, usize::MAX, first.into_iter().chain(second))), @r"
    snapshot of 1 (presence 1 [], health 1 {})
    lagged 3
    event e 3 of 1
    event e 4 of 1
    ");
}

#[test]
fn isolated_consumers_without_a_snapshot_the_lag_comes_first() {
    assert_snapshot!(drain(&mut filled(4, usize::MAX, (1..=7).map(event))), @r"
    lagged 4
    event e 5 of 1
    event e 6 of 1
    event e 7 of 1
    ");
}

/// Lags add up, and an end is never lost.
#[test]
fn isolated_consumers_the_end_survives_any_overflow() {
    let pushes = (1..=50).map(event).chain([Push::Closed]);
    let mut mailbox = filled(4, usize::MAX, pushes);
    assert_snapshot!(drain(&mut mailbox), @r"
    lagged 48
    event e 49 of 1
    event e 50 of 1
    closed
    ");
}

#[test]
fn isolated_consumers_bytes_are_limited_too() {
    let mut mailbox = filled(100, 1_000, (1..=5).map(|seq| sized_event(seq, 300)));
    assert_snapshot!(drain(&mut mailbox), @r"
    lagged 2
    event e 3 of 1
    event e 4 of 1
    event e 5 of 1
    ");
}

/// One item larger than all of the limit is still delivered, alone.
#[test]
fn isolated_consumers_an_item_larger_than_the_mailbox_is_kept_while_it_is_the_newest() {
    let mut mailbox = filled(100, 10, [event(1), event(2), sized_event(3, 300)]);
    assert_snapshot!(drain(&mut mailbox), @r"
    lagged 2
    event e 3 of 1
    ");
    let mut mailbox = filled(100, 10, [sized_event(1, 300), event(2)]);
    assert_snapshot!(drain(&mut mailbox), @r"
    lagged 1
    event e 2 of 1
    ");
}

/// A payload keeps the text of its whole frame alive, so the whole frame counts.
#[test]
fn isolated_consumers_bytes_count_the_frame_and_not_only_the_payload() {
    let frame = format!(r#"{{"tiny":1,"huge":"{}"}}"#, "x".repeat(5_000));
    let payload = Payload::from_text(frame).part("tiny").unwrap();
    let tiny = |seq| {
        Push::Event(Arc::new(Event {
            epoch: Epoch(1),
            name: "e".into(),
            payload: payload.clone(),
            seq: Some(seq),
            state_version: None,
            recipient_profile_id: None,
        }))
    };
    let mailbox = filled(100, 20_000, (1..=50).map(tiny));
    assert!(mailbox.len() <= 5, "{} items of 5 kB in 20 kB", mailbox.len());
}

/// Less than four items cannot hold a snapshot, a lag, an event and the end.
#[test]
fn isolated_consumers_a_mailbox_has_room_for_four() {
    let mut mailbox = Mailbox::new(0, usize::MAX);
    assert!(mailbox.is_empty());
    for push in [Push::Snapshot(snapshot()), event(1), event(2), Push::Closed] {
        mailbox.push(push, None);
    }
    assert_eq!(mailbox.len(), 4);
}

#[derive(Clone, Debug)]
enum Act {
    Snapshot,
    Event(usize),
    Gap,
    Pop,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::Snapshot),
        4 => (0..400_usize).prop_map(Act::Event),
        1 => Just(Act::Gap),
        3 => Just(Act::Pop),
    ]
}

proptest! {
    /// Any sequence of pushes and pops: the limits hold, the order is kept, the first item is a
    /// snapshot if the first push was one, and what was pushed is delivered or counted as missed.
    #[test]
    fn isolated_consumers_pushed_is_delivered_or_missed(
        acts in prop::collection::vec(act(), 1..200),
        max_items in 4_usize..12,
        max_bytes in 500_usize..3_000,
    ) {
        let latest = snapshot();
        let mut mailbox = Mailbox::new(max_items, max_bytes);
        mailbox.push(Push::Snapshot(Arc::clone(&latest)), None);
        let mut pushed = 1_u64;
        let mut delivered: VecDeque<Push> = VecDeque::new();
        for act in acts {
            match act {
                Act::Pop => delivered.extend(mailbox.pop()),
                Act::Snapshot => mailbox.push(Push::Snapshot(Arc::clone(&latest)), None),
                Act::Event(bytes) => mailbox.push(sized_event(pushed, bytes), None),
                Act::Gap => {
                    let gap = Gap { epoch: Epoch(1), expected: pushed, received: pushed + 1 };
                    mailbox.push(Push::Gap(gap), None);
                }
            }
            pushed += u64::from(!matches!(act, Act::Pop));
            prop_assert!(mailbox.len() <= max_items, "{} items", mailbox.len());
        }
        while let Some(push) = mailbox.pop() {
            delivered.push_back(push);
        }
        prop_assert_eq!(mailbox.len(), 0);
        prop_assert!(matches!(delivered.front(), Some(Push::Snapshot(_))), "{:?}", delivered.front());
        let mut count = 0;
        let mut last = 0;
        for push in &delivered {
            let number = match push {
                Push::Lagged { missed } => {
                    prop_assert!(*missed > 0);
                    count += missed;
                    continue;
                }
                Push::Event(event) => event.seq,
                Push::Gap(gap) => Some(gap.expected),
                _ => None,
            };
            count += 1;
            if let Some(number) = number {
                prop_assert!(number > last, "{number} after {last}");
                // Items are numbered from 0, so all before this one were delivered or counted.
                prop_assert_eq!(count, number + 1, "a loss is reported before what follows it");
                last = number;
            }
        }
        prop_assert_eq!(count, pushed);
    }
}
