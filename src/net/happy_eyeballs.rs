//! Several addresses, one connection: staggered attempts (RFC 8305).
//!
//! ```text
//!   answers ──▶ IPv6 ┐                        ┌──▶ attempt ──▶ the first to connect wins,
//!                    ├── one after the other ──┼──▶ attempt     the others are dropped
//!   answers ──▶ IPv4 ┘   or after a failure    └──▶ attempt
//! ```
//!
//! Attempts and answers are given, and time is the runtime's, so that a test decides both.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::resolver::Answers;
use crate::core::NameProblem;

/// How a race is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// From the start of an attempt to that of the next.
    pub(super) attempt_delay: Duration,
    /// From IPv4 addresses to the first attempt, while IPv6 ones may still come.
    pub(super) resolution_delay: Duration,
    /// Addresses that are looked at.
    pub(super) max_addresses: usize,
    /// When whoever waits gives up.
    pub(super) deadline: Option<Instant>,
    /// Whether public addresses are left out.
    pub(super) private_only: bool,
}

/// Why no attempt won.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost<E> {
    /// In the order of their ends; without an error, the time was up.
    pub(super) attempts: Vec<(SocketAddr, Option<E>)>,
    /// Addresses that no attempt was made to.
    pub(super) untried: usize,
    /// What is wrong with the name, if there were no addresses.
    pub(super) problem: Option<NameProblem>,
}

