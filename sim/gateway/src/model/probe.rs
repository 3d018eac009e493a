//! What monitors ask over plain HTTP on the gateway's port (protocol 1.3), in the words of 2026.9.6.

use std::time::Duration;

use super::gateway_model::GatewayModel;
use super::payload::{EVENT_LOOP, VERSION};

/// How long a boot measures its event loop before it has something to say of it.
const FIRST_MEASURE: Duration = Duration::from_secs(1);

/// A question to the gateway process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Whether there is a process.
    Live,
    /// Whether it takes clients.
    Ready,
    /// Whether it has started.
    Startup,
}

/// The answer to a [`Probe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// Whether the answer is yes: 200, else 503.
    pub ok: bool,
    /// The body, a JSON object.
    pub body: String,
}

/// How far the gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Starting,
    Started,
    Draining,
}

impl Probe {
    /// The probe of this path, which has no query.
    pub fn at(path: &str) -> Option<Probe> {
        match path {
            "/health" | "/healthz" => Some(Probe::Live),
            "/ready" | "/readyz" => Some(Probe::Ready),
            "/startup" | "/startupz" => Some(Probe::Startup),
            _ => None,
        }
    }
}

impl GatewayModel {
    /// Answers a probe. Only who runs on the same machine is told the `details`.
    pub fn probe(&self, now: Duration, probe: Probe, details: bool) -> ProbeAnswer {
        let readiness = if self.process.is_draining() {
            Readiness::Draining
        } else if self.up_for(now) < self.config().timing.startup {
            Readiness::Starting
        } else {
            Readiness::Started
        };
        match probe {
            Probe::Live => ProbeAnswer { ok: true, body: r#"{"ok":true,"status":"live"}"#.to_owned() },
            Probe::Ready => self.ready(now, readiness, details),
            Probe::Startup => self.started(now, readiness, details),
        }
    }

    fn ready(&self, now: Duration, readiness: Readiness, details: bool) -> ProbeAnswer {
        let (ok, failing) = match readiness {
            Readiness::Starting => (false, r#""startup-sidecars""#),
            Readiness::Started => (true, ""),
            Readiness::Draining => (false, r#""gateway-draining""#),
        };
        if !details {
            return ProbeAnswer { ok, body: format!(r#"{{"ready":{ok}}}"#) };
        }
        let up = self.up_for(now);
        let event_loop = if up < FIRST_MEASURE { "" } else { EVENT_LOOP };
        let uptime_ms = up.as_millis();
        let body = format!(r#"{{"ready":{ok},"failing":[{failing}],"uptimeMs":{uptime_ms}{event_loop}}}"#);
        ProbeAnswer { ok, body }
    }

    fn started(&self, now: Duration, readiness: Readiness, details: bool) -> ProbeAnswer {
        let (ok, status, pending) = match readiness {
            Readiness::Starting => (false, "starting", r#","pendingReason":"startup-sidecars""#),
            Readiness::Started => (true, "started", ""),
            Readiness::Draining => (false, "draining", ""),
        };
        let uptime_ms = self.up_for(now).as_millis();
        let more = if details {
            format!(r#","version":"{VERSION}","uptimeMs":{uptime_ms}{pending}"#)
        } else {
            String::new()
        };
        ProbeAnswer { ok, body: format!(r#"{{"ok":{ok},"status":"{status}"{more}}}"#) }
    }
}
