//! Which credential is presented, which one is kept, and which one is forgotten (protocol 6, 7).
//!
//! A device token belongs to a device, a role and a gateway, which is a whole endpoint. It is loaded anew for every attempt, so
//! that what another process stored counts; it is stored before the next attempt may load it; and it
//! is cleared only if it is still the one that was refused.

use std::sync::Arc;

use super::config::{Config, Secret};
use super::connection::{Connection, Phase};
use super::decision::{Decision, advises_to_wait, decide};
use super::effect::{Effect, StoredToken, TokenKey, WireText};
use super::error::{ConnectionError, GatewayError};
use super::frame::encode_request;
use super::handshake::{Challenge, connect_params, text_member};
use super::payload::Payload;
use super::peer_text::PeerText;
use super::selection::{DeviceTokenRetry, Selection, Stored};
use super::session::SessionStage;
use super::snapshot::Hello;
use super::store_error::StoreError;
use super::time::Instant;

impl Connection {
    /// Where the token of this config is kept: `None` without a store or a device.
    pub(super) fn token_key(&self) -> Option<TokenKey> {
        let config = self.config.as_ref().filter(|_| self.has_token_store)?;
        let device = config.proof.device.as_ref()?;
        Some(TokenKey::new(device.id(), &config.role, &config.endpoint))
    }

    pub(super) fn token_loaded(
        &mut self,
        result: Result<Option<StoredToken>, StoreError>,
        effects: &mut Vec<Effect>,
    ) {
        // A socket that closes presents nothing.
        let Phase::Live { session, stage } = &mut self.phase else { return };
        let given = &live_config(self.config.as_ref()).credentials;
        match result {
            Ok(stored) => session.stored = Stored::Known(stored),
            // A store that cannot be read is no reason to act as if it were empty, unless the
            // credentials in the config are enough by themselves. In the retry they are not: the
            // gateway has just refused them.
            Err(_)
                if self.device_token_retry != DeviceTokenRetry::Due
                    && (given.token.is_some() || given.password.is_some()) =>
            {
                session.stored = Stored::Unreadable;
            }
            Err(error) => {
                self.give_up(ConnectionError::TokenStore(error), 1000, "no credentials", effects);
                return;
            }
        }
        if let SessionStage::AwaitingToken { challenge, .. } = stage {
            let challenge = challenge.clone();
            self.present(&challenge, effects);
        }
    }

    /// The gateway sent its challenge. It is answered when the token store has answered, by `deadline`.
    pub(super) fn challenged(&mut self, payload: &Payload, deadline: Instant, effects: &mut Vec<Effect>) {
        let needs_time = live_config(self.config.as_ref()).proof.device.is_some();
        let challenge = match Challenge::read(payload, needs_time) {
            Ok(challenge) => challenge,
            Err(fault) => {
                self.give_up(fault.into(), 1008, "connect challenge missing nonce", effects);
                return;
            }
        };
        let (session, stage) = self.phase.live_mut();
        match session.stored {
            Stored::Awaited => {
                *stage = SessionStage::AwaitingToken { deadline, challenge: Box::new(challenge) }
            }
            Stored::Unused | Stored::Known(_) | Stored::Unreadable => self.present(&challenge, effects),
        }
    }

