//! Takes what we presented out of what the other end says.
//!
//! A gateway or a proxy may repeat a credential in its refusal: word for word, as a part of JSON, a url, HTML or a
//! header. Whatever it says becomes an error, and errors are logged. So a credential is replaced by `[redacted]`
//! where such a text enters an error or a hello, in [`Connection`]; that is once for each refusal or end, and never for
//! an event or the result of a request, which belong to the app.
//!
//! A credential of six bytes or more is found anywhere, in letters of either case, and in the usual
//! encodings; also its beginning, where the text ends in the middle of it. A shorter one is found only as it is and
//! standing alone: as a part of words it would be found everywhere.

mod search;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;

use super::config::{Config, Secret};
use super::connection::{Connection, Phase};
use super::decision::Decision;
use super::error::{ConnectionError, DialError, GatewayError, PauseReason};
use super::name_set::NameSet;
use super::peer_text::PeerText;
use super::proxy::{Proxy, ProxyProblem};
use super::reach::NameProblem;
use super::selection::Stored;
use super::snapshot::{AuthMethod, Hello};
use super::tls::{CertificateProblem, TlsFailure};
use super::upgrade::UpgradeRefusal;

pub(super) use search::Redactor;

impl Connection {
    /// Looks for the credentials of the present config, for the stored token if it is known, and for those
    /// that hello gave us.
    pub(super) fn redactor(&self) -> Redactor {
        let mut redactor = Redactor::default();
        self.config.iter().for_each(|config| redactor.add_config(config));
        if let Phase::Live { session, .. } = &self.phase
            && let Stored::Known(Some(stored)) = &session.stored
        {
            redactor.add(stored.token.expose());
        }
        if let Some(snapshot) = &self.snapshot {
            redactor.add_hello(&snapshot.hello);
        }
        redactor
    }

    /// Takes out of a hello what we presented and what it gives us.
    pub(super) fn redact_hello(&self, hello: &mut Arc<Hello>) {
        let Some(config) = &self.config else { return };
        let mut redactor = self.redactor();
        redactor.add_hello(hello);
        Arc::make_mut(hello).redact(config, &redactor);
    }
}

impl Redactor {
    fn add_config(&mut self, config: &Config) {
        let given = &config.credentials;
        let secrets = [&given.token, &given.device_token, &given.bootstrap_token, &given.password];
        secrets.into_iter().flatten().for_each(|secret| self.add(secret.expose()));
        for (_, value) in config.headers.iter() {
            self.add(value.expose());
            // The credentials behind the scheme, as in `Bearer token`.
            let Some((scheme, credentials)) = value.expose().split_once(' ') else { continue };
            self.add(credentials.trim());
            if scheme.eq_ignore_ascii_case("basic") {
                self.add_basic(credentials.trim());
            }
        }
        if let Some((user, password)) = config.endpoint.proxy().and_then(Proxy::credentials) {
            self.add(password);
            self.add(&format!("{user}:{password}"));
        }
        if let Some(query) = config.endpoint.query() {
            self.add(query);
            query.split('&').filter_map(|pair| pair.split_once('=')).for_each(|(_, value)| self.add(value));
        }
    }

    /// Name and password behind `Basic`.
    fn add_basic(&mut self, credentials: &str) {
        let decoded = STANDARD.decode(credentials).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(pair) = decoded.map(Zeroizing::new) else { return };
        self.add(&pair);
        pair.split_once(':').into_iter().for_each(|(_, password)| self.add(password));
    }

    fn add_hello(&mut self, hello: &Hello) {
        let tokens = hello.device_tokens.iter().map(|other| &other.token);
        hello.device_token.iter().chain(tokens).for_each(|token: &Secret| self.add(token.expose()));
    }
}

impl ConnectionError {
    pub(super) fn redact(&mut self, redactor: &Redactor) {
        match self {
            Self::Dial(error) => error.redact(redactor),
            Self::Refused(error) => error.redact(redactor),
            Self::Closed { reason: text, .. } | Self::Lost(text) => redactor.text(text),
            Self::Timeout { .. }
            | Self::Handshake(_)
            | Self::BadMember(_)
            | Self::ProtocolVersion { .. }
            | Self::Silent { .. }
            | Self::SlowMessage { .. }
            | Self::PingFlood { .. }
            | Self::TokenStore(_)
            | Self::Superseded
            | Self::ShutDown => {}
        }
    }
}

