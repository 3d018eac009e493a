//! Where the gateway is: worked out once, published on change, followed by the client.

use std::sync::Arc;

use onesocket::Client;
use onesocket::config_source::follow;
use onesocket::core::{ClientInfo, Config, ConfigError, Credentials, Endpoint, Headers, Secret, Status};
use onesocket::endpoint_store::{
    EndpointMode, EndpointSettings, EndpointState, EndpointStore, Unavailable, credentials,
};
use tokio::time::{sleep, timeout};

use crate::rig::{Rig, TOKEN, config, ms, secs};

fn settings(mode: EndpointMode) -> EndpointSettings {
    let credentials = credentials(|_| None, Some(TOKEN), None);
    EndpointSettings { mode, credentials, ..EndpointSettings::default() }
}

fn state(mode: EndpointMode) -> EndpointState {
    EndpointStore::new(&settings(mode), |config| config).current()
}

fn local(port: u16) -> EndpointMode {
    EndpointMode::Local { port, secure: false, host: None }
}

fn ready(url: &str) -> EndpointState {
    EndpointState::Ready(Arc::new(Config::new(url).unwrap().token(TOKEN)))
}

fn direct(url: &str) -> EndpointMode {
    EndpointMode::Direct { url: url.to_owned() }
}

#[test]
fn each_mode_leads_where_it_should() {
    let bound = |host: &str, secure| EndpointMode::Local { port: 7, secure, host: Some(host.to_owned()) };
    let url_of = [
        (local(18_789), "ws://127.0.0.1:18789"),
        (bound("100.64.0.3", false), "ws://100.64.0.3:7"),
        (bound("  ", false), "ws://127.0.0.1:7"),
        (bound("::1", true), "wss://[::1]:7"),
        (bound("[::1]", true), "wss://[::1]:7"),
        (EndpointMode::Forwarded { port: Some(40_001) }, "ws://127.0.0.1:40001"),
        (direct(" wss://gateway.example/base "), "wss://gateway.example/base"),
        (direct("ws://localhost"), "ws://localhost:18789"),
        (bound("fe80::1%en0", false), "ws://[fe80::1%25en0]:7"),
        (EndpointMode::Given(Endpoint::parse("wss://x").unwrap()), "wss://x:443/"),
    ];
    for (mode, url) in url_of {
        assert_eq!(state(mode.clone()), ready(url), "{mode:?}");
    }
    assert!(matches!(state(EndpointMode::Forwarded { port: None }), EndpointState::Connecting { .. }));
}

#[test]
fn right_credential_headers_go_where_they_cannot_be_seen() {
    let mut headers = Headers::new();
    headers.add("X-Team", "blue").unwrap();
    let state = |mode| {
        let settings = EndpointSettings { headers: headers.clone(), ..settings(mode) };
        EndpointStore::new(&settings, |config| config).current()
    };
    let config = Config::new("wss://gateway.example").unwrap().token(TOKEN).headers(headers.clone()).unwrap();
    assert_eq!(state(direct("wss://gateway.example")), EndpointState::Ready(Arc::new(config)));
    let reason = Unavailable::Config(ConfigError::HeadersInTheClear);
    assert_eq!(state(direct("ws://gateway.local")), EndpointState::Unavailable { reason });
}

