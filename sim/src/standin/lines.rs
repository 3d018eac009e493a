//! Notes in words.

use onesocket_gateway::{ModelEvent, Presented};

/// The most characters of something a client chose.
const QUOTED_MAX: usize = 60;

/// What a note says, in one line. What a client chose is cut and escaped: it could be megabytes, or steer a terminal.
pub(super) fn line(note: &ModelEvent) -> String {
    match note {
        ModelEvent::Booted { boot } => format!("boot {boot}: the gateway listens again"),
        ModelEvent::Draining { restarting: true, .. } => "restarting: new connections get 503".to_owned(),
        ModelEvent::Draining { restarting: false, .. } => "stopping: new connections get 503".to_owned(),
        ModelEvent::Stopped { crashed: true, .. } => "crashed: connections are refused".to_owned(),
        ModelEvent::Stopped { crashed: false, .. } => "down: connections are refused".to_owned(),
        ModelEvent::SecretChanged { generation } => {
            format!("the shared secret is a new one, number {generation}")
        }
        ModelEvent::Accepted { connection } => format!("#{} connected", connection.0),
        ModelEvent::ChallengeSent { connection } => format!("#{} <- connect.challenge", connection.0),
        ModelEvent::ConnectReceived { connection, presented, .. } => {
            format!("#{} -> connect with {}", connection.0, credentials(presented))
        }
        ModelEvent::HelloSent { connection, device_token, .. } => {
            let issued = if device_token.is_some() { " and a device token" } else { "" };
            format!("#{} <- hello-ok{issued}", connection.0)
        }
        ModelEvent::Refused { connection, code, .. } if code.is_empty() => {
            format!("#{} refused without an answer", connection.0)
        }
        ModelEvent::Refused { connection, code, .. } => {
            format!("#{} refused: {}", connection.0, quoted(code))
        }
        ModelEvent::RequestReceived { connection, id, method } => {
            format!("#{} -> {} (id {})", connection.0, quoted(method), quoted(id))
        }
        ModelEvent::FrameRejected { connection, answered: true } => {
            format!("#{} -> a frame that is no request; answered with an error", connection.0)
        }
        ModelEvent::FrameRejected { connection, answered: false } => {
            format!("#{} -> a message that is no JSON; ignored", connection.0)
        }
        ModelEvent::ResponseSent { connection, id, ok, accepted } => {
            let how = match (ok, accepted) {
                (_, true) => "accepted",
                (true, false) => "ok",
                (false, false) => "error",
            };
            format!("#{} <- {how} (id {})", connection.0, quoted(id))
        }
        ModelEvent::RunStarted { run } => format!("run {} began", quoted(run)),
        ModelEvent::EventSent { connection, event, seq } => {
            format!("#{} <- event {} seq {seq}", connection.0, quoted(event))
        }
        ModelEvent::EventDropped { connection, event, seq } => {
            format!("#{} <- event {} seq {seq} LOST", connection.0, quoted(event))
        }
        ModelEvent::Closed { connection, code } => format!("#{} <- close {code}", connection.0),
        ModelEvent::Terminated { connection, cause } => format!("#{} dropped: {cause:?}", connection.0),
        ModelEvent::Disconnected { connection } => format!("#{} gone", connection.0),
        ModelEvent::Misbehaved { connection: Some(connection), deviation } => {
            format!("#{} as ordered: {deviation:?}", connection.0)
        }
        ModelEvent::Misbehaved { connection: None, deviation } => format!("as ordered: {deviation:?}"),
    }
}

/// Which credentials there are, and never what they are.
fn credentials(presented: &Presented) -> String {
    let mut names = Vec::new();
    let present = [
        ("a token", presented.token.is_some()),
        ("a device token", presented.device_token.is_some()),
        ("a bootstrap token", presented.bootstrap_token.is_some()),
        ("a password", presented.password.is_some()),
    ];
    names.extend(present.iter().filter(|(_, there)| *there).map(|(name, _)| (*name).to_owned()));
    if let Some(device) = &presented.device_id {
        names.push(format!("device {}", quoted(device)));
    }
    if names.is_empty() { "no credentials".to_owned() } else { names.join(", ") }
}

fn quoted(text: &str) -> String {
    let mut out: String = text.chars().take(QUOTED_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_MAX).is_some() {
        out.push('…');
    }
    out
}
