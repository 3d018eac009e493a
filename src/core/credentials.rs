//! Which credential is presented, which one is kept, and which one is forgotten (protocol 6, 7).
//!
//! A device token belongs to a device, a role and a gateway. It is loaded anew for every attempt, so
//! that what another process stored counts; it is stored before the next attempt may load it; and it
//! is cleared only if it is still the one that was refused.

use super::config::{Config, Secret};
use super::connection::{AfterClose, Connection, Phase};
use super::decision::{Decision, decide};
use super::effect::{Effect, StoredToken, TokenKey, WireText};
use super::error::{ConnectionError, GatewayError, StoreError};
use super::frame::encode_request;
use super::handshake::{Challenge, connect_params, text_member};
use super::payload::Payload;
use super::snapshot::Hello;

/// What is known of the stored token in one attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Stored {
    /// There is no store, or no device whose token it could hold.
    #[default]
    Unused,
    /// It has been asked for.
    Awaited,
    /// The store has answered; nothing is an answer too.
    Known(Option<StoredToken>),
    /// It could not be read, and the config has credentials that do without it.
    Unreadable,
}

/// The one retry with the stored token beside a refused explicit one (protocol 7.10). It is there
/// again after a hello or with another config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DeviceTokenRetry {
    #[default]
    Available,
    /// The next attempt is it.
    Due,
    Used,
}

/// The credentials of one connect, and where they come from.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    pub(super) token: Option<&'a Secret>,
    pub(super) device_token: Option<&'a Secret>,
    pub(super) bootstrap_token: Option<&'a Secret>,
    pub(super) password: Option<&'a Secret>,
    pub(super) scopes: Vec<String>,
}

impl<'a> Selection<'a> {
    /// The order of protocol 6.3.
    pub(super) fn of(config: &'a Config, stored: Option<&'a StoredToken>, retry: DeviceTokenRetry) -> Self {
        let given = &config.credentials;
        let alone = given.token.is_none()
            && given.password.is_none()
            && (given.bootstrap_token.is_none() || stored.is_some());
        let usable =
            stored.filter(|_| given.device_token.is_none() && (retry == DeviceTokenRetry::Due || alone));
        let device_token = given.device_token.as_ref().or(usable.map(|stored| &stored.token));
        let token = given.token.as_ref().or(device_token);
        let bootstrap = given.bootstrap_token.as_ref();
        let nothing_else = token.is_none() && device_token.is_none() && given.password.is_none();
        let granted = usable.map(|stored| stored.scopes.clone()).filter(|scopes| !scopes.is_empty());
        Self {
            token,
            device_token,
            bootstrap_token: bootstrap.filter(|_| nothing_else),
            password: given.password.as_ref(),
            scopes: config.scopes.clone().or(granted).unwrap_or_else(Config::default_scopes),
        }
    }

    /// The token that the device signs; a password never is (protocol 6.3f).
    pub(super) fn signed_token(&self) -> &str {
        self.token.or(self.bootstrap_token).map_or("", Secret::expose)
    }
}

impl Connection {
    /// The store asked for by a new attempt, if it has one.
    pub(super) fn load_token(&mut self, effects: &mut Vec<Effect>) {
        let Some(key) = self.token_key() else { return };
        let Some(session) = &mut self.session else { return };
        session.stored = Stored::Awaited;
        effects.push(Effect::LoadToken { epoch: session.epoch, key });
    }

    /// Where the token of this config is kept: `None` without a store or a device.
    fn token_key(&self) -> Option<TokenKey> {
        let config = self.config.as_ref().filter(|_| self.has_token_store)?;
        let device_id = config.device.as_ref()?.id().to_owned();
        let gateway = format!("{}:{}", config.endpoint.host(), config.endpoint.port());
        Some(TokenKey { device_id, role: config.role.clone(), gateway })
    }

