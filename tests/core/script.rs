//! A script of timed inputs: what is given, and what happens then. See `history.rs` for what follows from it.

use std::fmt::Write as _;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use onesocket::core::{
    Command, Config, ConnectionError, DeviceIdentity, DialError, Epoch, Input, Instant, Options, Reply,
    RequestId, StoreError, SubscriptionId,
};

/// Stands in a scripted frame for the id of the latest `connect`.
pub(crate) const CONNECT: &str = "$connect";

/// The hello of a gateway, but for what tests vary.
pub(crate) const HELLO: &str = r#"{"type":"hello-ok","protocol":4,
    "server":{"version":"2026.9.1","connId":"c"},"features":{"methods":[],"events":[]},
    "snapshot":{"presence":[],"health":{},"stateVersion":{"presence":1,"health":1},"uptimeMs":1},
    "auth":{"role":"operator","scopes":["operator.admin"]},
    "policy":{"maxPayload":26214400,"maxBufferedBytes":52428800,"tickIntervalMs":30000}}"#;

/// The refusal of a gateway that is still starting (protocol 17).
const STARTING: &str = r#"{"code":"UNAVAILABLE","message":"gateway starting","retryable":true,"retryAfterMs":500,"details":{"reason":"startup-sidecars"}}"#;

/// What is to happen to a core, and when.
pub(crate) struct Script {
    pub(crate) options: Options,
    pub(crate) config: Option<Arc<Config>>,
    pub(crate) has_token_store: bool,
    now: u64,
    /// When the history ends, in milliseconds from the start.
    pub(crate) end: u64,
    pub(crate) steps: Vec<Step>,
}

pub(crate) struct Step {
    /// In milliseconds from the start.
    pub(crate) at: u64,
    pub(crate) label: String,
    pub(crate) action: Action,
}

pub(crate) enum Action {
    Input(Input),
    /// A frame in which `$connect` and `$7` stand for the ids of `connect` and of request 7.
    Frame {
        epoch: u64,
        text: String,
    },
    /// A whole handshake, of which only the end is shown.
    Ready {
        epoch: u64,
    },
    /// The history begins here.
    Given,
}

/// The config called `name`: a host and a token of that name.
pub(crate) fn config(name: &str) -> Arc<Config> {
    let config = Config::new(&format!("ws://{name}.local")).expect("a local name may be plaintext");
    Arc::new(config.token(&format!("token-{name}")))
}

/// Options whose waits are plain numbers: the jitter has its own tests.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.backoff.jitter = 0.0;
    options
}

/// A script that begins with the config called `a` and nothing wanted.
pub(crate) fn script() -> Script {
    Script {
        options: options(),
        config: Some(config("a")),
        has_token_store: false,
        now: 0,
        end: 0,
        steps: Vec::new(),
    }
}

/// Connection 1 is ready, and the history begins.
pub(crate) fn connected() -> Script {
    script().connect().ready(1).given()
}

/// Connection 1 is ready with subscription 1, and the history begins.
pub(crate) fn subscribed() -> Script {
    script().subscribe(1).ready(1).given()
}

/// Connection 1 waits for hello, and the history begins.
pub(crate) fn handshaking() -> Script {
    script().connect().challenged(1).given()
}

/// Connection 1 waits for hello with subscription 1, and the history begins.
pub(crate) fn subscribed_early() -> Script {
    script().subscribe(1).challenged(1).given()
}

