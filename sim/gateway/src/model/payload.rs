//! The large payloads, assembled from parts that never change and parts that do.

use std::sync::{Arc, OnceLock};

use super::auth::Method;
use super::config::{GatewayConfig, Release};
use super::connect::role_name;
use super::frame::{push_number, push_string};
use super::scope::Scope;
use super::session::Grant;

/// The version whose behaviour was recorded.
pub(super) const VERSION: &str = "2026.9.1";
const HELLO_HEAD: &str = r#"{"type":"hello-ok","protocol":4,"server":{"version":"2026.9.1","buildId":"2026.9.1-release-simulated","bootId":""#;
const CAPABILITIES: &str = r#"["board-widget-put-canvas-doc","chat-send-routing-contract","gateway-restart-target-safe-v1","session-scoped-chat-metadata","session-unread-ack-contract","session-settings-contract","openclaw-setup-model-ref"]"#;
const SESSION_DEFAULTS: &str = r#"{"defaultAgentId":"main","modelConfigured":false,"ownership":"sole","selectionRequired":false,"mainKey":"main","mainSessionKey":"agent:main:main","scope":"per-sender"}"#;
const UPDATE_SCHEDULE: &str =
    r#","updateSchedule":{"channel":"stable","autoEnabled":false,"install":{"kind":"package"}}"#;
const WIDGET_KINDS: &str = r#","controlUiWidgetKinds":[{"pluginId":"session","kind":"session:progress","label":"Session progress"}]"#;
const HEALTH_TAIL: &str = r#","plugins":{"loaded":["anthropic","browser","canvas","device-pair","memory-core","openai"],"errors":[],"unavailable":[]},"configReload":{"hotReloadStatus":"active"},"channels":{},"channelOrder":[],"channelLabels":{},"heartbeatSeconds":1800,"defaultAgentId":"main","agents":[{"agentId":"main","isDefault":true,"heartbeat":{"enabled":true,"every":"30m","everyMs":1800000,"prompt":"If nothing needs attention, reply NO_REPLY.","target":"owner","ackMaxChars":300},"sessions":{"path":"/sim/sessions.json","count":0,"recent":[]}}],"sessions":{"path":"/sim/sessions.json","count":0,"recent":[]}}"#;
/// A member that tells how busy the process is: never at all.
pub(super) const EVENT_LOOP: &str = r#","eventLoop":{"degraded":false,"degradedSinceMs":null,"reasons":[],"intervalMs":1000,"delayP99Ms":22,"delayMaxMs":36,"utilization":0.022,"cpuCoreRatio":0.015}"#;

/// The 56 event names of the recorded gateway.
const EVENTS: &[&str] = &[
    "connect.challenge",
    "agent",
    "chat",
    "chat.metadata.changed",
    "ui.command",
    "session.approval",
    "session.message",
    "session.observer",
    "session.operation",
    "session.sharing",
    "session.sharing.evidence",
    "session.suggestion",
    "session.typing",
    "session.tool",
    "sessions.changed",
    "controlUi.sessionPullRequests.changed",
    "presence",
    "tick",
    "talk.mode",
    "talk.event",
    "shutdown",
    "gateway.suspension",
    "health",
    "heartbeat",
    "cron",
    "task",
    "task.suggestion",
    "node.pair.requested",
    "node.pair.resolved",
    "node.presence",
    "node.runnerInventory.changed",
    "node.invoke.cancel",
    "node.invoke.input",
    "node.invoke.request",
    "device.pair.changed",
    "device.pair.requested",
    "device.pair.resolved",
    "device.pair.setup.completed",
    "device.pair.setup.deliveryUncertain",
    "users.prefs.changed",
    "skills.changed",
    "voicewake.changed",
    "voicewake.routing.changed",
    "exec.approval.requested",
    "exec.approval.resolved",
    "question.requested",
    "question.resolved",
    "plugin.approval.requested",
    "plugin.approval.resolved",
    "openclaw.approval.requested",
    "openclaw.approval.resolved",
    "terminal.data",
    "terminal.exit",
    "update.available",
    "portal.changed",
    "progressCard.changed",
];

/// The parts of hello-ok that depend on the configuration only.
#[derive(Debug, Clone)]
pub(super) struct Payloads {
    /// From `"},"features"` to the end of it.
    features: Arc<str>,
    /// The `policy` object.
    policy: Arc<str>,
    /// `auth.recoveryScope`, which names the gateway to its clients.
    recovery_scope: String,
}

impl Payloads {
    pub(super) fn new(config: &GatewayConfig, recovery_scope: String) -> Self {
        // Built once for a process: thousands of models a second share it.
        static DEFAULT: OnceLock<Arc<str>> = OnceLock::new();
        let features = match &config.methods {
            None => {
                DEFAULT.get_or_init(|| features(GatewayConfig::default_methods().iter().copied())).clone()
            }
            Some(methods) => features(methods.iter().map(String::as_str)),
        };
        Payloads { features, policy: policy(config), recovery_scope }
    }
}

