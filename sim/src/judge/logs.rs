//! What is logged in a run, kept for its thread.
//!
//! A run of thousands keeps lines at level `error` only, which are violations and hardly ever there: every other
//! line is dropped before its fields are looked at. A replay, and the second run of a sample, keeps everything,
//! errors and statuses as a person would print them included, so that no secret in them goes unseen.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write};
use std::sync::{LazyLock, Once};

use onesocket::core::{RequestError, Status};
use tracing::dispatcher::{self, Dispatch};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::{Level, Metadata, Subscriber};

use crate::trace::{Event, GatewayEvent, Record};

/// Targets and beginnings of lines that may be logged at level `error` without being a violation. There are none.
const ALLOWED_ERRORS: [(&str, &str); 0] = [];

/// What to keep of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Lines at level `error`.
    Errors,
    /// Every line of `tracing`, lines of the `log` crate down to `debug`, and every error that a caller got.
    ///
    /// The websocket library writes whole frames to the `log` crate at level `trace`; see the README of onesocket.
    Everything,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How many records of the run came before it.
    pub after: usize,
    /// Its level.
    pub level: Level,
    /// Who wrote it.
    pub target: String,
    /// What it says.
    pub text: String,
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9}  {:<5} {}: {}", "log", self.level, self.target, self.text)
    }
}

thread_local! {
    static LINES: RefCell<Vec<LogLine>> = const { RefCell::new(Vec::new()) };
    static KEEP: Cell<Option<Keep>> = const { Cell::new(None) };
    static RECORDS: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work`, all of it on this thread, and gives back what was logged.
pub fn kept<T>(keep: Keep, work: impl FnOnce() -> T) -> (T, Vec<LogLine>) {
    static ERRORS: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Tap(Keep::Errors)));
    static EVERYTHING: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Tap(Keep::Everything)));
    static LOG: Once = Once::new();
    // An app that tests itself may have a logger of its own; then lines of the `log` crate are its business.
    LOG.call_once(|| drop(log::set_logger(&LogTap)));
    let dispatch = match keep {
        Keep::Errors => {
            log::set_max_level(log::max_level().max(log::LevelFilter::Error));
            &ERRORS
        }
        Keep::Everything => {
            log::set_max_level(log::max_level().max(log::LevelFilter::Debug));
            &EVERYTHING
        }
    };
    KEEP.set(Some(keep));
    RECORDS.set(0);
    LINES.take();
    let result = dispatcher::with_default(dispatch, work);
    KEEP.set(None);
    (result, LINES.take())
}

/// The first line that must not be there at its level.
#[must_use]
pub fn unexpected(lines: &[LogLine]) -> Option<&LogLine> {
    lines.iter().find(|line| {
        let allowed = ALLOWED_ERRORS
            .iter()
            .any(|(target, beginning)| line.target == *target && line.text.starts_with(beginning));
        line.level == Level::ERROR && !allowed
    })
}

/// The first line that holds a secret of the run: a configured token, or one that a gateway issued.
#[must_use]
pub fn leak<'l>(lines: &'l [LogLine], records: &[Record]) -> Option<&'l LogLine> {
    let mut secrets = vec![crate::plan::Plan::FIRST_TOKEN];
    for record in records {
        match &record.event {
            Event::Configured { config, .. } => secrets.push(&config.token),
            Event::Gateway { event: GatewayEvent::Hello { issued, handed_over, .. }, .. } => {
                secrets.extend([issued, handed_over].into_iter().flatten().map(|token| &**token));
            }
            _ => {}
        }
    }
    secrets.sort_unstable();
    secrets.dedup();
    lines.iter().find(|line| secrets.iter().any(|secret| line.text.contains(secret)))
}

/// A run took down one more record.
pub(crate) fn recorded(records: usize) {
    RECORDS.set(records);
}

/// A caller got an error; apps print these.
pub(crate) fn error_shown(error: &RequestError) {
    if KEEP.get() == Some(Keep::Everything) {
        keep(Level::DEBUG, "error of a request", format!("{error} {error:?}"));
    }
}

/// The status changed; apps print these, too.
pub(crate) fn status_shown(status: &Status) {
    if KEEP.get() == Some(Keep::Everything) {
        keep(Level::DEBUG, "status", format!("{status:?}"));
    }
}

fn keep(level: Level, target: &str, text: String) {
    let line = LogLine { after: RECORDS.get(), level, target: target.to_owned(), text };
    LINES.with_borrow_mut(|lines| lines.push(line));
}

/// Receives from `tracing`.
struct Tap(Keep);

impl Subscriber for Tap {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match self.0 {
            Keep::Errors => *metadata.level() == Level::ERROR && metadata.is_event(),
            Keep::Everything => true,
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        match self.0 {
            Keep::Errors => Some(LevelFilter::ERROR),
            Keep::Everything => Some(LevelFilter::TRACE),
        }
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = format!("span {}", span.metadata().name());
        span.record(&mut Fields(&mut text));
        keep(*span.metadata().level(), span.metadata().target(), text);
        // Spans are told apart by nobody here.
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, values: &SpanRecord<'_>) {
        let mut text = "span".to_owned();
        values.record(&mut Fields(&mut text));
        keep(Level::DEBUG, "span", text);
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = String::new();
        event.record(&mut Fields(&mut text));
        keep(*event.metadata().level(), event.metadata().target(), text.trim_start().to_owned());
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// Writes fields one after the other.
struct Fields<'t>(&'t mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// Receives from the `log` crate.
struct LogTap;

impl log::Log for LogTap {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        match KEEP.get() {
            Some(Keep::Errors) => metadata.level() == log::Level::Error,
            Some(Keep::Everything) => metadata.level() <= log::Level::Debug,
            None => false,
        }
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                log::Level::Error => Level::ERROR,
                log::Level::Warn => Level::WARN,
                log::Level::Info => Level::INFO,
                log::Level::Debug => Level::DEBUG,
                log::Level::Trace => Level::TRACE,
            };
            keep(level, record.target(), record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use onesocket::core::Instant;

    use super::*;

    #[test]
    fn an_error_is_kept_and_a_warning_is_not() {
        let (result, lines) = kept(Keep::Errors, || {
            tracing::warn!("all is not well");
            log::warn!("not at all");
            tracing::error!(number = 7, "this should not be");
            log::error!("nor this");
            3
        });
        assert_eq!(result, 3);
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["this should not be number=7", "nor this"]);
        assert_eq!(unexpected(&lines), lines.first());
        assert_eq!(kept(Keep::Errors, || {}).1, []);
    }

    #[test]
    fn a_secret_is_found_in_events_spans_and_debug_forms() {
        let issued = Event::Gateway {
            gateway: 0,
            event: GatewayEvent::Hello {
                connection: 1,
                issued: Some(Arc::from("issued-secret")),
                handed_over: None,
            },
        };
        let records = [Record { at: Instant::ZERO, event: issued }];
        for innocent in [false, true] {
            let token = if innocent { "[redacted]" } else { "issued-secret" };
            let logs: [&dyn Fn(); 3] = [
                &|| tracing::trace!("connecting with {token}"),
                &|| drop(tracing::debug_span!("connection", token)),
                &|| log::debug!("{:?}", Some(token)),
            ];
            for log in logs {
                let (_, lines) = kept(Keep::Everything, log);
                assert_eq!(lines.len(), 1);
                assert_eq!(leak(&lines, &records).is_some(), !innocent, "{lines:?}");
            }
        }
    }
}
