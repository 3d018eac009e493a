//! `right_credential`: whatever the other end says, and wherever it says it, what is shown of it is short, on one line,
//! does nothing to a terminal, and holds nothing that was presented.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use onesocket::core::peer_text::{SHOWN_CHARS_MAX, needs_escape};
use onesocket::core::{
    AddressFailure, AddressFailures, CertificateProblem, Config, ConnectionError, DialError, Effect, Input,
    NameProblem, Options, PresentedCertificate, Push, RequestError, Status, TlsFailure, UpgradeRefusal,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::bench::{Bench, EPOCH};
use crate::script::HELLO;

const TOKEN: &str = "tell-nobody/This+token";
const PASSWORD: &str = "tell nobody \"that\" password";
const QUERY: &str = "tell-nobody-the-query";
/// What is shown of a text, and the words of ours around it.
const LINE_CHARS_MAX: usize = SHOWN_CHARS_MAX + 200;
/// The texts that one error tells, at most.
const TEXTS_MAX: usize = 5;

fn config() -> Arc<Config> {
    let config = Config::new(&format!("ws://127.0.0.1/?key={QUERY}")).expect("a good url");
    Arc::new(config.token(TOKEN).password(PASSWORD))
}

fn challenged() -> Bench {
    Bench::challenged(config(), Options::default(), 1).0
}

/// What a consumer gets to see: errors, hello and status, after `text` has come in through every door.
#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    debug: Vec<String>,
    raw: Vec<String>,
}

impl Seen {
    fn everywhere(text: &str) -> Self {
        let mut seen = Self::default();
        let dial = |error| Input::DialFailed { epoch: EPOCH, error };
        let closed = |error| Input::Closed { epoch: EPOCH, error };
        for input in [
            dial(DialError::Upgrade(Box::new(upgrade(403, text)))),
            dial(DialError::Upgrade(Box::new(upgrade(503, text)))),
            dial(DialError::NotHttp { start: text.into() }),
            dial(DialError::TrustStore(text.into())),
            dial(certificate(CertificateProblem::Unusable(text.into()))),
            dial(certificate(CertificateProblem::NotForName { names: vec![text.into(); 9] })),
            dial(DialError::Tls(TlsFailure::Other(text.into()))),
            dial(DialError::Name { name: "gw".to_owned(), problem: NameProblem::Failed(text.into()) }),
            dial(addresses(text)),
            dial(DialError::Io(text.into())),
            dial(DialError::Unsupported(text.into())),
            closed(ConnectionError::Lost(text.into())),
            closed(ConnectionError::Closed { code: 4000, reason: text.into() }),
        ] {
            seen.effects(&challenged().step(input));
        }
        for code in ["AUTH_TOKEN_MISMATCH", "PAIRING_REQUIRED", "PROTOCOL_MISMATCH", text] {
            let details = json!({"code":code, "requestId":text, "why":[text], text:1});
            let error = json!({"code":text, "message":text, "details":details});
            seen.effects(&challenged().refuse(&error.to_string()));
            let mut bench = Bench::ready(config(), Options::default(), 1);
            let id = bench.request(1, None);
            let frame = json!({"type":"res","id":id,"ok":false,"error":error,"payload":{"run":text}});
            seen.effects(&bench.receive(&frame.to_string()));
        }
        let mut hello: Value = serde_json::from_str(HELLO).expect("hello is JSON");
        hello["server"] = json!({"version":text, "connId":text, "bootId":text});
        hello["auth"] = json!({"role":text, "scopes":[text, "operator.admin"]});
        let mut bench = challenged();
        seen.effects(&bench.greet(&hello.to_string()));
        seen.debug(&bench.core.snapshot());
        if let Some(snapshot) = bench.core.snapshot() {
            let hello = &snapshot.hello;
            let names = [&hello.server_version, &hello.connection_id];
            for name in names.into_iter().chain(&hello.boot_id).chain(&hello.role).chain(&hello.scopes) {
                seen.line(name);
                seen.raw.push(name.as_str().to_owned());
            }
        }
        seen
    }

    fn effects(&mut self, effects: &[Effect]) {
        for effect in effects {
            self.debug(effect);
            match effect {
                Effect::Complete { outcome: Err(error), .. } => self.request(error),
                Effect::Status(Status::Backoff { cause, .. }) => self.cause(cause),
                Effect::Status(Status::Paused(reason)) => self.line(reason),
                Effect::Deliver { push: Push::Event(event), .. } => self.line(&event.name),
                _ => {}
            }
        }
    }

    fn request(&mut self, error: &RequestError) {
        self.line(error);
        for payload in
            error.gateway().into_iter().flat_map(|error| error.details.iter().chain(&error.payload))
        {
            let value: Value = payload.decode().expect("it is still JSON");
            self.raw.push(value.to_string());
        }
    }