impl DialError {
    fn redact(&mut self, redactor: &Redactor) {
        match self {
            Self::Upgrade(refusal) => refusal.redact(redactor),
            Self::NotHttp { start: text }
            | Self::TrustStore(text)
            | Self::Unsupported(text)
            | Self::Io(text)
            | Self::Name { problem: NameProblem::Failed(text), .. }
            | Self::Certificate { reason: CertificateProblem::Unusable(text), .. }
            | Self::Tls(TlsFailure::Other(text) | TlsFailure::Alert { name: text, .. }) => {
                redactor.text(text);
            }
            Self::Certificate { reason: CertificateProblem::NotForName { names }, .. } => {
                names.iter_mut().for_each(|name| redactor.text(name));
            }
            Self::Addresses(failures) => failures.told_mut().for_each(|error| error.redact(redactor)),
            Self::Proxy { problem: ProxyProblem::Unreachable(error), .. } => error.redact(redactor),
            Self::Proxy { problem: ProxyProblem::Http { reason, .. }, .. } => redactor.text(reason),
            // What these hold is not text, or is ours.
            Self::Refused
            | Self::Unreachable
            | Self::TimedOut
            | Self::Name { .. }
            | Self::Zone { .. }
            | Self::Proxy { .. }
            | Self::System(_)
            | Self::Denied
            | Self::Reset
            | Self::Unanswered
            | Self::Handshake(_)
            | Self::UpgradeTooLong { .. }
            | Self::OtherProtocol(_)
            | Self::Certificate { .. }
            | Self::NotTls
            | Self::Tls(_) => {}
        }
    }
}

impl UpgradeRefusal {
    fn redact(&mut self, redactor: &Redactor) {
        let texts = [&mut self.reason, &mut self.body]
            .into_iter()
            .chain(&mut self.location)
            .chain(&mut self.authenticate);
        texts.for_each(|text| redactor.text(text));
    }
}

impl GatewayError {
    pub(super) fn redact(&mut self, redactor: &Redactor) {
        redactor.code(&mut self.code);
        redactor.text(&mut self.message);
        self.detail_code.iter_mut().for_each(|code| redactor.code(code));
        self.details.iter_mut().for_each(|details| redactor.payload(details));
        self.payload.iter_mut().for_each(|payload| redactor.payload(payload));
    }
}

impl PauseReason {
    pub(super) fn redact(&mut self, redactor: &Redactor) {
        match self {
            Self::Credentials(error)
            | Self::PairingRejected(error)
            | Self::PairingExpired(error)
            | Self::AccessDenied(error)
            | Self::Protocol(error) => error.redact(redactor),
            Self::Advised { step, error } => {
                redactor.text(step);
                error.redact(redactor);
            }
            Self::Upgrade(refusal) => refusal.redact(redactor),
            Self::ProtocolVersion { .. } => {}
            Self::Pairing { request_id, then: _, error } => {
                request_id.iter_mut().for_each(|id| redactor.text(id));
                error.redact(redactor);
            }
            Self::Endpoint(error) | Self::Proxy(error) => error.redact(redactor),
        }
    }
}

impl Decision {
    pub(super) fn redact(&mut self, redactor: &Redactor) {
        match self {
            Self::Pause(reason) => Arc::make_mut(reason).redact(redactor),
            Self::Retry { .. } | Self::RetryStartup { .. } | Self::RetryDeviceToken => {}
        }
    }
}

impl Hello {
    /// Role and scopes that are those of the protocol, or what `config` asked for, stay: a credential that is called
    /// like them is not told by them.
    fn redact(&mut self, config: &Config, redactor: &Redactor) {
        redactor.text(&mut self.server_version);
        redactor.text(&mut self.connection_id);
        self.boot_id.iter_mut().for_each(|id| redactor.text(id));
        let capabilities = self.capabilities.iter_mut().chain(&mut self.challenge_capabilities);
        capabilities.for_each(|name| redactor.text(name));
        if let Some(AuthMethod::Other(name)) = &mut self.auth_method {
            redactor.text(name);
        }
        let asked = config.scopes.as_ref().map(NameSet::in_order_given).unwrap_or_default();
        let is_known = |name: &PeerText| {
            *name == config.role
                || name.starts_with("operator")
                || *name == "node"
                || asked.iter().any(|scope| *name == *scope)
        };
        let names = self.role.iter_mut().chain(&mut self.scopes);
        names.filter(|name| !is_known(name)).for_each(|name| redactor.text(name));
    }
}
