//! The command that listens: `watch`.

use onesocket::Client;
use onesocket::core::{AfterApproval, PauseReason, Push, Status};

use super::waiting::{Outage, in_words};
use super::{CliError, Common, Watch, json, output};

/// Characters of a payload that a line for people shows.
const SHOWN: usize = 200;

/// Prints what the gateway pushes until it is interrupted, or has printed enough.
pub(super) async fn watch(client: &Client, common: &Common, watch: &Watch) -> Result<(), CliError> {
    let mut pushes = client.subscribe().expect("it is the first subscription");
    let mut statuses = client.watch_status();
    let mut outage = Outage::default();
    let mut left = watch.count.unwrap_or(u64::MAX);
    while left > 0 {
        tokio::select! {
            biased;
            push = pushes.next() => {
                let Some(push) = push else { return Err(CliError::ShutDown) };
                output::print(&if common.json { as_json(&push) } else { as_text(&push) })?;
                left -= 1;
            }
            // Before the first snapshot, a subscription says nothing of a gateway that says no.
            status = statuses.changed() => match status.ok_or(CliError::ShutDown)? {
                Status::Paused(reason) if ends(&reason) => return Err(CliError::Paused(reason)),
                Status::Paused(reason) => outage.tell(&reason.to_string(), "asking again from time to time"),
                Status::Backoff { cause, .. } => outage.tell(&in_words(&cause), "trying again"),
                Status::Ready { .. } => outage.end(),
                // What comes before one of these.
                _ => {}
            },
        }
    }
    Ok(())
}

/// Whether the client waits for somebody who cannot be told by the command line. One that asks the gateway by itself, or is
/// told by it, goes on.
fn ends(reason: &PauseReason) -> bool {
    match reason {
        PauseReason::Pairing { then, .. } => *then == AfterApproval::Resume,
        _ => true,
    }
}

fn as_json(push: &Push) -> String {
    let number = |number: u64| number.to_string();
    match push {
        Push::Snapshot(snapshot) => json::object(&[
            ("type", json::text("snapshot")),
            ("epoch", number(snapshot.epoch().0)),
            ("serverVersion", json::text(snapshot.hello.server_version.as_str())),
            ("connectionId", json::text(snapshot.hello.connection_id.as_str())),
            ("presence", json::on_one_line(&snapshot.presence)),
            ("health", json::on_one_line(&snapshot.health)),
        ]),
        Push::Event(event) => json::object(&[
            ("type", json::text("event")),
            ("epoch", number(event.epoch.0)),
            ("event", json::text(&event.name)),
            ("seq", event.seq.map_or("null".to_owned(), number)),
            ("payload", json::on_one_line(&event.payload)),
        ]),
        Push::Gap(gap) => json::object(&[
            ("type", json::text("gap")),
            ("epoch", number(gap.epoch.0)),
            ("expected", number(gap.expected)),
            ("received", number(gap.received)),
        ]),
        Push::Status(status) => {
            json::object(&[("type", json::text("status")), ("status", json::text(&status_in_words(status)))])
        }
        Push::Lagged { missed } => {
            json::object(&[("type", json::text("lagged")), ("missed", number(*missed))])
        }
        Push::Closed => json::object(&[("type", json::text("closed"))]),
        // A kind of a later version.
        _ => json::object(&[("type", json::text("unknown"))]),
    }
}

fn as_text(push: &Push) -> String {
    match push {
        Push::Snapshot(snapshot) => {
            let hello = &snapshot.hello;
            format!("snapshot  gateway {}, connection {}", hello.server_version, hello.connection_id)
        }
        Push::Event(event) => {
            let seq = event.seq.map(|seq| format!(" #{seq}")).unwrap_or_default();
            format!("event     {}{seq} {}", event.name, shortened(&json::on_one_line(&event.payload)))
        }
        Push::Gap(gap) => format!("gap       expected #{}, received #{}", gap.expected, gap.received),
        Push::Status(status) => format!("status    {}", status_in_words(status)),
        Push::Lagged { missed } => format!("lagged    {missed} items are gone"),
        Push::Closed => "closed".to_owned(),
        // A kind of a later version.
        other => format!("{other:?}"),
    }
}

fn status_in_words(status: &Status) -> String {
    match status {
        Status::Idle => "idle".to_owned(),
        Status::NotConfigured => "not configured".to_owned(),
        Status::Connecting { attempt, .. } => format!("connecting, attempt {attempt}"),
        Status::Handshaking { .. } => "handshaking".to_owned(),
        Status::Ready { epoch } => format!("ready, epoch {epoch}"),
        Status::Backoff { cause, .. } => format!("waiting to reconnect: {cause}"),
        Status::Paused(reason) => format!("paused: {reason}"),
        Status::Settling { .. } => "waiting for the config to settle".to_owned(),
        Status::Closing => "closing".to_owned(),
        Status::Stopped => "stopped".to_owned(),
        Status::Lost(end) => format!("lost: {end}"),
        // A status of a later version.
        other => format!("{other:?}"),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