impl Script {
    pub(crate) fn options(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    /// Gives config `a` a device, and the core a token store.
    pub(crate) fn with_token_store(mut self) -> Self {
        let config = Config::clone(&config("a")).device(DeviceIdentity::from_seed([7; 32]));
        self.config = Some(Arc::new(config));
        self.has_token_store = true;
        self
    }

    /// Requests beyond these many wait in the queue.
    pub(crate) fn max_in_flight(self, requests: usize) -> Self {
        self.options(|options| options.max_in_flight = requests)
    }

    pub(crate) fn without_config(mut self) -> Self {
        self.config = None;
        self
    }

    /// Moves the clock, in milliseconds from the start, for the steps that follow.
    pub(crate) fn at(mut self, ms: u64) -> Self {
        assert!(ms >= self.now, "a script runs forward");
        self.now = ms;
        self
    }

    /// Lets everything happen that is due until then.
    pub(crate) fn until(mut self, ms: u64) -> Self {
        self.end = ms;
        self
    }

    fn step(mut self, label: impl Into<String>, action: Action) -> Self {
        self.steps.push(Step { at: self.now, label: label.into(), action });
        self
    }

    fn command(self, label: impl Into<String>, command: Command) -> Self {
        self.step(label, Action::Input(Input::Command(command)))
    }

    pub(crate) fn connect(self) -> Self {
        self.command("connect", Command::Connect)
    }

    pub(crate) fn wake(self) -> Self {
        self.command("wake", Command::Wake)
    }

    pub(crate) fn resume(self) -> Self {
        self.command("resume", Command::Resume)
    }

    pub(crate) fn shut_down(self) -> Self {
        self.command("shut down", Command::ShutDown)
    }

    pub(crate) fn configure(self, name: &str) -> Self {
        self.command(format!("configure {name}"), Command::Configure(Some(config(name))))
    }

    pub(crate) fn configure_with(self, label: &str, config: Config) -> Self {
        self.command(format!("configure {label}"), Command::Configure(Some(Arc::new(config))))
    }

    pub(crate) fn configure_none(self) -> Self {
        self.command("configure nothing", Command::Configure(None))
    }

    pub(crate) fn subscribe(self, id: u64) -> Self {
        self.command(format!("subscribe {id}"), Command::Subscribe { id: SubscriptionId(id) })
    }

    pub(crate) fn unsubscribe(self, id: u64) -> Self {
        self.command(format!("unsubscribe {id}"), Command::Unsubscribe { id: SubscriptionId(id) })
    }

    /// A request with the default deadline of half a minute.
    pub(crate) fn request(self, id: u64) -> Self {
        self.request_with(id, Some(30_000), Reply::First, "")
    }

    pub(crate) fn requests(self, ids: RangeInclusive<u64>) -> Self {
        ids.fold(self, Self::request)
    }

    /// A request that is meant for one connection only.
    pub(crate) fn request_only_on(self, epoch: u64, id: u64) -> Self {
        let label = format!("request #{id} on {epoch} only");
        self.command(label, request(id, Some(30_000), Reply::First, "", Some(Epoch(epoch))))
    }

    /// A request that its caller made a while ago.
    pub(crate) fn request_after(self, waited_ms: u64, id: u64, timeout_ms: u64) -> Self {
        let mut command = request(id, Some(timeout_ms), Reply::First, "", None);
        if let Command::Request { waited, .. } = &mut command {
            *waited = Duration::from_millis(waited_ms);
        }
        self.command(format!("request #{id}, made {waited_ms} ms ago for {timeout_ms} ms"), command)
    }

    pub(crate) fn request_for(self, id: u64, timeout_ms: Option<u64>) -> Self {
        self.request_with(id, timeout_ms, Reply::First, "")
    }

    /// A request that waits for the final of two answers.
    pub(crate) fn request_final(self, id: u64) -> Self {
        self.request_with(id, None, Reply::Final, "")
    }

    /// A request whose parameters are `padding` bytes longer than they need to be.
    pub(crate) fn request_sized(self, id: u64, padding: usize) -> Self {
        self.request_with(id, None, Reply::First, &"x".repeat(padding))
    }

    fn request_with(self, id: u64, timeout_ms: Option<u64>, reply: Reply, padding: &str) -> Self {
        let mut label = format!("request #{id}");
        if reply == Reply::Final {
            label.push_str(" to its final answer");
        }
        if !padding.is_empty() {
            let _ = write!(label, " with {} bytes more", padding.len());
        }
        self.command(label, request(id, timeout_ms, reply, padding, None))
    }

    pub(crate) fn cancel(self, id: u64) -> Self {
        self.command(format!("cancel #{id}"), Command::Cancel { id: RequestId(id) })
    }

    pub(crate) fn opened(self, epoch: u64) -> Self {
        self.step(format!("opened {epoch}"), Action::Input(Input::Opened { epoch: Epoch(epoch) }))
    }

    pub(crate) fn refused(self, epoch: u64) -> Self {
        let input = Input::DialFailed { epoch: Epoch(epoch), error: DialError::Refused };
        self.step(format!("dial {epoch} refused"), Action::Input(input))
    }

    pub(crate) fn dial_failed(self, epoch: u64, error: DialError) -> Self {
        let told = format!("dial {epoch} failed: {error}");
        self.step(told, Action::Input(Input::DialFailed { epoch: Epoch(epoch), error }))
    }

    pub(crate) fn unsupported(self, epoch: u64) -> Self {
        let error = DialError::Unsupported("no TLS here".into());
        let input = Input::DialFailed { epoch: Epoch(epoch), error };
        self.step(format!("dial {epoch} unsupported"), Action::Input(input))
    }

    pub(crate) fn lost(self, epoch: u64) -> Self {
        let input = Input::Closed { epoch: Epoch(epoch), error: ConnectionError::Lost("reset".into()) };
        self.step(format!("lost {epoch}"), Action::Input(input))
    }

    pub(crate) fn closed(self, epoch: u64, code: u16, reason: &str) -> Self {
        let error = ConnectionError::Closed { code, reason: reason.into() };
        let input = Input::Closed { epoch: Epoch(epoch), error };
        self.step(format!("closed {epoch} with {code} {reason:?}"), Action::Input(input))
    }

    /// The closing handshake is done, without a reason.
    pub(crate) fn closed_cleanly(self, epoch: u64) -> Self {
        self.closed(epoch, 1000, "")
    }

    /// Connection `epoch` is lost when the outage begins, and the next one is ready when it ends.
    pub(crate) fn outage(self, epoch: u64, ms: Range<u64>) -> Self {
        self.at(ms.start).lost(epoch).at(ms.end).ready(epoch + 1)
    }

    /// One attempt after the other, from `epoch` on: at each of these times `end` is what becomes of it.
    pub(crate) fn attempts(
        self,
        epoch: u64,
        times: impl IntoIterator<Item = u64>,
        end: impl Fn(Self, u64) -> Self,
    ) -> Self {
        (epoch..).zip(times).fold(self, |script, (epoch, ms)| end(script.at(ms), epoch))
    }

    /// The token store holds nothing, for the attempt of `epoch`.
    pub(crate) fn no_token(self, epoch: u64) -> Self {
        let input = Input::TokenLoaded { epoch: Epoch(epoch), result: Ok(None) };
        self.step(format!("no token {epoch}"), Action::Input(input))
    }

    /// The token store fails, for the attempt of `epoch`.
    pub(crate) fn store_fails(self, epoch: u64) -> Self {
        let result = Err(StoreError::new("disk"));
        let input = Input::TokenLoaded { epoch: Epoch(epoch), result };
        self.step(format!("store fails {epoch}"), Action::Input(input))
    }

    pub(crate) fn activity(self, epoch: u64) -> Self {
        self.step(format!("activity on {epoch}"), Action::Input(Input::Activity { epoch: Epoch(epoch) }))
    }

    /// Bytes that make no whole message: the latest then, and those of a message since `began`.
    pub(crate) fn bytes(self, epoch: u64, latest: u64, began: impl Into<Option<u64>>) -> Self {
        let message_began = began.into().map(Instant::from_millis);
        let latest = Instant::from_millis(latest);
        let label = match message_began {
            Some(began) => format!("bytes on {epoch} at {latest} of a message since {began}"),
            None => format!("bytes on {epoch} at {latest}"),
        };
        self.step(label, Action::Input(Input::Bytes { epoch: Epoch(epoch), latest, message_began }))
    }

    /// A message that is no text.
    pub(crate) fn noise(self, epoch: u64) -> Self {
        self.step(format!("noise on {epoch}"), Action::Input(Input::Unreadable { epoch: Epoch(epoch) }))
    }

    pub(crate) fn written(self, epoch: u64, frames: usize) -> Self {
        let input = Input::Written { epoch: Epoch(epoch), frames };
        self.step(format!("written {frames} on {epoch}"), Action::Input(input))
    }

    /// Any text that arrives, described by `label`.
    pub(crate) fn frame(self, epoch: u64, label: &str, text: &str) -> Self {
        let label = format!("{label} on {epoch}");
        self.step(label, Action::Frame { epoch, text: text.to_owned() })
    }

    pub(crate) fn challenge(self, epoch: u64) -> Self {
        self.frame(epoch, "challenge", &challenge())
    }

    /// The socket opens and is challenged, and the client asks to connect.
    pub(crate) fn challenged(self, epoch: u64) -> Self {
        self.opened(epoch).challenge(epoch)
    }

    /// The usual hello.
    pub(crate) fn greeted(self, epoch: u64) -> Self {
        self.hello(epoch, HELLO)
    }

    pub(crate) fn hello(self, epoch: u64, hello: &str) -> Self {
        self.frame(epoch, "hello", &answer(CONNECT, hello))
    }

    /// Opened, challenged and greeted, all at once.
    pub(crate) fn ready(self, epoch: u64) -> Self {
        self.step(format!("handshake on {epoch}"), Action::Ready { epoch })
    }

    /// All before this, and what is due by now, is taken for granted: the history does not show it.
    pub(crate) fn given(self) -> Self {
        self.step("", Action::Given)
    }

    /// The gateway refuses `connect` for this reason.
    pub(crate) fn refuse(self, epoch: u64, error: &str) -> Self {
        self.frame(epoch, &format!("refusal {error}"), &refusal(CONNECT, error))
    }

    /// The gateway refuses `connect` with a detail code (protocol 9.1).
    pub(crate) fn refuse_with(self, epoch: u64, code: &str) -> Self {
        self.refuse(epoch, &invalid_request("no", &format!(r#"{{"code":"{code}"}}"#)))
    }

    /// An attempt that meets a gateway that is still starting.
    pub(crate) fn starting(self, epoch: u64) -> Self {
        self.challenged(epoch).refuse(epoch, STARTING)
    }

    /// The gateway answers request `id`.
    pub(crate) fn reply(self, epoch: u64, id: u64, payload: &str) -> Self {
        self.frame(epoch, &format!("answer to #{id}"), &answer(&format!("${id}"), payload))
    }

    /// The gateway says no to request `id`.
    pub(crate) fn reject(self, epoch: u64, id: u64, error: &str) -> Self {
        self.frame(epoch, &format!("error for #{id}"), &refusal(&format!("${id}"), error))
    }

    pub(crate) fn event(self, epoch: u64, name: &str, seq: impl Into<Option<u64>>) -> Self {
        let seq = seq.into().map_or(String::new(), |seq| format!(r#","seq":{seq}"#));
        let text = format!(r#"{{"type":"event","event":"{name}","payload":{{}}{seq}}}"#);
        self.frame(epoch, &format!("event {name}{seq}").replace(r#","seq":"#, " "), &text)
    }

    /// Events called `e` with these numbers, or without one.
    pub(crate) fn events<N: Into<Option<u64>>>(self, epoch: u64, seqs: impl IntoIterator<Item = N>) -> Self {
        seqs.into_iter().fold(self, |script, seq| script.event(epoch, "e", seq))
    }
}

fn request(id: u64, timeout_ms: Option<u64>, reply: Reply, padding: &str, only_on: Option<Epoch>) -> Command {
    Command::Request {
        id: RequestId(id),
        method: Arc::from("echo"),
        params: Some(Arc::from(format!(r#"{{"n":{id},"pad":"{padding}"}}"#))),
        timeout: timeout_ms.map(Duration::from_millis),
        waited: Duration::ZERO,
        reply,
        only_on,
        expected_profile_id: None,
    }
}

/// An error of the gateway that will come again with the same request, for the reason in its details.
pub(crate) fn invalid_request(message: &str, details: &str) -> String {
    format!(r#"{{"code":"INVALID_REQUEST","message":"{message}","details":{details}}}"#)
}

/// An error of a gateway that says when to try again.
pub(crate) fn unavailable(message: &str, retry_after_ms: u64) -> String {
    format!(
        r#"{{"code":"UNAVAILABLE","message":"{message}","retryable":true,"retryAfterMs":{retry_after_ms}}}"#
    )
}

pub(crate) fn challenge() -> String {
    r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#.to_owned()
}

pub(crate) fn answer(id: &str, payload: &str) -> String {
    format!(r#"{{"type":"res","id":"{id}","ok":true,"payload":{payload}}}"#)
}

pub(crate) fn refusal(id: &str, error: &str) -> String {
    format!(r#"{{"type":"res","id":"{id}","ok":false,"error":{error}}}"#)
}