/// Connects to one of the addresses that `answers` brings. Cancel safe: dropping the future drops all attempts.
pub(super) async fn race<S, E, F>(
    answers: Answers,
    rules: Rules,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<S, Lost<E>>
where
    F: Future<Output = Result<S, E>>,
{
    let mut race = Race::new(answers, rules);
    poll_fn(|cx| {
        race.take_answers(cx);
        loop {
            if let Some(stream) = race.poll_attempts(cx) {
                return Poll::Ready(Ok(stream));
            }
            if race.is_over(cx) {
                return Poll::Ready(Err(race.lost()));
            }
            if !race.may_start(cx) {
                return Poll::Pending;
            }
            race.start(&connect);
        }
    })
    .await
}

struct Race<E, F> {
    rules: Rules,
    /// `None` once there are no more.
    answers: Option<Answers>,
    ipv6: VecDeque<SocketAddr>,
    ipv4: VecDeque<SocketAddr>,
    /// Addresses seen, taken or not.
    seen: Vec<SocketAddr>,
    /// Whether the next attempt should be IPv6, if there is a choice.
    ipv6_next: bool,
    running: Vec<(SocketAddr, Pin<Box<F>>)>,
    failed: Vec<(SocketAddr, Option<E>)>,
    /// Runs until the next attempt may start although others run.
    stagger: Option<Pin<Box<Sleep>>>,
    deadline: Option<Pin<Box<Sleep>>>,
    problem: Option<NameProblem>,
    /// Addresses beyond the most that are looked at.
    left_out: usize,
    timed_out: bool,
}

impl<S, E, F: Future<Output = Result<S, E>>> Race<E, F> {
    fn new(answers: Answers, rules: Rules) -> Self {
        Self {
            rules,
            answers: Some(answers),
            ipv6: VecDeque::new(),
            ipv4: VecDeque::new(),
            seen: Vec::new(),
            ipv6_next: true,
            running: Vec::new(),
            failed: Vec::new(),
            stagger: None,
            deadline: rules.deadline.map(|deadline| Box::pin(sleep_until(deadline))),
            problem: None,
            left_out: 0,
            timed_out: false,
        }
    }

    fn take_answers(&mut self, cx: &mut Context<'_>) {
        while let Some(answers) = &mut self.answers {
            match answers.as_mut().poll_next(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => self.answers = None,
                Poll::Ready(Some(Ok(addresses))) => addresses.into_iter().for_each(|one| self.add(one)),
                Poll::Ready(Some(Err(problem))) => self.blame(problem),
            }
        }
    }

    fn add(&mut self, address: SocketAddr) {
        if self.rules.private_only && !crate::core::is_private(address.ip()) {
            self.blame(NameProblem::Public);
        } else if self.seen.contains(&address) {
            // Two families may lead to one address.
        } else if self.seen.len() >= self.rules.max_addresses {
            self.left_out += 1;
        } else {
            self.seen.push(address);
            if address.is_ipv6() { &mut self.ipv6 } else { &mut self.ipv4 }.push_back(address);
        }
    }

    /// That one family has no addresses says less than anything else.
    fn blame(&mut self, problem: NameProblem) {
        if self.problem.is_none() || self.problem == Some(NameProblem::NotFound) {
            self.problem = Some(problem);
        }
    }

    /// The stream of an attempt that has won.
    fn poll_attempts(&mut self, cx: &mut Context<'_>) -> Option<S> {
        let mut at = 0;
        while let Some((address, attempt)) = self.running.get_mut(at) {
            match attempt.as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(stream)) => return Some(stream),
                Poll::Ready(Err(error)) => {
                    self.failed.push((*address, Some(error)));
                    self.running.remove(at);
                    // The next need not wait for a connection that will not be.
                    self.stagger = None;
                }
            }
        }
        None
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.timed_out = self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
        let nothing_left = self.running.is_empty() && self.queued() == 0 && self.answers.is_none();
        self.timed_out || nothing_left
    }

    fn queued(&self) -> usize {
        self.ipv6.len() + self.ipv4.len()
    }

    fn may_start(&mut self, cx: &mut Context<'_>) -> bool {
        if self.queued() == 0 {
            return false;
        }
        // A name server that answers for IPv4 first is given a moment for IPv6.
        let is_first = self.running.is_empty() && self.failed.is_empty();
        if is_first && self.stagger.is_none() && self.ipv6.is_empty() && self.answers.is_some() {
            self.wait(self.rules.resolution_delay);
        }
        if is_first && (!self.ipv6.is_empty() || self.answers.is_none()) {
            return true;
        }
        match &mut self.stagger {
            Some(stagger) => stagger.as_mut().poll(cx).is_ready(),
            None => true,
        }
    }

    fn wait(&mut self, delay: Duration) {
        self.stagger = Some(Box::pin(sleep_until(Instant::now() + delay)));
    }

    fn start(&mut self, connect: impl Fn(SocketAddr) -> F) {
        let of_turn = if self.ipv6_next { self.ipv6.pop_front() } else { self.ipv4.pop_front() };
        let Some(address) = of_turn.or_else(|| self.ipv6.pop_front()).or_else(|| self.ipv4.pop_front())
        else {
            return;
        };
        self.ipv6_next = address.is_ipv4();
        self.wait(self.rules.attempt_delay);
        self.running.push((address, Box::pin(connect(address))));
    }

    fn lost(&mut self) -> Lost<E> {
        let untried = self.queued() + self.left_out;
        let mut attempts = std::mem::take(&mut self.failed);
        attempts.extend(self.running.drain(..).map(|(address, _)| (address, None)));
        let unanswered = self.timed_out && self.answers.is_some();
        let problem = match self.problem.take() {
            _ if !attempts.is_empty() => None,
            None | Some(NameProblem::NotFound) if unanswered => Some(NameProblem::Unanswered),
            None => Some(NameProblem::NotFound),
            problem => problem,
        };
        Lost { attempts, untried, problem }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use futures_util::stream;
    use proptest::prelude::*;
    use tokio::time::sleep;

    use super::*;

    /// What an address does when it is dialed.
    #[derive(Clone, Copy, Debug)]
    enum At {
        Connects(u64),
        Refuses(u64),
        Swallows,
    }

    /// What a race came to, and when each attempt began.
    struct Outcome {
        result: Result<SocketAddr, Lost<&'static str>>,
        started: Vec<(u64, SocketAddr)>,
        ended: u64,
        /// Attempts that were neither won, nor lost, nor dropped.
        left: usize,
    }

    fn rules() -> Rules {
        Rules {
            attempt_delay: Duration::from_millis(250),
            resolution_delay: Duration::from_millis(50),
            max_addresses: 64,
            deadline: None,
            private_only: false,
        }
    }

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 1))
    }

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 1))
    }

    type Part = (u64, Result<Vec<SocketAddr>, NameProblem>);

    /// Answers that come at these times, in milliseconds from the one before.
    fn answers(parts: Vec<Part>) -> Answers {
        Box::pin(stream::unfold(VecDeque::from(parts), |mut parts| async {
            let (after, part) = parts.pop_front()?;
            sleep(Duration::from_millis(after)).await;
            Some((part, parts))
        }))
    }

    async fn run(parts: Vec<Part>, rules: Rules, what: impl Fn(SocketAddr) -> At) -> Outcome {
        let began = Instant::now();
        let ms = || u64::try_from(began.elapsed().as_millis()).expect("a test is short");
        let started = RefCell::new(Vec::new());
        let alive = std::rc::Rc::new(());
        let result = race(answers(parts), rules, |address| {
            started.borrow_mut().push((ms(), address));
            let (does, alive) = (what(address), alive.clone());
            async move {
                let _alive = alive;
                match does {
                    At::Connects(after) => {
                        sleep(Duration::from_millis(after)).await;
                        Ok(address)
                    }
                    At::Refuses(after) => {
                        sleep(Duration::from_millis(after)).await;
                        Err("refused")
                    }
                    At::Swallows => pending().await,
                }
            }
        });
        let result = result.await;
        let ended = ms();
        Outcome { result, started: started.into_inner(), ended, left: std::rc::Rc::strong_count(&alive) - 1 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_black_hole_costs_one_delay() {
        let found = run(vec![(0, Ok(vec![v4(1), v4(2)]))], rules(), |address| {
            if address == v4(1) { At::Swallows } else { At::Connects(20) }
        });
        let found = found.await;
        assert_eq!(found.result, Ok(v4(2)));
        assert_eq!(found.started, [(0, v4(1)), (250, v4(2))]);
        assert_eq!((found.ended, found.left), (270, 0), "the attempt that lost is dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_at_once() {
        let found = run(vec![(0, Ok(vec![v6(1), v6(2), v4(1)]))], rules(), |address| {
            if address == v6(2) { At::Connects(5) } else { At::Refuses(10) }
        });
        let found = found.await;
        assert_eq!(found.result, Ok(v6(2)));
        assert_eq!(found.started, [(0, v6(1)), (10, v4(1)), (20, v6(2))]);
    }

    /// A slow attempt goes on beside the later ones, and wins if it is the first to connect.
    #[tokio::test(start_paused = true)]
    async fn a_slow_attempt_may_still_win() {
        let found = run(vec![(0, Ok(vec![v4(1), v4(2), v4(3)]))], rules(), |address| {
            if address == v4(1) { At::Connects(600) } else { At::Swallows }
        });
        let found = found.await;
        assert_eq!(found.result, Ok(v4(1)));
        assert_eq!(found.started, [(0, v4(1)), (250, v4(2)), (500, v4(3))]);
        assert_eq!(found.left, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn families_take_turns_and_ipv6_begins() {
        let addresses = vec![v4(1), v4(2), v4(3), v6(1), v6(2)];
        let found = run(vec![(0, Ok(addresses))], rules(), |_| At::Refuses(0)).await;
        let order: Vec<SocketAddr> = found.started.into_iter().map(|(_, address)| address).collect();
        assert_eq!(order, [v6(1), v4(1), v6(2), v4(2), v4(3)]);
        let lost = found.result.unwrap_err();
        assert_eq!(lost.attempts.len(), 5);
        assert_eq!((lost.untried, lost.problem), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn ipv6_alone_needs_no_ipv4() {
        let parts = vec![(0, Ok(vec![v6(1)])), (0, Err(NameProblem::NotFound))];
        let found = run(parts, rules(), |_| At::Connects(1)).await;
        assert_eq!(found.result, Ok(v6(1)));
    }

    /// IPv4 that is known first waits a moment for IPv6, and no longer.
    #[tokio::test(start_paused = true)]
    async fn late_answers_are_waited_for_and_taken_in() {
        let soon = vec![(0, Ok(vec![v4(1), v4(2)])), (30, Ok(vec![v6(1)]))];
        let found =
            run(soon, rules(), |address| if address.is_ipv6() { At::Swallows } else { At::Connects(0) });
        let found = found.await;
        assert_eq!(found.started, [(30, v6(1)), (280, v4(1))]);

        let late = vec![(0, Ok(vec![v4(1), v4(2)])), (200, Ok(vec![v6(1)]))];
        let found =
            run(late, rules(), |address| if address.is_ipv4() { At::Swallows } else { At::Connects(0) });
        let found = found.await;
        assert_eq!(found.started, [(50, v4(1)), (300, v6(1))], "the late one goes before the second of IPv4");

        let never = vec![(0, Ok(vec![v4(1)])), (3_600_000, Ok(vec![v6(1)]))];
        let found = run(never, rules(), |_| At::Connects(7)).await;
        assert_eq!((found.result, found.ended), (Ok(v4(1)), 57));
    }

    /// When all known addresses have failed, the answer that is still due may have the right one.
    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_the_last_hope() {
        let parts = vec![(0, Ok(vec![v4(1)])), (2_000, Ok(vec![v6(1)]))];
        let found =
            run(parts, rules(), |address| if address.is_ipv4() { At::Refuses(1) } else { At::Connects(1) });
        let found = found.await;
        assert_eq!((found.result, found.ended), (Ok(v6(1)), 2_001));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_time_tells_what_was_under_way() {
        let deadline = Some(Instant::now() + Duration::from_millis(600));
        let parts = vec![(0, Ok((1..=40).map(v4).collect()))];
        let found = run(parts, Rules { deadline, ..rules() }, |address| {
            if address == v4(1) { At::Refuses(100) } else { At::Swallows }
        });
        let found = found.await;
        let lost = found.result.unwrap_err();
        let expected = [(v4(1), Some("refused")), (v4(2), None), (v4(3), None)];
        assert_eq!((lost.attempts.as_slice(), lost.untried), (expected.as_slice(), 37));
        assert_eq!((found.ended, found.left), (600, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_are_bounded_and_told_apart() {
        let forty = (1..=40).map(v4).collect();
        let found = run(vec![(0, Ok(forty))], Rules { max_addresses: 16, ..rules() }, |_| At::Refuses(0));
        let lost = found.await.result.unwrap_err();
        assert_eq!((lost.attempts.len(), lost.untried), (16, 24));
        let found = run(vec![(0, Ok(vec![v4(1), v4(1)]))], rules(), |_| At::Refuses(0)).await;
        assert_eq!(found.started.len(), 1, "the same address once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_without_addresses_says_why() {
        let problem =
            async |parts, rules| run(parts, rules, |_| At::Swallows).await.result.unwrap_err().problem;
        let none = || Err(NameProblem::NotFound);
        assert_eq!(problem(vec![], rules()).await, Some(NameProblem::NotFound));
        assert_eq!(problem(vec![(0, none()), (0, none())], rules()).await, Some(NameProblem::NotFound));
        let unsure = vec![(0, none()), (0, Err(NameProblem::Temporary)), (0, none())];
        assert_eq!(problem(unsure, rules()).await, Some(NameProblem::Temporary));
        let deadline = || Some(Instant::now() + Duration::from_secs(1));
        let silent = vec![(0, none()), (60_000, none())];
        let limited = Rules { deadline: deadline(), ..rules() };
        assert_eq!(problem(silent, limited).await, Some(NameProblem::Unanswered));
        let public = Rules { private_only: true, ..rules() };
        assert_eq!(problem(vec![(0, Ok(vec![v4(1), v6(1)]))], public).await, Some(NameProblem::Public));
    }

    /// What must stay private is dialed at its private addresses only, whichever come first.
    #[tokio::test(start_paused = true)]
    async fn public_addresses_are_left_out_where_only_private_ones_will_do() {
        let private = SocketAddr::from(([10, 0, 0, 1], 1));
        let parts = vec![(0, Ok(vec![v6(1), v4(1), private]))];
        let found = run(parts, Rules { private_only: true, ..rules() }, |_| At::Connects(1)).await;
        assert_eq!(found.result, Ok(private));
        assert_eq!(found.started.len(), 1);
    }

    /// What an address does, and when it is known.
    type Place = (SocketAddr, u64, At);

    fn places() -> impl Strategy<Value = Vec<Place>> {
        let does = prop_oneof![
            (0..3_000_u64).prop_map(At::Connects),
            (0..3_000_u64).prop_map(At::Refuses),
            Just(At::Swallows),
        ];
        let address = prop_oneof![(0..8_u16).prop_map(v6), (0..8_u8).prop_map(v4)];
        proptest::collection::vec((address, 0..2_000_u64, does), 0..12)
    }

    proptest! {
        /// Whatever the addresses do, and whenever they become known.
        #[test]
        fn no_wedge_a_race_is_won_if_anybody_connects(places in places(), limit in 1..10_000_u64) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            runtime.expect("it can be made").block_on(judged(places, limit));
        }
    }

    async fn judged(mut places: Vec<Place>, limit: u64) {
        // A name has each address once.
        places.sort_by_key(|(address, _, _)| *address);
        places.dedup_by_key(|(address, _, _)| *address);
        places.sort_by_key(|(_, known, _)| *known);
        let place = |address| *places.iter().find(|place| place.0 == address).expect("it is known");
        let mut before = 0;
        let parts = places.iter().map(|(address, known, _)| {
            let after = known - std::mem::replace(&mut before, *known);
            (after, Ok(vec![*address]))
        });
        let deadline = Some(Instant::now() + Duration::from_millis(limit));
        let found = run(parts.collect(), Rules { deadline, ..rules() }, |address| place(address).2).await;

        assert_eq!(found.left, 0, "no attempt outlives the race");
        for (index, (began, address)) in found.started.iter().enumerate() {
            let earlier = &found.started[..index];
            assert!(*began >= place(*address).1, "nothing is dialed before it is known");
            assert!(earlier.iter().all(|(_, other)| other != address), "nothing is dialed twice");
            let Some((last, _)) = earlier.last() else { continue };
            let failed_since = |(began_then, other): &(u64, SocketAddr)| match place(*other).2 {
                At::Refuses(after) => (*last..=*began).contains(&(began_then + after)),
                At::Connects(_) | At::Swallows => false,
            };
            assert!(
                began - last >= 250 || earlier.iter().any(failed_since),
                "early for no reason: {:?}",
                found.started
            );
        }
        // Nobody who connected in time was passed over for a later one.
        let arrival = |(began, address): &(u64, SocketAddr)| match place(*address).2 {
            At::Connects(after) => Some(began + after),
            At::Refuses(_) | At::Swallows => None,
        };
        let first = found.started.iter().filter_map(arrival).min();
        match found.result {
            Ok(_) => assert_eq!(Some(found.ended), first),
            Err(lost) => {
                assert!(first.is_none_or(|first| first >= limit), "{first:?} was in time");
                // The last in the queue waits for a delay of each one before it.
                let turns = 50 + 250 * u64::try_from(places.len()).expect("they are few");
                let in_time = |(_, known, does): &Place| match does {
                    At::Connects(after) => known + turns + after < limit,
                    At::Refuses(_) | At::Swallows => false,
                };
                assert!(!places.iter().any(in_time), "somebody could have been reached");
                assert!(found.ended <= limit && lost.attempts.is_empty() == lost.problem.is_some());
                if found.ended < limit {
                    assert_eq!((lost.attempts.len(), lost.untried), (places.len(), 0));
                    assert!(lost.attempts.iter().all(|(_, error)| *error == Some("refused")));
                }
            }
        }
    }
}
