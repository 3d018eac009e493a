//! Records as lines for people.

use std::fmt;

use super::{Event, GatewayEvent, Item, Lane, Outcome, Record};
use crate::plan::consumer::Lag;
use crate::plan::environment::ConfigRef;

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lane = match self.event.lane() {
            Lane::Consumer => "consumer".to_owned(),
            Lane::Client => "client".to_owned(),
            Lane::Link => "link".to_owned(),
            Lane::Gateway(gateway) => format!("gateway {gateway}"),
        };
        write!(f, "{:>9}  {lane:<9}  {}", self.at.to_string(), self.event)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestMade { consumer, request, timeout_ms, bound_to, key, to_the_end } => {
                write!(f, "consumer {consumer} makes request {request}")?;
                match timeout_ms {
                    Some(timeout_ms) => write!(f, " (deadline {timeout_ms} ms)")?,
                    None => f.write_str(" (no deadline)")?,
                }
                if let Some(epoch) = bound_to {
                    write!(f, " bound to epoch {epoch}")?;
                }
                match key {
                    Some(key) if *to_the_end => write!(f, " for the end of work {key}"),
                    Some(key) => write!(f, " for work {key}"),
                    None => Ok(()),
                }
            }
            Self::RequestSettled { request, outcome: Outcome::Answered { own: true } } => {
                write!(f, "request {request} is answered")
            }
            Self::RequestSettled { request, outcome: Outcome::Answered { own: false } } => {
                write!(f, "request {request} gets the answer to another")
            }
            Self::RequestSettled { request, outcome: Outcome::Failed { delivery, kind } } => {
                write!(f, "request {request} fails: {kind:?}, {delivery:?}")
            }
            Self::RequestDropped { request } => write!(f, "request {request} is dropped by its caller"),
            Self::Subscribed { consumer, subscription, lag } => {
                let terms = match lag {
                    Lag::DropOldest => "",
                    Lag::Resnapshot => ", which begins anew when it lags",
                    Lag::Close => ", which ends when it lags",
                };
                write!(f, "consumer {consumer} opens subscription {subscription}{terms}")
            }
            Self::Unsubscribed { subscription } => write!(f, "subscription {subscription} is dropped"),
            Self::Panicked { subscription } => write!(f, "the reader of subscription {subscription} panics"),
            Self::Behaves { consumer, prompt: true } => {
                write!(f, "consumer {consumer} reads at once from now on")
            }
            Self::Behaves { consumer, prompt: false } => {
                write!(f, "consumer {consumer} is slow, stuck or about to panic from now on")
            }
            Self::Pushed { subscription, item } => write!(f, "subscription {subscription} gets {item}"),
            Self::Status(status) => write!(f, "is {status:?}"),
            Self::Configured { config: ConfigRef { gateway, token, .. }, changed: true } => {
                write!(f, "the config changes to gateway {gateway} with {token}")
            }
            Self::Configured { config: ConfigRef { gateway, token, .. }, changed: false } => {
                write!(f, "the same config is applied: gateway {gateway} with {token}")
            }
            Self::Unconfigured { changed: true } => f.write_str("the config is taken away"),
            Self::Unconfigured { changed: false } => {
                f.write_str("the config is taken away, and there was none")
            }
            Self::Wanted => f.write_str("a connection is wanted"),
            Self::Woken => f.write_str("the network is said to be back"),
            Self::Resumed => f.write_str("reconnecting is resumed"),
            Self::ShutdownCalled => f.write_str("shutdown begins"),
            Self::ShutdownReturned => f.write_str("shutdown returns"),
            Self::Dialed { socket, gateway } => write!(f, "dials gateway {gateway}: socket {socket}"),
            Self::Released { socket, silent } => {
                write!(f, "lets go of socket {socket}, silent for {} ms", silent.as_millis())
            }
            Self::Gateway { event, .. } => event.fmt(f),
            Self::Fault { fault, .. } => write!(f, "FAULT {} begins", fault.name()),
            Self::Skipped { step } => write!(f, "step {step} comes too late and is skipped"),
            Self::Healed { fault, .. } => write!(f, "fault {} is over", fault.name()),
            Self::Remaining { sockets, timers, requests, subscriptions } => {
                write!(f, "holds {sockets} sockets, {timers} timers, ")?;
                write!(f, "{requests} requests, {subscriptions} subscriptions")
            }
        }
    }
}

impl fmt::Display for GatewayEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { connection } => write!(f, "accepts connection {connection}"),
            Self::Connect { connection, token, device_token, bootstrap_token } => {
                let named =
                    [("", token), ("device token ", device_token), ("bootstrap token ", bootstrap_token)];
                let named: Vec<String> = named
                    .into_iter()
                    .filter_map(|(kind, token)| token.as_ref().map(|token| format!("{kind}{token}")))
                    .collect();
                let named = if named.is_empty() { "no token".to_owned() } else { named.join(" and ") };
                write!(f, "connection {connection} presents {named}")
            }
            Self::Hello { connection, issued, handed_over } => {
                write!(f, "says hello to connection {connection}")?;
                if let Some(token) = issued {
                    write!(f, " and issues device token {token}")?;
                }
                match handed_over {
                    Some(token) => write!(f, ", and {token} for its other role"),
                    None => Ok(()),
                }
            }
            Self::Refused { connection, code, retry_after: None } => {
                write!(f, "refuses connection {connection}: {code}")
            }
            Self::Refused { connection, code, retry_after: Some(wait) } => {
                write!(f, "refuses connection {connection}: {code}, for {wait:?}")
            }
            Self::Request { connection, request } => {
                write!(f, "receives request {request} on connection {connection}")
            }
            Self::RunStarted { run } => write!(f, "begins the run {run}"),
            Self::EventSent { connection, seq } => write!(f, "sends event {seq} on connection {connection}"),
            Self::EventLost { connection, seq } => write!(f, "loses event {seq} of connection {connection}"),
            Self::Closed { connection, code } => write!(f, "closes connection {connection} with {code}"),
            Self::Dropped { connection } => write!(f, "drops connection {connection}"),
            Self::Gone { connection } => write!(f, "has lost connection {connection}"),
            Self::Misbehaved { connection: Some(connection), deviation } => {
                write!(f, "MISBEHAVES on connection {connection}: {deviation:?}")
            }
            Self::Misbehaved { connection: None, deviation } => write!(f, "MISBEHAVES: {deviation:?}"),
            Self::Booted => f.write_str("is up"),
            Self::Down => f.write_str("is down"),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot { epoch } => write!(f, "the snapshot of epoch {epoch}"),
            Self::Event { epoch, seq: Some(seq) } => write!(f, "event {seq} of epoch {epoch}"),
            Self::Event { epoch, seq: None } => write!(f, "an unnumbered event of epoch {epoch}"),
            Self::Gap { epoch, expected, received } => {
                write!(f, "a gap in epoch {epoch}: {received} instead of {expected}")
            }
            Self::Status(status) => write!(f, "status {status:?}"),
            Self::Lagged { missed } => write!(f, "a lag of {missed} items"),
            Self::Closed => f.write_str("the end"),
        }
    }
}
