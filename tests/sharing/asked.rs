//! One of everything that one can wait for, and the last word that it gets.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use onesocket::core::{Delivery, DriverEnd, Epoch, Push, RequestErrorKind, Status};
use onesocket::{Client, ConfigureError, NotReady, RequestFuture, Subscription};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::rig::config;

/// Far beyond every bound of the client: what has not ended by then waits for ever.
const FOR_EVER: Duration = Duration::from_secs(120);

/// How a client has ended.
#[derive(Clone, Debug)]
pub(crate) enum LastWord {
    ShutDown,
    Lost(DriverEnd),
}

/// One of everything that one can wait for, asked for by polling it once.
pub(crate) struct Asked {
    pub(crate) pushes: Subscription,
    pub(crate) request: RequestFuture,
    /// Of another config, if that was asked for.
    pub(crate) configured: Option<JoinHandle<Result<(), ConfigureError>>>,
    pub(crate) ready: JoinHandle<Result<Epoch, NotReady>>,
}

impl Asked {
    pub(crate) async fn of(client: &Client) -> Self {
        let other = client.clone();
        let configured = tokio::spawn(async move { other.configure(Some(config(2))).await });
        Self { configured: Some(configured), ..Self::of_the_present_config(client).await }
    }

    /// Without another config, which would put an end to the dial to this one.
    pub(crate) async fn of_the_present_config(client: &Client) -> Self {
        let pushes = client.subscribe().unwrap();
        let mut request = client.request("test.echo", json!(1)).timeout(None).into_future();
        poll_once(&mut request).await;
        let ready = tokio::spawn({
            let client = client.clone();
            async move { client.ready().await }
        });
        Self { pushes, request, configured: None, ready }
    }

    /// The last words of a client that never took any of it.
    pub(crate) async fn assert_refused(self, last: &LastWord) {
        let Self { pushes, request, configured, ready } = self;
        is_closed(pushes).await;
        is_refused(request, Delivery::NotSent, last).await;
        if let Some(configured) = configured {
            assert_eq!(ends(configured).await.unwrap(), Err(last.not_configured()));
        }
        assert_eq!(ends(ready).await.unwrap(), Err(last.not_ready()));
    }
}

impl LastWord {
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::ShutDown => Status::Stopped,
            Self::Lost(end) => Status::Lost(Arc::new(end.clone())),
        }
    }

    pub(crate) fn not_ready(&self) -> NotReady {
        match self {
            Self::ShutDown => NotReady::ShutDown,
            Self::Lost(end) => NotReady::Lost(Arc::new(end.clone())),
        }
    }

    fn not_configured(&self) -> ConfigureError {
        match self {
            Self::ShutDown => ConfigureError::ShutDown,
            Self::Lost(end) => ConfigureError::Lost(Arc::new(end.clone())),
        }
    }

    fn request(&self) -> RequestErrorKind {
        match self {
            Self::ShutDown => RequestErrorKind::ShutDown,
            Self::Lost(end) => RequestErrorKind::Lost(Arc::new(end.clone())),
        }
    }
}

pub(crate) async fn poll_once(future: &mut (impl Future + Unpin)) {
    let is_pending = poll_fn(|cx| Poll::Ready(pin!(&mut *future).poll(cx).is_pending())).await;
    assert!(is_pending, "it ends at once");
}

pub(crate) async fn ends<F: IntoFuture>(future: F) -> F::Output {
    timeout(FOR_EVER, future).await.expect("it ends")
}

/// All that is left of a subscription, which ends.
pub(crate) async fn rest(mut pushes: Subscription) -> Vec<Push> {
    let mut rest = Vec::new();
    while let Some(push) = ends(pushes.next()).await {
        rest.push(push);
    }
    rest
}

pub(crate) async fn is_closed(pushes: Subscription) {
    assert_eq!(rest(pushes).await.last(), Some(&Push::Closed));
}

pub(crate) async fn is_refused(request: RequestFuture, delivery: Delivery, last: &LastWord) {
    let error = ends(request).await.expect_err("nobody answers");
    assert_eq!((&error.kind, error.delivery), (&last.request(), delivery), "{error}");
}

/// A client that is gone says so everywhere, and refuses everything.
pub(crate) async fn is_gone(client: &Client, last: &LastWord) {
    assert_eq!(client.status(), last.status());
    assert!(client.status().is_final());
    assert_eq!(ends(client.ready()).await, Err(last.not_ready()));
    assert_eq!(ends(client.configure(None)).await, Err(last.not_configured()));
    assert_eq!(rest(client.subscribe().unwrap()).await, [Push::Closed]);
    is_refused(client.request("test.echo", ()).into_future(), Delivery::NotSent, last).await;
    let mut statuses = client.watch_status();
    assert_eq!(statuses.get(), last.status());
    assert_eq!(ends(statuses.changed()).await, None);
    ends(client.shutdown()).await;
    assert_eq!(client.status(), last.status());
}