    pub(super) fn token_loaded(
        &mut self,
        result: Result<Option<StoredToken>, StoreError>,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(config), Some(session)) = (&self.config, &mut self.session) else { return };
        let given = &config.credentials;
        match result {
            Ok(stored) => session.stored = Stored::Known(stored),
            // A store that cannot be read is no reason to act as if it were empty, unless the
            // credentials in the config are enough by themselves.
            Err(_) if given.token.is_some() || given.password.is_some() => {
                session.stored = Stored::Unreadable;
            }
            Err(error) => {
                self.hang_up(1000, "no credentials", effects);
                self.ended(ConnectionError::TokenStore(error), effects);
                return;
            }
        }
        self.present(effects);
    }

    pub(super) fn challenged(&mut self, payload: &Payload, effects: &mut Vec<Effect>) {
        let needs_time = self.config.as_ref().is_some_and(|config| config.device.is_some());
        let challenge = Challenge::read(payload);
        let problem = match &challenge {
            None => Some("the challenge has no nonce"),
            Some(challenge) if needs_time && challenge.ts.is_none() => Some("the challenge has no time"),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            self.hang_up(1008, "connect challenge missing nonce", effects);
            self.ended(ConnectionError::Handshake(problem), effects);
            return;
        }
        if let Some(session) = &mut self.session {
            session.challenge = challenge;
        }
        self.present(effects);
    }

    /// Sends `connect` once both the challenge and the stored token are there.
    fn present(&mut self, effects: &mut Vec<Effect>) {
        let (Some(config), Some(session)) = (&self.config, &mut self.session) else { return };
        let stored = match &session.stored {
            Stored::Awaited => return,
            Stored::Unused | Stored::Unreadable => None,
            Stored::Known(stored) => stored.as_ref(),
        };
        let (Phase::AwaitingChallenge { .. }, Some(challenge)) = (&self.phase, &session.challenge) else {
            return;
        };
        let selection = Selection::of(config, stored, self.device_token_retry);
        session.presented_bootstrap = selection.bootstrap_token.is_some();
        session.presented_stored = stored.is_some_and(|stored| selection.device_token == Some(&stored.token));
        let params = connect_params(config, &selection, challenge);
        if self.device_token_retry == DeviceTokenRetry::Due {
            self.device_token_retry = DeviceTokenRetry::Used;
        }
        let epoch = session.epoch;
        session.unwritten += 1;
        let text = encode_request(&self.connect_id(epoch), "connect", Some(&params));
        effects.push(Effect::Transmit { epoch, text: WireText::from(text.as_str()) });
        self.phase = Phase::AwaitingHello { deadline: self.deadline_for_hello() };
    }

    /// Keeps the tokens that came with hello: that of this connection, and after a bootstrap those that
    /// were handed over for other roles. The endpoint is one that may be told secrets, or there would be
    /// no connection to it (protocol 7.9, 18.1).
    pub(super) fn keep_tokens(&mut self, hello: &Hello, effects: &mut Vec<Effect>) {
        self.device_token_retry = DeviceTokenRetry::Available;
        let (Some(mut key), Some(session)) = (self.token_key(), &self.session) else { return };
        let is_bootstrap = session.presented_bootstrap;
        if let Some(role) = &hello.role {
            key.role.clone_from(role);
        }
        if let Some(issued) = &hello.device_token {
            self.keep_issued(key.clone(), issued, &hello.scopes, effects);
        }
        let others = hello.device_tokens.iter().filter(|other| is_bootstrap && other.role != key.role);
        for other in others {
            let Some(scopes) = handed_over_scopes(&other.role, &other.scopes) else { continue };
            let key = TokenKey { role: other.role.clone(), ..key.clone() };
            let token = StoredToken { token: other.token.clone(), scopes };
            self.store_writes += 1;
            effects.push(Effect::AdoptToken { key, token });
        }
    }

    /// The same token keeps the scopes it was stored with: a narrower session must not narrow the next
    /// one (A26).
    fn keep_issued(&mut self, key: TokenKey, issued: &Secret, scopes: &[String], effects: &mut Vec<Effect>) {
        let Some(session) = &self.session else { return };
        let token = StoredToken { token: issued.clone(), scopes: scopes.to_vec() };
        let effect = match &session.stored {
            Stored::Known(Some(stored)) if stored.token == *issued => return,
            Stored::Unused | Stored::Awaited | Stored::Known(_) => Effect::SaveToken { key, token },
            // What it holds may be this very token.
            Stored::Unreadable => Effect::AdoptToken { key, token },
        };
        self.store_writes += 1;
        effects.push(effect);
    }

    /// The gateway refused `connect`. The answer holds more than the close that follows it, so it
    /// decides (protocol 9).
    pub(super) fn refused(&mut self, refusal: GatewayError, effects: &mut Vec<Effect>) {
        let retry = self.refused_credential(&refusal, effects);
        self.hang_up(1008, "connect failed", effects);
        let error = ConnectionError::Refused(refusal);
        let decision = if retry { Decision::RetryDeviceToken } else { decide(&error) };
        self.ended_with(error, decision, effects);
    }

    /// After a refusal: forgets a stored token that the gateway does not take, and says whether the
    /// one retry with the stored token comes next.
    fn refused_credential(&mut self, refusal: &GatewayError, effects: &mut Vec<Effect>) -> bool {
        let (Some(config), Some(session)) = (&self.config, &self.session) else { return false };
        let Stored::Known(Some(stored)) = &session.stored else { return false };
        let code = refusal.detail_code.as_deref();
        if session.presented_stored {
            if code == Some("AUTH_DEVICE_TOKEN_MISMATCH")
                && let Some(key) = self.token_key()
            {
                let token = stored.token.clone();
                self.store_writes += 1;
                effects.push(Effect::ClearToken { key, token });
            }
            return false;
        }
        let details = refusal.details.as_ref();
        let advised = code == Some("AUTH_TOKEN_MISMATCH")
            || details
                .and_then(|d| d.part("canRetryWithDeviceToken"))
                .is_some_and(|flag| flag.get() == "true")
            || details.and_then(|d| text_member(d, "recommendedNextStep")).as_deref()
                == Some("retry_with_device_token");
        let given = &config.credentials;
        let may = given.token.is_some() && given.device_token.is_none() && config.endpoint.is_trusted();
        if advised && may && self.device_token_retry == DeviceTokenRetry::Available {
            self.device_token_retry = DeviceTokenRetry::Due;
            return true;
        }
        false
    }

    /// The store finished a write.
    pub(super) fn token_stored(&mut self, effects: &mut Vec<Effect>) {
        self.store_writes = self.store_writes.saturating_sub(1);
        self.stop_if_done(effects);
    }

    /// The last write of the store may be what a shutdown waits for.
    fn stop_if_done(&mut self, effects: &mut Vec<Effect>) {
        if let Phase::Closing { then: AfterClose::Stop, .. } = self.phase
            && self.session.is_none()
            && self.store_writes == 0
        {
            self.stopped(effects);
        }
    }
}

/// The scopes that a handed over token is kept with: those that the hand-off knows for its role, so that
/// a gateway cannot slip in more than a person approved. `None` for a role it does not know.
fn handed_over_scopes(role: &str, scopes: &[String]) -> Option<Vec<String>> {
    const OPERATOR: [&str; 6] = [
        "operator.admin",
        "operator.approvals",
        "operator.questions",
        "operator.read",
        "operator.talk.secrets",
        "operator.write",
    ];
    match role {
        "node" => Some(Vec::new()),
        "operator" => {
            Some(scopes.iter().filter(|scope| OPERATOR.contains(&scope.as_str())).cloned().collect())
        }
        _ => None,
    }
}