fn features<'a>(methods: impl Iterator<Item = &'a str>) -> Arc<str> {
    let mut out = String::from(r#""features":{"methods":"#);
    push_strings(&mut out, methods);
    out.push_str(r#","events":"#);
    push_strings(&mut out, EVENTS.iter().copied());
    out.push_str(r#","capabilities":"#);
    out.push_str(CAPABILITIES);
    out.push('}');
    out.into()
}

fn push_strings<'a>(out: &mut String, items: impl Iterator<Item = &'a str>) {
    out.push('[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_string(out, item);
    }
    out.push(']');
}

fn policy(config: &GatewayConfig) -> Arc<str> {
    let interval = config.timing.tick_interval.as_millis();
    let interval = config.timing.advertised_tick_interval_ms.map_or(interval, u128::from);
    let (payload, buffered) = (config.limits.payload_bytes, config.limits.buffered_bytes);
    format!(
        r#"{{"maxPayload":{payload},"maxBufferedBytes":{buffered},"tickIntervalMs":{interval},"attachments":{{"maxBytes":19464192,"maxImageBytes":6291456}},"allowedSessionVisibilities":["shared","read-only","suggest","draft"],"hasMultipleSessionSharingIdentities":false}}"#
    )
    .into()
}

/// What a hello-ok says about the moment it is sent.
#[derive(Debug)]
pub(super) struct Moment<'a> {
    pub(super) boot_id: &'a str,
    pub(super) conn_id: &'a str,
    /// The presence list as JSON.
    pub(super) presence: &'a str,
    /// The cached health as JSON.
    pub(super) health: &'a str,
    /// `stateVersion` as JSON.
    pub(super) state_version: &'a str,
    pub(super) uptime_ms: u64,
    pub(super) auth_mode: &'static str,
}

/// A whole hello-ok (protocol 3.9, 10.1).
pub(super) fn hello(payloads: &Payloads, release: Release, moment: &Moment<'_>, grant: &Grant) -> String {
    let read = grant.scopes.allow(Scope::Read);
    let mut out = String::with_capacity(4096 + moment.presence.len() + moment.health.len());
    out.push_str(HELLO_HEAD);
    out.push_str(moment.boot_id);
    out.push_str(r#"","controlUiBuildSource":"bundled","connId":""#);
    out.push_str(moment.conn_id);
    out.push_str("\"},");
    out.push_str(&payloads.features);
    out.push_str(r#","snapshot":{"suspension":{"phase":"accepting"},"presence":"#);
    out.push_str(if read { moment.presence } else { "[]" });
    out.push_str(r#","health":"#);
    out.push_str(moment.health);
    out.push_str(r#","stateVersion":"#);
    out.push_str(moment.state_version);
    out.push_str(r#","uptimeMs":"#);
    push_number(&mut out, moment.uptime_ms);
    out.push_str(r#","appliedConfigHash":"hmac-sha256:v1:simulated","sessionDefaults":"#);
    out.push_str(SESSION_DEFAULTS);
    if read {
        out.push_str(UPDATE_SCHEDULE);
    }
    if grant.scopes.allow(Scope::Admin) {
        out.push_str(r#","configPath":"/sim/openclaw.json","stateDir":"/sim","authMode":""#);
        out.push_str(moment.auth_mode);
        out.push('"');
    }
    out.push('}');
    if read {
        out.push_str(WIDGET_KINDS);
    }
    out.push_str(
        r#","pluginSurfaceUrls":{"canvas":"http://127.0.0.1:18789/__openclaw__/cap/simulated"},"auth":"#,
    );
    push_auth(&mut out, payloads, release, moment.auth_mode, grant);
    out.push_str(r#","policy":"#);
    out.push_str(&payloads.policy);
    out.push('}');
    out
}

fn push_auth(out: &mut String, payloads: &Payloads, release: Release, mode: &str, grant: &Grant) {
    out.push('{');
    match release {
        Release::R2026_9_1 => {}
        Release::R2026_9_6 => {
            out.push_str(r#""method":""#);
            out.push_str(match grant.method {
                Method::None => "none",
                // A shared secret is what the gateway asks for.
                Method::Shared => mode,
                Method::DeviceToken => "device-token",
                Method::Bootstrap => "bootstrap-token",
            });
            out.push_str("\",");
        }
    }
    out.push_str(r#""role":""#);
    out.push_str(grant.connect.role_name());
    out.push_str(r#"","scopes":"#);
    out.push_str(&grant.scopes.json());
    if !grant.connect.is_node() {
        out.push_str(r#","recoveryScope":""#);
        out.push_str(&payloads.recovery_scope);
        out.push('"');
        if grant.device_token.is_some() {
            out.push_str(r#","recoveryMigrationAllowed":true"#);
        }
    }
    if let Some((token, issued_at_ms)) = &grant.device_token {
        out.push_str(r#","deviceToken":"#);
        push_string(out, token);
        out.push_str(r#","issuedAtMs":"#);
        push_number(out, *issued_at_ms);
    }
    if let Some(other) = &grant.handed_over {
        out.push_str(r#","deviceTokens":[{"deviceToken":"#);
        push_string(out, &other.token);
        out.push_str(r#","role":""#);
        out.push_str(role_name(other.node));
        out.push_str(r#"","scopes":"#);
        out.push_str(&other.scopes.json());
        out.push_str(r#","issuedAtMs":"#);
        push_number(out, other.issued_at_ms);
        out.push_str("}]");
    }
    out.push('}');
}

/// A health snapshot (protocol 10.4).
pub(super) fn health(ts: u64, duration_ms: u64, with_loop: bool) -> Arc<str> {
    let mut out = String::with_capacity(HEALTH_TAIL.len() + EVENT_LOOP.len() + 64);
    out.push_str(r#"{"ok":true,"ts":"#);
    push_number(&mut out, ts);
    out.push_str(r#","durationMs":"#);
    push_number(&mut out, duration_ms);
    if with_loop {
        out.push_str(EVENT_LOOP);
    }
    out.push_str(HEALTH_TAIL);
    out.into()
}