#[test]
fn what_cannot_be_reached_says_why() {
    let why = |mode| match state(mode) {
        EndpointState::Unavailable { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(EndpointMode::Unconfigured), Unavailable::NotConfigured);
    assert_eq!(why(direct("  ")), Unavailable::UrlMissing);
    let public = ConfigError::PlaintextToPublicHost { host: "gateway.example".to_owned() };
    assert_eq!(why(direct("ws://gateway.example")), Unavailable::Config(public));
    assert!(matches!(why(direct("ftp://x")), Unavailable::Config(ConfigError::Url { .. })));
    assert!(matches!(why(local(0)), Unavailable::Config(ConfigError::Url { .. })));
    // No text turns a host into another port or path.
    for host in
        ["127.0.0.1/x", "127.0.0.1?", "127.0.0.1:8", "a@127.0.0.1", "127.0.0.1#", "local host", "[::1"]
    {
        let bound = EndpointMode::Local { port: 7, secure: false, host: Some(host.to_owned()) };
        assert!(matches!(why(bound), Unavailable::Config(ConfigError::Url { .. })), "{host}");
    }
}

/// Protocol 19.3.
#[test]
fn right_credential_the_environment_goes_before_the_settings_and_blank_is_none() {
    let secret = |text: &str| Secret::trimmed(text);
    let all = |name: &str| Some(format!("  {name}\n"));
    let of_environment = credentials(all, Some("token"), Some("password"));
    assert_eq!(of_environment.token, secret("OPENCLAW_GATEWAY_TOKEN"));
    assert_eq!(of_environment.password, secret("OPENCLAW_GATEWAY_PASSWORD"));

    let blank = |_: &str| Some(" \t ".to_owned());
    let of_settings = credentials(blank, Some(" token "), Some("password"));
    assert_eq!(
        of_settings,
        Credentials { token: secret("token"), password: secret("password"), ..Credentials::default() }
    );
    assert_eq!(credentials(blank, Some("  "), None), Credentials::default());

    // Each by itself: a token in the environment does not hide the password of the settings.
    let token_only = |name: &str| (name == "OPENCLAW_GATEWAY_TOKEN").then(|| "t".to_owned());
    let mixed = credentials(token_only, Some("x"), Some("p"));
    assert_eq!(mixed, Credentials { token: secret("t"), password: secret("p"), ..Credentials::default() });
}

#[tokio::test(start_paused = true)]
async fn snapshot_first_subscribers_get_the_present_state_and_then_changes_only() {
    let store = EndpointStore::new(&settings(EndpointMode::Unconfigured), |config| config);
    let mut early = store.subscribe();
    assert!(matches!(early.next().await, Some(EndpointState::Unavailable { .. })));
    assert!(!store.set(&settings(EndpointMode::Unconfigured)), "nothing changed");
    assert!(timeout(ms(1), early.next()).await.is_err(), "nothing is published");
    assert!(store.set(&settings(local(1))));
    assert!(!store.set(&settings(local(1))));
    assert!(!store.set(&settings(EndpointMode::Forwarded { port: Some(1) })), "it leads to the same config");
    let mut late = store.subscribe();
    assert_eq!(late.next().await, Some(ready("ws://127.0.0.1:1")));
    assert_eq!(early.next().await, Some(ready("ws://127.0.0.1:1")));

    // A slow reader sees the newest.
    for port in 2..10 {
        store.set(&settings(local(port)));
    }
    assert_eq!(early.next().await, Some(ready("ws://127.0.0.1:9")));
    drop(store);
    assert_eq!(early.next().await, None);
    assert_eq!(late.next().await, Some(ready("ws://127.0.0.1:9")), "the last state is not lost");
    assert_eq!(late.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn one_reconnect_per_change_the_client_follows_the_endpoint() {
    let rig = Rig::new(&[1, 2]);
    let client = Client::builder().seed(7).spawn(rig.clone()).unwrap();
    let store = Arc::new(EndpointStore::new(&EndpointSettings::default(), |config| config));
    tokio::spawn(follow(&client, Arc::clone(&store)).unwrap().run());
    client.connect();
    sleep(secs(1)).await;
    assert_eq!(client.status(), Status::NotConfigured);

    store.set(&settings(local(1)));
    sleep(secs(1)).await;
    assert_eq!((rig.count(1).live, rig.count(2).live), (1, 0));
    // The tunnel comes up, goes and comes back on its port.
    for (mode, live) in [
        (EndpointMode::Forwarded { port: None }, 0),
        (EndpointMode::Forwarded { port: Some(2) }, 1),
        (EndpointMode::Forwarded { port: None }, 0),
        (EndpointMode::Forwarded { port: Some(2) }, 1),
    ] {
        store.set(&settings(mode));
        sleep(secs(2)).await;
        assert_eq!((rig.count(1).live, rig.count(2).live), (0, live));
    }
    // Local again through a state that nobody sees.
    store.set(&settings(EndpointMode::Unconfigured));
    store.set(&settings(local(1)));
    sleep(secs(2)).await;
    assert_eq!((rig.count(1).ever, rig.count(2).ever, rig.count(2).live), (2, 2, 0));
}

#[test]
fn what_all_configs_have_in_common_is_added_to_each() {
    let info = ClientInfo { id: "openclaw-macos".to_owned(), ..ClientInfo::default() };
    let store = EndpointStore::new(&settings(local(1)), {
        let info = info.clone();
        move |config| config.client(info.clone())
    });
    assert_eq!(store.current(), EndpointState::Ready(Arc::new(config(1).client(info.clone()))));
    store.set(&settings(local(2)));
    assert_eq!(store.current(), EndpointState::Ready(Arc::new(config(2).client(info))));
}

#[test]
fn right_credential_a_state_shows_no_secret() {
    let store = EndpointStore::new(&settings(local(1)), |config| config);
    let shown = format!("{store:?} {:?} {:?}", store.current(), settings(local(1)));
    assert!(!shown.contains(TOKEN), "{shown}");
}
