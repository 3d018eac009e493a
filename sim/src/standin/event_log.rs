//! The running log of a stand-in.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use onesocket::core::OneLine;
use onesocket_gateway::ModelEvent;
use onesocket_gateway::host::Observer;

use super::lines;

/// Where a stand-in says what it does, line by line. Clones write to the same place.
#[derive(Clone)]
pub struct EventLog {
    start: Instant,
    write: Arc<dyn Fn(&str) + Send + Sync>,
}

impl EventLog {
    /// A log that begins now. `write` takes one line without its end, and must not block: the gateway waits for it.
    pub fn new(write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        EventLog { start: Instant::now(), write: Arc::new(write) }
    }

    /// A log that nobody reads.
    pub fn silent() -> Self {
        EventLog::new(|_| {})
    }

    /// Writes a line with the time since the beginning.
    pub fn write(&self, text: &str) {
        self.write_at(self.start.elapsed(), text);
    }

    fn write_at(&self, now: Duration, text: &str) {
        (self.write)(&format!("{:>10.3}  {}", now.as_secs_f64(), OneLine::whole(text)));
    }
}

impl Observer for EventLog {
    fn note(&mut self, now: Duration, note: &ModelEvent) {
        self.write_at(now, &lines::line(note));
    }
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLog").finish_non_exhaustive()
    }
}
