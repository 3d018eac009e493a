//! `right_credential`: what is presented is what is configured, or was issued by that very gateway.
//!
//! That no secret reaches a log is judged where logs are kept, in [`explore`](crate::search::explore).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::Instant;

use super::Oracle;
use crate::plan::Plan;
use crate::plan::environment::{ConfigRef, TokenKind};
use crate::trace::{Event, GatewayEvent, Record, StatusKind};

/// What is presented together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Presented {
    token: Option<Arc<str>>,
    device: Option<Arc<str>>,
    bootstrap: Option<Arc<str>>,
}

/// Looks at every connect.
///
/// A shared token must be the one of the config in force, or of one that was when the socket was accepted. A device
/// token must have been issued by the gateway it is presented to; it is never presented as a shared token, and comes
/// beside one only as the one retry after that was refused (protocol 7.10). What a gateway refused as wrong is not presented to it again before
/// somebody acts. A bootstrap token is presented alone, and no more once a device token was issued that the client got; of
/// what is handed over for another role nothing is presented.
pub(super) struct RightCredential {
    /// Whether what was refused may turn up again, because the store may fail to forget it.
    forgetful: bool,
    /// How soon after a connect a refusal must be sent for the client to get it while it waits.
    in_time: Duration,
    /// Faults that go on.
    lasting: u32,
    /// Every config so far, with the time it came into force; `None` where there was none.
    configs: Vec<(Instant, Option<ConfigRef>)>,
    /// When a fault last began: older connections may be deaf since then.
    struck: Option<Instant>,
    accepted: BTreeMap<(u8, u32), Instant>,
    issued: BTreeMap<u8, BTreeSet<Arc<str>>>,
    presented: BTreeMap<(u8, u32), (Instant, Presented)>,
    refused: BTreeSet<(u8, Presented)>,
    /// Refusals that the client may not have heard, with the time each was sent.
    unheard: Vec<(Instant, u8, Refusal)>,
    /// Device tokens that a gateway called wrong, until it issues them again.
    dead: BTreeSet<(u8, Arc<str>)>,
    /// The connection that was accepted last.
    newest: Option<(u8, u32)>,
    /// The gateway that issued a token on it, until the client shows that it got that.
    offered: Option<u8>,
    /// The gateways whose token the client got and has no reason to forget.
    kept: BTreeSet<u8>,
    retry: Retry,
    /// The refusal that the retry stands for: as long as nobody answers the retry, it stands for nothing.
    retried: Option<(u8, Presented)>,
    /// When a retry that was due ceased to be: what was under way then may still arrive.
    lapsed: Option<Instant>,
}

/// What a gateway called wrong.
struct Refusal {
    presented: Presented,
    /// Whether it was the device token.
    is_of_device: bool,
}

/// Where the retry with a device token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// Nothing was refused.
    Unneeded,
    /// A shared token was refused.
    Due,
    /// A device token was presented beside a shared one.
    Used,
}

