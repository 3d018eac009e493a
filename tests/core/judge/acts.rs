//! What a [`Judge`] can do to its core.

use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{
    Command, Config, ConnectionError, DialError, Epoch, Input, Instant, Reply, RequestId, SubscriptionId,
    WireText,
};

use super::{Judge, KINDS, Open, SECRET, Subscriber};

impl Judge {
    /// One act. Any numbers are valid.
    pub(super) fn act(&mut self, kind: u8, a: u8, b: u16) {
        match kind % KINDS {
            0 => self.command(Command::Connect),
            1 => self.command(Command::Wake),
            2 => self.command(Command::Resume),
            3 => self.configure(a),
            4..=6 => self.request(a, b),
            7 => self.cancel(a),
            8 | 9 => self.subscribe(),
            10 => self.unsubscribe(a),
            11 => self.wait(Duration::from_millis(u64::from(b))),
            12 => self.wait(Duration::from_millis(u64::from(b) * 100)),
            13..=17 => self.sleep(),
            18 => self.feed(Input::Timeout),
            19..=21 => self.feed(Input::Opened { epoch: self.epoch(a) }),
            22 => {
                let error = match a % 8 {
                    0 => DialError::Unsupported("no".into()),
                    1 => DialError::TimedOut,
                    _ => DialError::Refused,
                };
                self.feed(Input::DialFailed { epoch: self.epoch(a), error });
            }
            23 => {
                let error = ConnectionError::Closed { code: b, reason: SECRET[..4].into() };
                self.feed(Input::Closed { epoch: self.epoch(a), error });
            }
            24 => {
                let error = ConnectionError::Lost("reset".into());
                self.feed(Input::Closed { epoch: self.epoch(a), error });
            }
            25 => self.bytes(a, b),
            26 => self.feed(Input::Written { epoch: self.epoch(a), frames: usize::from(b % 5) }),
            27 | 28 => self.frame(a, &challenge(b)),
            29 | 30 => self.hello(a, b),
            31 => self.refuse(a, b),
            32..=34 => self.frame(a, &event(b)),
            35 | 36 => self.reply(a, b),
            37 => self.frame(a, garbage(b)),
            38 => self.log_in(a, b),
            39 if a == 0 => self.command(Command::ShutDown),
            _ => {}
        }
    }

    /// Something that is no message.
    fn bytes(&mut self, a: u8, b: u16) {
        let epoch = self.epoch(a);
        let ago =
            |ms: u16| Instant::from(self.now.elapsed().saturating_sub(Duration::from_millis(ms.into())));
        let input = match b % 4 {
            0 => Input::Activity { epoch },
            1 => Input::Unreadable { epoch },
            2 => Input::Bytes { epoch, latest: ago(b / 4), message_began: None },
            _ => Input::Bytes { epoch, latest: ago(b / 8), message_began: Some(ago(b / 4)) },
        };
        self.feed(input);
    }

    pub(super) fn configure(&mut self, a: u8) {
        self.backoff_decides = false;
        self.command(Command::Configure((a % 4 != 3).then(|| config(a % 4))));
    }

