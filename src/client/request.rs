//! A request as a future.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::core::{
    Delivery, Epoch, OneLine, Payload, Reply, RequestError, RequestErrorKind, RequestId, Response,
};
use crate::driver::command::{ClientCommand, Waiter};

use super::Shared;
use super::idempotency::IdempotencyKey;
use super::places::{NoPlace, Place, Share};

/// The longest id of an account, as the gateway's schema has it.
const PROFILE_ID_CHARS_MAX: usize = 128;

/// A request that has not been sent yet. Await it.
#[must_use = "a request is sent when it is awaited"]
pub struct RequestBuilder {
    shared: Arc<Shared>,
    share: Arc<Share>,
    method: Arc<str>,
    params: Result<Option<Arc<str>>, String>,
    timeout: Option<Duration>,
    reply: Reply,
    on_accepted: Option<oneshot::Sender<Payload>>,
    idempotency_key: Option<IdempotencyKey>,
    only_on: Option<Epoch>,
    expected_profile_id: Option<Arc<str>>,
}

impl RequestBuilder {
    pub(super) fn new(shared: Arc<Shared>, share: Arc<Share>, method: &str, params: impl Serialize) -> Self {
        let params = match serde_json::to_string(&params) {
            Ok(text) if text == "null" => Ok(None),
            Ok(text) => Ok(Some(Arc::from(text))),
            Err(error) => Err(error.to_string()),
        };
        let timeout = Some(shared.options.request_timeout);
        Self {
            shared,
            share,
            method: Arc::from(method),
            params,
            timeout,
            reply: Reply::First,
            on_accepted: None,
            idempotency_key: None,
            only_on: None,
            expected_profile_id: None,
        }
    }

    /// The time for queueing, writing and the reply together, from the first poll on. `None` waits for ever; the
    /// watchdog still ends the wait when the connection dies.
    ///
    /// A request whose time is over is not sent: one with no time at all never is, and fails at once as
    /// [`TimedOut`](RequestErrorKind::TimedOut) and [`NotSent`](Delivery::NotSent).
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// Waits for the final answer of a two-phase method instead of its acknowledgement
    /// (protocol 12.4). The acknowledgement goes to the returned receiver, once.
    pub fn final_reply(mut self) -> (Self, oneshot::Receiver<Payload>) {
        let (sender, receiver) = oneshot::channel();
        self.reply = Reply::Final;
        self.on_accepted = Some(sender);
        (self, receiver)
    }

    /// Adds `idempotencyKey` to the parameters, which must be an object or absent.
    ///
    /// The gateway does the work of one key once and answers a repetition with the first outcome, for
    /// five minutes. So after a failure with [`Delivery::Unknown`] the same request may be made again with
    /// the same key, also on another connection. While the work goes on, a repetition is only
    /// acknowledged, also one that asks for the final reply: `agent.wait` waits for its end. `agent`, `send` and `chat.send` refuse to work without
    /// a key (protocol 12.5). [`Client::idempotency_key`](super::Client::idempotency_key) makes new ones.
    pub fn idempotency_key(mut self, key: &IdempotencyKey) -> Self {
        self.idempotency_key = Some(key.clone());
        self
    }

    /// Binds the request to one connection, such as that of a snapshot it was derived from. Once that
    /// connection is over, or before it is ready, the request fails as not sent; it never moves to
    /// the next connection and makes nobody connect.
    pub fn only_on(mut self, epoch: Epoch) -> Self {
        self.only_on = Some(epoch);
        self
    }

    /// Says which account of the gateway's user this is for, as its profile id (1 to 128 characters). A gateway at
    /// which the connection now belongs to another one refuses; [`GatewayError::may_have_executed`] and the
    /// delivery say whether it found out before or after. Only for gateways that offer the capability
    /// `profile-binding-v1` in hello: others refuse the request as malformed.
    ///
    /// [`GatewayError::may_have_executed`]: crate::core::GatewayError::may_have_executed
    pub fn expected_profile(mut self, profile_id: &str) -> Self {
        self.expected_profile_id = Some(Arc::from(profile_id));
        self
    }

