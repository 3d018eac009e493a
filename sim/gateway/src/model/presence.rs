//! The presence list (protocol 10.2 to 10.6).

use std::sync::Arc;
use std::time::Duration;

use super::connect::Connect;
use super::frame::{push_number, push_string};
use super::scope::Scopes;

/// Who is there and who was, newest first, after the gateway's own row.
#[derive(Debug, Clone)]
pub(super) struct Presence {
    /// `stateVersion.presence`.
    pub(super) version: u64,
    instance_id: String,
    rows: Vec<Row>,
    rows_max: usize,
    ttl: Duration,
}

#[derive(Debug, Clone)]
struct Row {
    key: Arc<str>,
    /// The row up to and without `reason` and `ts`, and without the last brace.
    fields: String,
    reason: Option<&'static str>,
    at: Duration,
    /// A live connection's row does not expire: its pongs refresh it (protocol 1.9).
    live: bool,
}

impl Presence {
    pub(super) fn new(instance_id: String, rows_max: usize, ttl: Duration) -> Self {
        Presence { version: 1, instance_id, rows: Vec::new(), rows_max, ttl }
    }

    /// Begins again, as a new process does.
    pub(super) fn reset(&mut self) {
        self.version = 1;
        self.rows.clear();
    }

    /// Records that a tracked client connected.
    pub(super) fn connected(&mut self, now: Duration, key: Arc<str>, connect: &Connect, scopes: &Scopes) {
        let fields = client_fields(connect, scopes);
        self.upsert(now, Row { key, fields, reason: Some("connect"), at: now, live: true });
    }

    /// Records that a tracked client is gone; its row stays for a while.
    pub(super) fn disconnected(&mut self, now: Duration, key: &str) {
        if let Some(index) = self.rows.iter().position(|row| &*row.key == key) {
            let row = self.rows.remove(index);
            self.upsert(now, Row { reason: Some("disconnect"), at: now, live: false, ..row });
        }
    }

    /// Records a `system-event`: `fields` is a JSON object without its last brace.
    pub(super) fn reported(&mut self, now: Duration, key: &str, fields: String) {
        self.upsert(now, Row { key: key.into(), fields, reason: None, at: now, live: false });
    }

    fn upsert(&mut self, now: Duration, row: Row) {
        let ttl = self.ttl;
        self.rows.retain(|old| old.key != row.key && (old.live || now.saturating_sub(old.at) <= ttl));
        self.rows.insert(0, row);
        // One row is the gateway's own.
        self.rows.truncate(self.rows_max.saturating_sub(1));
        self.version += 1;
    }

    /// The whole list as JSON.
    pub(super) fn json(&self, now: Duration, epoch_ms: u64) -> String {
        let mut out = String::with_capacity(320 + self.rows.len() * 256);
        out.push_str(r#"[{"host":"sim","ip":"192.0.2.2","version":"2026.9.1","platform":"linux","deviceFamily":"Linux","modelIdentifier":"x64","mode":"gateway","reason":"self","instanceId":""#);
        out.push_str(&self.instance_id);
        out.push_str(r#"","text":"Gateway: sim (192.0.2.2) · app 2026.9.1 · mode gateway · reason self""#);
        push_time(&mut out, now, epoch_ms);
        for row in &self.rows {
            if !row.live && now.saturating_sub(row.at) > self.ttl {
                continue;
            }
            out.push(',');
            out.push_str(&row.fields);
            if let Some(reason) = row.reason {
                out.push_str(r#","reason":""#);
                out.push_str(reason);
                out.push('"');
            }
            push_time(&mut out, row.at, epoch_ms);
        }
        out.push(']');
        out
    }
}

/// Appends `ts` and the row's last brace.
fn push_time(out: &mut String, at: Duration, epoch_ms: u64) {
    out.push_str(r#","ts":"#);
    push_number(out, epoch_ms + at.as_millis() as u64);
    out.push('}');
}

fn client_fields(connect: &Connect, scopes: &Scopes) -> String {
    let client = &connect.client;
    let host = client.display_name.as_deref().unwrap_or(&client.id);
    let mut out = String::from(r#"{"host":"#);
    push_string(&mut out, host);
    let optional = [
        (r#","version":"#, Some(&*client.version)),
        (r#","platform":"#, Some(&*client.platform)),
        (r#","deviceFamily":"#, client.device_family.as_deref()),
        (r#","modelIdentifier":"#, client.model_identifier.as_deref()),
        (r#","timeZone":"#, client.time_zone.as_deref()),
        (r#","mode":"#, Some(&*client.mode)),
        (r#","deviceId":"#, connect.device.as_ref().map(|device| &*device.id)),
        (r#","instanceId":"#, client.instance_id.as_deref()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            out.push_str(name);
            push_string(&mut out, value);
        }
    }
    out.push_str(r#","roles":[""#);
    out.push_str(connect.role_name());
    out.push_str("\"]");
    if !scopes.is_empty() {
        out.push_str(r#","scopes":"#);
        out.push_str(&scopes.json());
    }
    out.push_str(r#","text":"#);
    push_string(&mut out, &format!("Node: {host} · mode {}", client.mode));
    out
}
