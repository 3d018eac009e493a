//! What a trace shows: which connection and which request, and nothing that was sent over them.
//!
//! A process of its own: tracing remembers for all threads which spans anybody wants, and tests beside
//! this one want none.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use onesocket::Client;
use serde_json::json;
use tokio::time::sleep;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

#[allow(dead_code, reason = "other tests need more of it")]
#[path = "sharing/rig.rs"]
mod rig;

use rig::{Rig, TOKEN, config, ms, secs};

/// All spans of this library so far, with their fields, in the order they were made.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

#[derive(Clone, Default)]
struct Span {
    id: u64,
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
    closed: bool,
}

impl Visit for Span {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

impl<S: tracing::Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if attributes.metadata().target().starts_with("onesocket::") {
            let mut span = Span { id: id.into_u64(), name: attributes.metadata().name(), ..Span::default() };
            attributes.record(&mut span);
            self.0.lock().unwrap().push(span);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        // The latest span with this id: ids are used again.
        let mut spans = self.0.lock().unwrap();
        if let Some(span) = spans.iter_mut().rfind(|span| span.id == id.into_u64()) {
            values.record(span);
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let mut spans = self.0.lock().unwrap();
        if let Some(span) = spans.iter_mut().rfind(|span| span.id == id.into_u64()) {
            span.closed = true;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn connections_and_requests_have_spans_without_a_secret() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let rig = Rig::new(&[1]);
    let client = Client::builder().config(config(1)).spawn(rig.clone()).unwrap();
    client.ready().await.unwrap();
    client.request("test.echo", json!("payload")).await.unwrap();
    client.request("no.such", json!("payload")).await.unwrap_err();
    rig.site(1).link.reset_all();
    sleep(secs(30)).await;
    rig.site(1).link.hold();
    drop(tokio::time::timeout(ms(1), client.request("test.echo", json!("payload"))).await);
    client.shutdown().await;
    drop(client);
    sleep(secs(1)).await;

    let spans = spans.0.lock().unwrap().clone();
    let all = |name: &str| spans.iter().filter(|span| span.name == name).cloned().collect::<Vec<_>>();
    let field = |span: &Span, name: &str| span.fields.get(name).cloned().unwrap_or_default();

    let connections = all("gateway.connection");
    let epochs: Vec<_> = connections.iter().map(|span| field(span, "epoch")).collect();
    assert_eq!(epochs, ["1", "2"]);
    assert!(connections.iter().all(|span| field(span, "connection_id").len() > 3));
    assert_ne!(field(&connections[0], "connection_id"), field(&connections[1], "connection_id"));

    let requests = all("gateway.request");
    let seen: Vec<_> = requests.iter().map(|span| (field(span, "method"), field(span, "outcome"))).collect();
    let expected =
        [("\"test.echo\"", "\"answered\""), ("\"no.such\"", "\"rejected\""), ("\"test.echo\"", "")];
    assert_eq!(seen, expected.map(|(method, outcome)| (method.to_owned(), outcome.to_owned())));

    assert_eq!(spans.len(), connections.len() + requests.len());
    for span in &spans {
        assert!(span.closed, "{} is never closed", span.name);
        let shown = format!("{:?}", span.fields);
        assert!(!shown.contains(TOKEN) && !shown.contains("payload"), "{shown}");
    }
}