impl RightCredential {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            forgetful: plan.params.store_fails_percent > 0,
            in_time: in_time(plan),
            lasting: 0,
            configs: vec![(Instant::ZERO, Some(ConfigRef::first()))],
            struck: None,
            accepted: BTreeMap::new(),
            issued: BTreeMap::new(),
            presented: BTreeMap::new(),
            refused: BTreeSet::new(),
            unheard: Vec::new(),
            dead: BTreeSet::new(),
            newest: None,
            offered: None,
            kept: BTreeSet::new(),
            retry: Retry::Unneeded,
            retried: None,
            lapsed: None,
        }
    }

    /// Whether `token` is of a config for `gateway` that was in force at `since` or later.
    fn is_configured(&self, gateway: u8, token: &Arc<str>, kind: TokenKind, since: Instant) -> bool {
        let wanted = ConfigRef { gateway, token: Arc::clone(token), kind };
        for (from, config) in self.configs.iter().rev() {
            if config.as_ref() == Some(&wanted) {
                return true;
            }
            if *from < since {
                return false;
            }
        }
        false
    }

    fn is_issued(&self, gateway: u8, token: &Arc<str>) -> bool {
        self.issued.get(&gateway).is_some_and(|issued| issued.contains(token))
    }

    fn connect(
        &mut self,
        gateway: u8,
        connection: u32,
        presented: Presented,
        at: Instant,
    ) -> Result<(), String> {
        self.judge(gateway, connection, &presented)
            .map_err(|what| format!("connection {connection} of gateway {gateway} presents {what}"))?;
        self.presented.insert((gateway, connection), (at, presented));
        Ok(())
    }

    fn judge(&mut self, gateway: u8, connection: u32, presented: &Presented) -> Result<(), String> {
        let since = self.accepted.get(&(gateway, connection)).copied().unwrap_or_default();
        let Presented { token, device, bootstrap } = presented;
        if let Some(bootstrap) = bootstrap {
            if !self.is_configured(gateway, bootstrap, TokenKind::Bootstrap, since) {
                return Err(format!("bootstrap token {bootstrap}, which no config in force names"));
            }
            if token.is_some() || device.is_some() {
                return Err(format!("bootstrap token {bootstrap} beside something better"));
            }
            if !self.forgetful && self.kept.contains(&gateway) {
                return Err(format!("bootstrap token {bootstrap}, although it was given a device token"));
            }
        }
        // A device token in the place of the shared one is none that a config names.
        if let Some(token) = token
            && !self.is_configured(gateway, token, TokenKind::Shared, since)
        {
            return Err(format!("{token}, which no config in force names"));
        }
        if let Some(device) = device {
            if !self.is_issued(gateway, device) {
                return Err(format!("device token {device}, which this gateway never issued for its role"));
            }
            if !self.forgetful && self.dead.contains(&(gateway, Arc::clone(device))) {
                return Err(format!("device token {device}, which was refused before"));
            }
            if token.is_some() {
                if !self.take_retry(since) {
                    return Err(
                        "a device token beside a shared one that was not refused just before".to_owned()
                    );
                }
                let alone = (gateway, Presented { device: None, ..presented.clone() });
                self.retried = self.refused.take(&alone);
            }
        }
        if self.refused.contains(&(gateway, presented.clone())) {
            return Err("again what was refused, and nobody acted".to_owned());
        }
        Ok(())
    }

    /// Uses the retry up on a connection accepted at `since`; false if there is none.
    fn take_retry(&mut self, since: Instant) -> bool {
        if self.lapsed.take().is_some_and(|lapsed| since <= lapsed) {
            return true;
        }
        std::mem::replace(&mut self.retry, Retry::Used) == Retry::Due
    }

    fn refused(&mut self, gateway: u8, connection: u32, code: &str, at: Instant) {
        let Some((sent, presented)) = self.presented.remove(&(gateway, connection)) else { return };
        if code == "AUTH_DEVICE_TOKEN_MISMATCH" {
            self.kept.remove(&gateway);
        }
        if code == "AUTH_TOKEN_MISMATCH" && self.retry == Retry::Unneeded {
            self.retry = Retry::Due;
        }
        let accepted = self.accepted.get(&(gateway, connection)).copied().unwrap_or_default();
        let changed = self.configs[1..].last().map(|(changed, _)| *changed);
        if changed.is_some_and(|changed| changed >= accepted) {
            // A change of config retired the connection, and the client does not listen to it any more.
            return;
        }
        let may_have_missed = self.struck.is_some_and(|struck| struck >= accepted);
        if may_have_missed || self.lasting > 0 || at > sent + self.in_time {
            // The client may never hear of it.
            return;
        }
        match code {
            "AUTH_TOKEN_MISMATCH" | "AUTH_BOOTSTRAP_TOKEN_INVALID" => {
                self.unheard.push((at, gateway, Refusal { presented, is_of_device: false }));
            }
            "AUTH_DEVICE_TOKEN_MISMATCH" => {
                self.unheard.push((at, gateway, Refusal { presented, is_of_device: true }));
            }
            // Not about the credential, or not for ever: a gateway that starts, or wants a pause.
            _ => {}
        }
    }

    /// The client let go of its socket, and has heard what was sent until `heard`. A refusal after that died with the
    /// socket: a half-open one takes everything in and delivers nothing.
    fn hung_up(&mut self, heard: Instant) {
        for (sent, gateway, refusal) in std::mem::take(&mut self.unheard) {
            if sent > heard {
                continue;
            }
            if refusal.presented.device.is_some() {
                self.refused.extend(self.retried.take());
            }
            if refusal.is_of_device {
                self.dead.extend(refusal.presented.device.clone().map(|token| (gateway, token)));
            }
            self.refused.insert((gateway, refusal.presented));
        }
    }

    /// What was refused may be right by now.
    fn clear(&mut self) {
        self.refused.clear();
        self.retried = None;
    }

    /// Something new begins, with a budget of its own.
    fn reset_budget(&mut self, at: Instant) {
        self.clear();
        self.unheard.clear();
        if std::mem::replace(&mut self.retry, Retry::Unneeded) == Retry::Due {
            self.lapsed = Some(at);
        }
    }
}