    /// Sends `connect`: the answer to the challenge, with the credentials that the token store's answer leads to.
    fn present(&mut self, challenge: &Challenge, effects: &mut Vec<Effect>) {
        let config = live_config(self.config.as_ref());
        let (session, _) = self.phase.live_mut();
        let stored = match &session.stored {
            Stored::Unused | Stored::Awaited | Stored::Unreadable => None,
            Stored::Known(stored) => stored.as_ref(),
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
        let (_, stage) = self.phase.live_mut();
        *stage = SessionStage::AwaitingHello {
            deadline: self.now + self.options.hello_timeout,
            offered: challenge.capabilities.clone(),
        };
    }

    /// Keeps the tokens that came with hello: that of this connection, and after a bootstrap those that
    /// were handed over for other roles. The endpoint is one that may be told secrets, or there would be
    /// no connection to it (protocol 7.9, 18.1).
    pub(super) fn keep_tokens(&mut self, hello: &Hello, effects: &mut Vec<Effect>) {
        self.device_token_retry = DeviceTokenRetry::Available;
        let Some(mut key) = self.token_key() else { return };
        let is_bootstrap = self.phase.live_mut().0.presented_bootstrap;
        if let Some(role) = &hello.role {
            role.as_str().clone_into(&mut key.role);
        }
        if let Some(issued) = &hello.device_token {
            self.keep_issued(key.clone(), issued, &hello.scopes, effects);
        }
        let others = hello.device_tokens.iter().filter(|other| is_bootstrap && other.role != key.role);
        for other in others {
            let Some(scopes) = handed_over_scopes(&other.role, &other.scopes) else { continue };
            let key = TokenKey { role: other.role.clone().into(), ..key.clone() };
            let token = StoredToken { token: other.token.clone(), scopes };
            self.store_writes += 1;
            effects.push(Effect::AdoptToken { key, token });
        }
    }

    /// The same token keeps the scopes it was stored with: a narrower session must not narrow the next
    /// one (A26).
    fn keep_issued(
        &mut self,
        key: TokenKey,
        issued: &Secret,
        scopes: &[PeerText],
        effects: &mut Vec<Effect>,
    ) {
        let (session, _) = self.phase.live_mut();
        let token =
            StoredToken { token: issued.clone(), scopes: scopes.iter().cloned().map(String::from).collect() };
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
        if let Some(request) = self.request_to_hold_for(&refusal) {
            return self.hold(request, &refusal, effects);
        }
        let error = ConnectionError::Refused(refusal);
        let decision = if retry { Decision::RetryDeviceToken } else { decide(&error) };
        self.give_up_with(error, decision, (1008, "connect failed"), effects);
    }

    /// After a refusal: forgets a stored token that the gateway does not take, and says whether the
    /// one retry with the stored token comes next. Once hello has come, what was presented was taken, and
    /// there is nothing to retry; but it may be taken no longer.
    pub(super) fn refused_credential(&mut self, refusal: &GatewayError, effects: &mut Vec<Effect>) -> bool {
        let key = self.token_key();
        let config = live_config(self.config.as_ref());
        let (session, stage) = self.phase.live_mut();
        let had_hello = matches!(stage, SessionStage::Ready { .. });
        let Stored::Known(Some(stored)) = &session.stored else { return false };
        let code = refusal.detail_code.as_deref();
        if session.presented_stored {
            if code == Some("AUTH_DEVICE_TOKEN_MISMATCH")
                && let Some(key) = key
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
        let may = may && !had_hello && !advises_to_wait(refusal);
        if advised && may && self.device_token_retry == DeviceTokenRetry::Available {
            self.device_token_retry = DeviceTokenRetry::Due;
            return true;
        }
        false
    }

    /// The store finished a write. The last one may be what a shutdown waits for.
    pub(super) fn token_stored(&mut self, effects: &mut Vec<Effect>) {
        self.store_writes = self.store_writes.saturating_sub(1);
        if let Phase::Flushing { .. } = self.phase
            && self.store_writes == 0
        {
            self.stopped(effects);
        }
    }
}

/// The config of the live socket: a socket whose config is gone is closing.
fn live_config(config: Option<&Arc<Config>>) -> &Config {
    config.expect("a live socket has a config")
}

/// The scopes that a handed over token is kept with: those that the hand-off knows for its role, so that
/// a gateway cannot slip in more than a person approved. `None` for a role it does not know.
fn handed_over_scopes(role: &str, scopes: &[PeerText]) -> Option<Vec<String>> {
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
            let known = scopes.iter().filter(|scope| OPERATOR.contains(&scope.as_str()));
            Some(known.cloned().map(String::from).collect())
        }
        _ => None,
    }
}
