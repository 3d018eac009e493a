//! Lines that are printed on a thread of their own, because the gateway must not wait for a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long the end waits for what is still to be printed.
const GOODBYE: Duration = Duration::from_secs(1);
/// Between two tries to reach a printer that has no room.
const RETRY: Duration = Duration::from_millis(10);

/// Prints lines.
pub(super) struct Printer {
    pub(super) lines: Lines,
}

/// Where lines to print go.
#[derive(Clone)]
pub(super) struct Lines {
    queue: SyncSender<Printed>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Lines for which there was no room, and of which nothing has been said yet.
    missing: AtomicU64,
    /// Lines that wait to be printed, or to be told missing.
    waiting: AtomicU64,
}

enum Printed {
    Line(String),
    /// So many lines are missing here.
    Missing(u64),
    /// Everything before has been printed when this is answered.
    End(Sender<()>),
}

impl Lines {
    /// Prints a line when its turn comes. Whoever reads too slowly misses lines, and is told so where they would
    /// have been.
    pub(super) fn say(&self, line: &str) {
        if !(self.say_what_is_missing() && self.queued(Printed::Line(line.to_owned()), 1)) {
            self.counts.missing.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether nothing is missing any more that was not told.
    fn say_what_is_missing(&self) -> bool {
        let missing = self.counts.missing.load(Ordering::Relaxed);
        if missing > 0 {
            if !self.queued(Printed::Missing(missing), missing) {
                return false;
            }
            self.counts.missing.fetch_sub(missing, Ordering::Relaxed);
        }
        true
    }

    fn queued(&self, printed: Printed, lines: u64) -> bool {
        self.counts.waiting.fetch_add(lines, Ordering::Relaxed);
        let queued = self.queue.try_send(printed).is_ok();
        if !queued {
            self.counts.waiting.fetch_sub(lines, Ordering::Relaxed);
        }
        queued
    }
}

impl Printer {
    /// Begins to print. No more than `lines_max` lines wait.
    pub(super) fn start(lines_max: usize, print: impl FnMut(&str) + Send + 'static) -> Self {
        let (queue, lines) = sync_channel(lines_max);
        let counts = Arc::<Counts>::default();
        let counted = Arc::clone(&counts);
        thread::spawn(move || print_all(&lines, &counted, print));
        Printer { lines: Lines { queue, counts } }
    }

    /// Waits a moment for what is still to be printed, and says how many lines nobody will see.
    pub(super) fn finish(self) -> u64 {
        let begun = Instant::now();
        let (done, all_printed) = channel();
        let mut end = Printed::End(done);
        loop {
            if self.lines.say_what_is_missing() {
                match self.lines.queue.try_send(end) {
                    Ok(()) => {
                        let _ = all_printed.recv_timeout(GOODBYE.saturating_sub(begun.elapsed()));
                        break;
                    }
                    Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => end = back,
                }
            }
            if begun.elapsed() >= GOODBYE {
                break;
            }
            thread::sleep(RETRY);
        }
        let counts = &self.lines.counts;
        counts.missing.load(Ordering::Relaxed) + counts.waiting.load(Ordering::Relaxed)
    }
}

fn print_all(lines: &Receiver<Printed>, counts: &Counts, mut print: impl FnMut(&str)) {
    for printed in lines {
        match printed {
            Printed::Line(line) => {
                print(&line);
                counts.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            Printed::Missing(lines) => {
                print(&in_words(lines));
                counts.waiting.fetch_sub(lines, Ordering::Relaxed);
            }
            Printed::End(done) => drop(done.send(())),
        }
    }
}

fn in_words(missing: u64) -> String {
    format!("{missing} lines are missing here: they came faster than they were read")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A printer that prints a line for each permit, and what it printed.
    fn stalled(lines_max: usize) -> (Printer, Sender<()>, Arc<Mutex<Vec<String>>>) {
        let (permit, permits) = channel();
        let printed: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&printed);
        let printer = Printer::start(lines_max, move |line| {
            permits.recv().expect("permits are given");
            seen.lock().expect("nothing panicked").push(line.to_owned());
        });
        (printer, permit, printed)
    }

    #[test]
    fn lines_that_nobody_has_room_for_are_counted_where_they_are_missing() {
        let (printer, permit, printed) = stalled(4);
        for number in 0..100 {
            printer.lines.say(&number.to_string());
        }
        (0..200).for_each(|_| permit.send(()).expect("the printer runs"));
        // One line more finds room when the others are printed.
        while printer.lines.counts.waiting.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        printer.lines.say("last");
        assert_eq!(printer.finish(), 0);
        let mut printed = printed.lock().expect("nothing panicked");
        assert_eq!(printed.pop().as_deref(), Some("last"));
        assert_nobody_is_left_guessing(&printed);
    }

    /// Of a hundred lines those that were printed are there, in order, and the others are counted where they would have
    /// been: at one place or, when the printer got to work in the middle, at several.
    fn assert_nobody_is_left_guessing(printed: &[String]) {
        let mut next = 0;
        let mut shown = 0;
        for line in printed {
            match line.parse::<u64>() {
                Ok(number) => {
                    assert_eq!(number, next, "{printed:?}");
                    next += 1;
                    shown += 1;
                }
                Err(_) => {
                    let missing = line.split(' ').next().and_then(|number| number.parse::<u64>().ok());
                    let missing = missing.expect("what is no line counts lines");
                    assert_eq!(*line, in_words(missing));
                    next += missing;
                }
            }
        }
        assert_eq!(next, 100, "{printed:?}");
        assert!((4..100).contains(&shown), "{printed:?}");
    }

    #[test]
    fn lines_that_are_missing_at_the_end_are_told_at_the_end() {
        let (printer, permit, printed) = stalled(4);
        for number in 0..100 {
            printer.lines.say(&number.to_string());
        }
        (0..200).for_each(|_| permit.send(()).expect("the printer runs"));
        assert_eq!(printer.finish(), 0);
        let printed = printed.lock().expect("nothing panicked");
        assert_nobody_is_left_guessing(&printed);
        assert!(printed.last().is_some_and(|line| line.contains("missing")), "{printed:?}");
    }

    #[test]
    fn a_reader_that_is_gone_is_not_waited_for() {
        let (printer, _permit, printed) = stalled(4);
        for number in 0..100 {
            printer.lines.say(&number.to_string());
        }
        assert_eq!(printer.finish(), 100, "nobody sees them");
        assert!(printed.lock().expect("nothing panicked").is_empty());
    }
}