    pub(super) fn request(&mut self, a: u8, b: u16) {
        let number = self.next_request;
        self.next_request += 1;
        let is_final = a % 2 == 1;
        // The present connection, or one that is over or yet to come.
        let only_on = (b % 5 == 1).then(|| (self.last_epoch + u64::from(a % 3)).saturating_sub(1));
        self.open.insert(number, Open { id: None, sent_on: None, is_final, only_on });
        let padding = "x".repeat(if a > 200 { 250 } else { usize::from(a % 40) });
        self.command(Command::Request {
            id: RequestId(number),
            method: Arc::from("echo"),
            params: Some(Arc::from(format!(r#"{{"n":{number},"pad":"{SECRET}{padding}"}}"#))),
            timeout: (!b.is_multiple_of(3)).then(|| Duration::from_millis(u64::from(b))),
            waited: Duration::ZERO,
            reply: if is_final { Reply::Final } else { Reply::First },
            only_on: only_on.map(Epoch),
            expected_profile_id: None,
        });
    }

    fn cancel(&mut self, a: u8) {
        // Also requests that ended, and one that never was.
        let number = u64::from(a) % (self.next_request + 1);
        self.open.remove(&number);
        self.command(Command::Cancel { id: RequestId(number) });
    }

    pub(super) fn subscribe(&mut self) {
        let number = self.next_subscriber;
        self.next_subscriber += 1;
        self.subscribers.insert(number, Subscriber::default());
        self.command(Command::Subscribe { id: SubscriptionId(number) });
    }

    fn unsubscribe(&mut self, a: u8) {
        let number = u64::from(a) % (self.next_subscriber + 1);
        self.subscribers.remove(&number);
        self.command(Command::Unsubscribe { id: SubscriptionId(number) });
    }

    /// Lets time pass, perhaps past a deadline: drivers can be slow.
    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Lets time pass until the core wants to be woken, and wakes it.
    pub(super) fn sleep(&mut self) {
        let Some(deadline) = self.core.next_deadline() else { return };
        self.now = self.now.max(deadline.at);
        self.feed(Input::Timeout);
        let next = self.core.next_deadline();
        self.law(next.is_none_or(|next| next.at > self.now), "what was due has been done");
    }

    /// Mostly the epoch of the last dial, else one before or after it.
    fn epoch(&self, a: u8) -> Epoch {
        Epoch(match a % 16 {
            0 => self.last_epoch.saturating_sub(1),
            1 => self.last_epoch + 1,
            _ => self.last_epoch,
        })
    }

    fn frame(&mut self, a: u8, text: &str) {
        let text = WireText::from(text);
        self.feed(Input::Received { epoch: self.epoch(a), text });
    }

    fn connect_id(&self) -> String {
        self.socket.as_ref().and_then(|socket| socket.connect.clone()).unwrap_or("none".to_owned())
    }

    fn hello(&mut self, a: u8, b: u16) {
        let tick = [30_000_u64, 0, 1_000, u64::MAX][usize::from(b % 4)];
        let id = self.connect_id();
        let version = b / 4 % 8;
        let hello = format!(
            r#"{{"type":"hello-ok","protocol":{},"server":{{"version":"v","connId":"c"}},"snapshot":{{"presence":[],"health":{{}},"stateVersion":{{"presence":{version},"health":{version}}}}},"policy":{{"tickIntervalMs":{tick},"maxPayload":{}}}}}"#,
            if b > 60_000 { 5 } else { 4 },
            if b % 32 == 31 { 100 } else { 26_214_400 },
        );
        self.frame(a, &format!(r#"{{"type":"res","id":"{id}","ok":true,"payload":{hello}}}"#));
    }

    fn refuse(&mut self, a: u8, b: u16) {
        let (code, details) = match b % 6 {
            0 => ("INVALID_REQUEST", r#"{"code":"AUTH_TOKEN_MISMATCH"}"#),
            1 => ("NOT_PAIRED", r#"{"code":"PAIRING_REQUIRED","requestId":"r"}"#),
            2 | 3 => ("UNAVAILABLE", r#"{"reason":"startup-sidecars"}"#),
            _ => ("UNAVAILABLE", "{}"),
        };
        let id = self.connect_id();
        let after = if b > 60_000 { u64::MAX } else { u64::from(b) };
        self.frame(
            a,
            &format!(
                r#"{{"type":"res","id":"{id}","ok":false,"error":{{"code":"{code}","message":"m","retryable":true,"retryAfterMs":{after},"details":{details}}}}}"#
            ),
        );
    }

    /// Answers any request there ever was.
    fn reply(&mut self, a: u8, b: u16) {
        let id = self.ids.get(usize::from(b) % (self.ids.len() + 1)).map_or("7-7", String::as_str);
        let body = match b / 256 % 4 {
            _ if b / 1_024 % 8 == 7 => r#""ok":false,"error":"boom""#,
            _ if b / 1_024 % 8 == 6 => {
                r#""ok":false,"error":{"code":"X","details":{"execution":"may_have_executed"}}"#
            }
            0 => r#""ok":false,"error":{"code":"X","message":"m"}"#,
            1 => r#""ok":true,"payload":{"status":"accepted"}"#,
            _ => r#""ok":true,"payload":{"status":"ok"}"#,
        };
        self.frame(a, &format!(r#"{{"type":"res","id":"{id}",{body}}}"#));
    }

    /// The whole way to ready, which numbers alone find rarely, with up to seven events before hello.
    fn log_in(&mut self, a: u8, b: u16) {
        self.command(Command::Connect);
        if self.socket.is_none() {
            self.sleep();
        }
        self.feed(Input::Opened { epoch: Epoch(self.last_epoch) });
        self.frame(9, &challenge(9));
        for early in 0..u16::from(a % 8) {
            // A few bits of `b` for each number, so that repeats, holes and steps back all happen.
            self.frame(9, &event(4 * (4 + (b >> (2 * early)) % 16)));
        }
        self.hello(9, 0);
    }
}

/// Config number `number`: a port and a token of its own.
pub(super) fn config(number: u8) -> Arc<Config> {
    let config =
        Config::new(&format!("ws://127.0.0.1:{}", 1_000 + u16::from(number))).expect("a loopback url");
    Arc::new(config.token(&format!("{SECRET}-{number}")))
}

fn challenge(b: u16) -> String {
    let nonce = if b.is_multiple_of(16) { "" } else { "n" };
    format!(r#"{{"type":"event","event":"connect.challenge","payload":{{"nonce":"{nonce}","ts":1}}}}"#)
}

fn event(b: u16) -> String {
    let name = ["chat", "presence", "health", "connect.challenge"][usize::from(b % 4)];
    let seq = if b % 32 < 4 { String::new() } else { format!(r#","seq":{}"#, b / 4 % 16) };
    let version = b / 64 % 8;
    format!(
        r#"{{"type":"event","event":"{name}","payload":{{"presence":["{SECRET}"]}}{seq},"stateVersion":{{"presence":{version},"health":{version}}}}}"#
    )
}

fn garbage(b: u16) -> &'static str {
    let texts = [
        "",
        "{",
        "[]",
        "null",
        "\u{0}",
        r#"{"type":"res"}"#,
        r#"{"type":"res","id":7,"ok":true}"#,
        r#"{"type":"event"}"#,
        r#"{"type":"event","event":"e","seq":-1}"#,
        r#"{"type":"event","event":"e","payload":{"a":[[[[]]]]}}"#,
        r#"{"type":"req","id":"1","method":"m"}"#,
        r#"["event",null,null,null,null,"e"]"#,
    ];
    texts[usize::from(b) % texts.len()]
}