/// Messages may come in pieces and wait for the ticks of a network.
fn in_time(plan: &Plan) -> Duration {
    let travel =
        Duration::from_micros(plan.params.latency_max_us.max(1_000)) * 8 + Duration::from_millis(200);
    Duration::from_millis(plan.params.stage_ms).saturating_sub(travel)
}

impl Oracle for RightCredential {
    fn observe(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::Configured { config, changed: true } => {
                self.configs.push((record.at, Some(config.clone())));
                self.reset_budget(record.at);
            }
            Event::Unconfigured { changed: true } => {
                self.configs.push((record.at, None));
                self.reset_budget(record.at);
            }
            Event::Resumed => self.clear(),
            // A refusal may be lost, and the credential is presented once more.
            Event::Fault { fault, .. } => {
                self.struck = Some(record.at);
                self.lasting += u32::from(fault.lasts());
                self.clear();
                self.unheard.clear();
                self.dead.clear();
            }
            Event::Healed { .. } => self.lasting -= 1,
            Event::Released { silent, .. } => {
                let silent = u64::try_from(silent.as_micros()).unwrap_or(u64::MAX);
                self.hung_up(Instant::from_micros(record.at.as_micros().saturating_sub(silent)));
            }
            // A gateway that deviates may say anything, also that the stored token should be tried.
            Event::Gateway { event: GatewayEvent::Misbehaved { .. }, .. } => {
                self.clear();
                self.unheard.clear();
                self.dead.clear();
                self.retry = Retry::Due;
            }
            Event::Gateway { gateway, event: GatewayEvent::Accepted { connection } } => {
                self.accepted.insert((*gateway, *connection), record.at);
                (self.newest, self.offered) = (Some((*gateway, *connection)), None);
            }
            Event::Gateway {
                gateway,
                event: GatewayEvent::Connect { connection, token, device_token, bootstrap_token },
            } => {
                let (token, device) = (token.clone(), device_token.clone());
                let presented = Presented { token, device, bootstrap: bootstrap_token.clone() };
                return self.connect(*gateway, *connection, presented, record.at);
            }
            Event::Status(StatusKind::Ready) => self.kept.extend(self.offered.take()),
            Event::Gateway { gateway, event: GatewayEvent::Hello { connection, issued, .. } } => {
                if let Some(token) = issued {
                    if self.newest == Some((*gateway, *connection)) {
                        self.offered = Some(*gateway);
                    }
                    self.dead.remove(&(*gateway, Arc::clone(token)));
                    self.issued.entry(*gateway).or_default().insert(Arc::clone(token));
                }
                self.reset_budget(record.at);
            }
            Event::Gateway { gateway, event: GatewayEvent::Refused { connection, code, .. } } => {
                self.refused(*gateway, *connection, code, record.at);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::first_broken;
    use super::*;

    fn configured(token: &str) -> Event {
        Event::Configured {
            config: ConfigRef { token: Arc::from(token), ..ConfigRef::first() },
            changed: true,
        }
    }

    fn at_gateway(gateway: u8, event: GatewayEvent) -> Event {
        Event::Gateway { gateway, event }
    }

    fn accepted(connection: u32) -> Event {
        at_gateway(0, GatewayEvent::Accepted { connection })
    }

    fn connect(connection: u32, token: &str, device: Option<&str>) -> Event {
        let device_token = device.map(Arc::from);
        let token = Some(Arc::from(token));
        at_gateway(0, GatewayEvent::Connect { connection, token, device_token, bootstrap_token: None })
    }

    fn hello(gateway: u8, connection: u32, issued: &str) -> Event {
        at_gateway(
            gateway,
            GatewayEvent::Hello { connection, issued: Some(Arc::from(issued)), handed_over: None },
        )
    }

    fn refused(connection: u32, code: &'static str) -> Event {
        at_gateway(0, GatewayEvent::Refused { connection, code: code.into(), retry_after: None })
    }

    /// One record every 100 ms.
    fn broken(history: &[Event]) -> Option<usize> {
        let history = (0..).map(|number| number * 100).zip(history.iter().cloned());
        first_broken(&mut RightCredential::new(&Plan::new(1)), history)
    }

    #[test]
    fn the_old_token_is_never_presented_after_a_change() {
        let change = [accepted(1), configured("new"), accepted(2)];
        assert_eq!(broken(&[&change[..], &[connect(1, "token-0", None)]].concat()), None);
        assert_eq!(broken(&[&change[..], &[connect(2, "token-0", None)]].concat()), Some(3));
        assert_eq!(broken(&[&change[..], &[connect(2, "new", None)]].concat()), None);
    }

    #[test]
    fn a_device_token_belongs_to_one_gateway_and_is_for_one_retry() {
        let begin = |issuer| {
            [
                accepted(1),
                connect(1, "token-0", None),
                hello(issuer, 1, "issued"),
                accepted(2),
                connect(2, "token-0", None),
                refused(2, "AUTH_TOKEN_MISMATCH"),
                accepted(3),
                connect(3, "token-0", Some("issued")),
            ]
        };
        assert_eq!(broken(&begin(0)), None);
        assert_eq!(broken(&begin(1)), Some(7));
        let unasked = [accepted(1), hello(0, 1, "issued"), connect(1, "token-0", Some("issued"))];
        assert_eq!(broken(&unasked), Some(2));
        let again =
            [refused(3, "AUTH_DEVICE_TOKEN_MISMATCH"), accepted(4), connect(4, "token-0", Some("issued"))];
        assert_eq!(broken(&[&begin(0)[..], &again[..]].concat()), Some(10));
    }

    #[test]
    fn a_device_token_is_not_presented_as_a_shared_one() {
        let alone = |token: Option<&str>| {
            let token = token.map(Arc::from);
            let device_token = Some(Arc::from("issued"));
            let connect = GatewayEvent::Connect { connection: 2, token, device_token, bootstrap_token: None };
            broken(&[accepted(1), hello(0, 1, "issued"), accepted(2), at_gateway(0, connect)])
        };
        assert_eq!(alone(None), None);
        assert_eq!(alone(Some("issued")), Some(3));
    }

    #[test]
    fn a_retry_that_nobody_answers_leaves_the_shared_token_to_be_tried_again() {
        let hung_up = |silent| Event::Released { socket: 1, silent: Duration::from_millis(silent) };
        let retried = |answer: &[Event]| {
            let begin = [
                accepted(1),
                hello(0, 1, "issued"),
                accepted(2),
                connect(2, "token-0", None),
                refused(2, "AUTH_TOKEN_MISMATCH"),
                hung_up(0),
                accepted(3),
                connect(3, "token-0", Some("issued")),
            ];
            let end = [accepted(4), connect(4, "token-0", None)];
            broken(&[&begin[..], answer, &end[..]].concat())
        };
        assert_eq!(retried(&[hung_up(100)]), None);
        assert_eq!(retried(&[refused(3, "AUTH_TOKEN_MISMATCH"), hung_up(0)]), Some(11));
        assert_eq!(retried(&[refused(3, "AUTH_DEVICE_TOKEN_MISMATCH"), hung_up(0)]), Some(11));
    }

    #[test]
    fn a_refused_token_waits_for_somebody_to_act() {
        let begin = |code, silent| {
            let hung_up = Event::Released { socket: 1, silent: Duration::from_millis(silent) };
            [accepted(1), connect(1, "token-0", None), refused(1, code), hung_up, accepted(2)]
        };
        let again = [connect(2, "token-0", None)];
        let wrong = begin("AUTH_TOKEN_MISMATCH", 0);
        assert_eq!(broken(&[&wrong[..], &again[..]].concat()), Some(5));
        assert_eq!(broken(&[&wrong[..], &[Event::Resumed], &again[..]].concat()), None);
        // The refusal was sent at 200 ms, and nothing was heard after 100 ms.
        assert_eq!(broken(&[&begin("AUTH_TOKEN_MISMATCH", 200)[..], &again[..]].concat()), None);
        let retired = [&wrong[..2], &[configured("other"), configured("token-0")], &wrong[2..], &again[..]];
        assert_eq!(broken(&retired.concat()), None);
        assert_eq!(broken(&[&begin("startup", 0)[..], &again[..]].concat()), None);
    }

    #[test]
    fn a_bootstrap_token_is_presented_alone_and_only_until_there_is_a_device_token() {
        let bootstrap = |connection, beside: Option<&str>| {
            let (bootstrap_token, token) = (Some(Arc::from("code")), beside.map(Arc::from));
            at_gateway(0, GatewayEvent::Connect { connection, token, device_token: None, bootstrap_token })
        };
        let set_up = |handed_over: Option<&str>| {
            let (issued, handed_over) = (Some(Arc::from("mine")), handed_over.map(Arc::from));
            at_gateway(0, GatewayEvent::Hello { connection: 1, issued, handed_over })
        };
        let applied = |config: ConfigRef| Event::Configured { config, changed: true };
        let begin = |config: ConfigRef| [applied(config), accepted(1), bootstrap(1, None)];
        let code = || ConfigRef::bootstrap(0, "code");
        assert_eq!(broken(&begin(code())), None);
        assert_eq!(broken(&begin(ConfigRef::shared(0, "code"))), Some(2));
        assert_eq!(broken(&[applied(code()), accepted(1), bootstrap(1, Some("code"))]), Some(2));
        let ready = Event::Status(StatusKind::Ready);
        let next = |between: &[Event], connect: Event| {
            broken(
                &[&begin(code())[..], &[set_up(Some("other's"))], between, &[accepted(2), connect]].concat(),
            )
        };
        assert_eq!(next(&[], bootstrap(2, None)), None);
        let ready = std::slice::from_ref(&ready);
        assert_eq!(next(ready, bootstrap(2, None)), Some(6));
        let device = |token: &str| {
            let device_token = Some(Arc::from(token));
            at_gateway(
                0,
                GatewayEvent::Connect { connection: 2, token: None, device_token, bootstrap_token: None },
            )
        };
        assert_eq!(next(ready, device("mine")), None);
        assert_eq!(next(ready, device("other's")), Some(6));
    }
}