    fn cause(&mut self, cause: &ConnectionError) {
        self.line(cause);
        match cause {
            ConnectionError::Closed { reason, .. } => self.raw.push(reason.as_str().to_owned()),
            ConnectionError::Dial(DialError::Upgrade(refusal)) => {
                self.raw.push(refusal.body.as_str().to_owned());
                self.raw.extend(refusal.location.as_deref().map(str::to_owned));
            }
            _ => {}
        }
    }

    fn line(&mut self, shown: &impl Display) {
        self.lines.push(shown.to_string());
    }

    fn debug(&mut self, shown: &impl Debug) {
        self.debug.push(format!("{shown:?}"));
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.lines.iter().chain(&self.debug).chain(&self.raw)
    }
}

fn upgrade(status: u16, text: &str) -> UpgradeRefusal {
    let mut refusal = UpgradeRefusal::new(status);
    (refusal.reason, refusal.body) = (text.into(), text.into());
    (refusal.location, refusal.authenticate) = (Some(text.into()), Some(text.into()));
    refusal
}

fn certificate(reason: CertificateProblem) -> DialError {
    DialError::Certificate { presented: Arc::new(PresentedCertificate::new(b"der", None, false)), reason }
}

fn addresses(text: &str) -> DialError {
    let address = ([127, 0, 0, 1], 1).into();
    let failure = AddressFailure { address, error: DialError::Io(text.into()) };
    AddressFailures::new(vec![failure; 2], 1).into()
}

/// Text that a hostile or careless peer may send.
fn peer_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => any::<char>().prop_map(String::from),
        4 => "[a-zA-Z0-9 :{}\"]{0,12}",
        2 => prop::sample::select(vec!["\u{1b}[31m", "\r\n", "\u{202e}", "\u{2066}", "\u{2028}", "\u{feff}", "\u{200b}", "\u{9b}2J", "\0"])
            .prop_map(String::from),
        1 => "x{200,600}",
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn right_credential_what_is_shown_is_one_short_line(text in peer_text()) {
        let seen = Seen::everywhere(&text);
        prop_assert!(seen.lines.len() > 20);
        for shown in seen.lines.iter().chain(&seen.debug) {
            prop_assert!(!shown.contains(needs_escape), "{shown:?}");
        }
        for line in &seen.lines {
            prop_assert!(line.chars().count() <= TEXTS_MAX * LINE_CHARS_MAX, "{line:?}");
        }
    }

    #[test]
    fn right_credential_nothing_presented_comes_back(before in peer_text(), after in peer_text(), which in 0..3usize, form in 0..5usize) {
        let secret = [TOKEN, PASSWORD, QUERY][which];
        let percent = |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
        let form = match form {
            0 => secret.to_owned(),
            1 => secret.to_ascii_uppercase(),
            2 => secret.chars().map(percent).collect(),
            3 => json!({ "token": secret }).to_string(),
            _ => json!(json!([secret]).to_string()).to_string(),
        };
        let seen = Seen::everywhere(&format!("{before}{form}{after}"));
        for shown in seen.all() {
            for secret in [TOKEN, PASSWORD, QUERY] {
                prop_assert!(!shown.to_ascii_lowercase().contains(&secret.to_ascii_lowercase()), "{shown:?}");
            }
            prop_assert!(!shown.contains("%2FThis%2Btoken"), "{shown:?}");
        }
    }
}

#[test]
fn right_credential_twenty_megabytes_are_told_in_a_line() {
    let text = "x".repeat(20_000_000);
    let mut seen = Seen::default();
    seen.effects(&challenged().refuse(&json!({"code":"UNAVAILABLE", "message":text}).to_string()));
    let mut bench = challenged();
    seen.effects(&bench.greet(&HELLO.replace(r#""c""#, &format!("\"{text}\""))));
    seen.debug(&bench.core.snapshot());
    let lost = ConnectionError::Lost(text.into());
    seen.effects(&bench.step(Input::Closed { epoch: EPOCH, error: lost }));
    assert_eq!(seen.lines.len(), 2);
    assert!(seen.lines.iter().all(|line| line.ends_with("… (20000000 bytes)")));
    assert!(seen.debug.iter().all(|shown| shown.len() < 3_000));
}

#[test]
fn right_credential_a_password_that_is_a_common_word_breaks_no_code() {
    let config = Config::new("ws://127.0.0.1").expect("a good url").token("right").password("password");
    let (mut bench, _) = Bench::challenged(Arc::new(config), Options::default(), 1);
    let error = json!({
        "code":"INVALID_REQUEST", "message":"the password right is wrong",
        "details":{"code":"AUTH_PASSWORD_MISMATCH"},
    });
    bench.refuse(&error.to_string());
    let Status::Paused(reason) = bench.core.status() else { panic!("{:?}", bench.core.status()) };
    assert!(reason.to_string().contains("INVALID_REQUEST: the [redacted] [redacted] is wrong"), "{reason}");
    assert!(format!("{reason:?}").contains("AUTH_PASSWORD_MISMATCH"), "{reason:?}");
}