    fn refused(&self, kind: RequestErrorKind) -> RequestError {
        RequestError { method: Arc::clone(&self.method), kind, delivery: Delivery::NotSent }
    }

    fn send(mut self) -> Result<InFlightRequest, RequestError> {
        let params = std::mem::replace(&mut self.params, Ok(None));
        let params = params.and_then(|params| match &self.idempotency_key {
            Some(key) => key.added_to(params.as_deref()).map(Some),
            None => Ok(params),
        });
        let params = params.map_err(|why| self.refused(RequestErrorKind::Params(why.into())))?;
        if let Some(profile_id) = &self.expected_profile_id
            && !(1..=PROFILE_ID_CHARS_MAX).contains(&profile_id.chars().count())
        {
            let why = format!("a profile id has 1 to {PROFILE_ID_CHARS_MAX} characters");
            return Err(self.refused(RequestErrorKind::Params(why.into())));
        }
        let place = self.share.take().map_err(|why| {
            self.refused(match why {
                NoPlace::AllTaken { limit } => RequestErrorKind::Overloaded { limit },
                NoPlace::ShareTaken { held } => RequestErrorKind::HandleOverloaded { held },
            })
        })?;
        let (sender, outcome) = oneshot::channel();
        let id = RequestId(self.shared.fresh_id());
        // Made here, so that it belongs to whatever its caller is doing.
        let span = tracing::debug_span!(
            "gateway.request",
            method = tracing::field::debug(OneLine::cut(&self.method)),
            id = id.0,
            outcome = tracing::field::Empty,
        );
        let accepted = self.on_accepted.take();
        let method = Arc::clone(&self.method);
        let waiter =
            Waiter { method, outcome: sender, accepted, span, sent_at: None, _place: place.shared() };
        let command = ClientCommand::Request {
            id,
            method: Arc::clone(&self.method),
            params,
            timeout: self.timeout,
            asked: Instant::now(),
            reply: self.reply,
            only_on: self.only_on,
            expected_profile_id: self.expected_profile_id.clone(),
            waiter,
        };
        self.shared.commands.send(command);
        Ok(InFlightRequest {
            shared: self.shared,
            id,
            method: self.method,
            outcome,
            ended: false,
            _place: place,
        })
    }
}

impl IntoFuture for RequestBuilder {
    type Output = Result<Response, RequestError>;
    type IntoFuture = RequestFuture;

    fn into_future(self) -> RequestFuture {
        RequestFuture { state: RequestState::New(Some(self)) }
    }
}

/// The answer to a request, once it is there.
pub struct RequestFuture {
    state: RequestState,
}

enum RequestState {
    New(Option<RequestBuilder>),
    InFlight(InFlightRequest),
}

/// A request the driver knows of; dropping it before its end cancels it.
struct InFlightRequest {
    shared: Arc<Shared>,
    id: RequestId,
    method: Arc<str>,
    outcome: oneshot::Receiver<Result<Response, RequestError>>,
    ended: bool,
    _place: Place,
}

impl Future for RequestFuture {
    type Output = Result<Response, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let RequestState::New(builder) = &mut self.state {
            let builder = builder.take().expect("polled after completion");
            match builder.send() {
                Ok(request) => self.state = RequestState::InFlight(request),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let RequestState::InFlight(request) = &mut self.state else {
            unreachable!("the request was sent above")
        };
        let outcome = ready!(Pin::new(&mut request.outcome).poll(cx));
        request.ended = true;
        Poll::Ready(outcome.unwrap_or_else(|_| {
            // Foreign code, such as a subscriber to spans, has panicked while the driver told its last words.
            let method = Arc::clone(&request.method);
            let kind = request.shared.lost().map_or(RequestErrorKind::ShutDown, RequestErrorKind::Lost);
            Err(RequestError { method, kind, delivery: Delivery::Unknown })
        }))
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        if !self.ended {
            // A driver that is gone has forgotten the request already.
            self.shared.commands.cancel(self.id);
        }
    }
}
