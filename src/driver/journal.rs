//! What the log is told, and in which span.

use tracing::Span;

use crate::core::{Epoch, Hello, Status};

/// Writes the log of one driver.
#[derive(Default)]
pub(super) struct Journal {
    /// Around the lines of the latest connection; none before the first.
    span: Option<Span>,
    /// Whether the log has been told of the outage that lasts now.
    outage_told: bool,
}

impl Journal {
    /// A connection begins. Its span is a part of whatever span the driver runs in.
    pub(super) fn dialing(&mut self, epoch: Epoch) {
        let connection_id = tracing::field::Empty;
        self.span = Some(tracing::info_span!("gateway.connection", epoch = epoch.0, connection_id));
    }

    /// The gateway named the connection.
    pub(super) fn greeted(&self, hello: &Hello) {
        if let Some(span) = &self.span {
            span.record("connection_id", &*hello.connection_id);
        }
    }

    /// One line for each change that matters, at the level of whoever must act: nobody for a
    /// reconnect (info), a person for a pause (warn). An outage is told once, when it begins; the
    /// failed attempts in it are debug, so that a gateway restart cannot flood a log.
    pub(super) fn status(&mut self, status: &Status) {
        let _in_connection = self.span.as_ref().map(Span::enter);
        match status {
            Status::Ready { .. } => tracing::info!("connected to the gateway"),
            Status::Backoff { cause, .. } if !self.outage_told => {
                tracing::info!(%cause, "the connection to the gateway ended; reconnecting");
            }
            Status::Backoff { attempt, cause, .. } => tracing::debug!(attempt, %cause, "still not connected"),
            Status::Paused(reason) => tracing::warn!(%reason, "reconnecting is paused"),
            Status::Connecting { attempt, .. } => tracing::debug!(attempt, "dialing"),
            Status::Handshaking { .. } => tracing::debug!("handshaking"),
            Status::Closing => tracing::debug!("closing the socket"),
            Status::Idle => tracing::debug!("idle"),
            Status::NotConfigured => tracing::debug!("no gateway is configured"),
            Status::Stopped => tracing::debug!("stopped"),
        }
        match status {
            Status::Backoff { .. } => self.outage_told = true,
            // A part of the next attempt: the outage goes on.
            Status::Connecting { .. } | Status::Handshaking { .. } => {}
            Status::Ready { .. }
            | Status::Paused(_)
            | Status::Closing
            | Status::Idle
            | Status::NotConfigured
            | Status::Stopped => self.outage_told = false,
        }
    }
}
