//! Pins: of certificates and keys, one and several, alone and beside the trust of the system.

use onesocket::Hub;
use onesocket::core::{
    CertificatePin, CertificateProblem, Config, ConfigError, ConnectionError, DialError, Endpoint, Pin,
    PinPolicy, Pins, Push,
};
use onesocket::net::TlsNetwork;
use onesocket::net::tls::public_key_pin;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::identity::{Authority, Identity, params};
use crate::site::{NAME, Site, attempt, client, config, first_failure, secs};

fn pinned(pins: impl Into<Pins>) -> Config {
    config().pin(pins).unwrap()
}

fn both(one: impl Into<Pin>, other: impl Into<Pin>) -> Pins {
    Pins::new([one.into(), other.into()]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_pinned_gateway_is_talked_to_however_little_else_vouches_for_it() {
    // Neither the authority nor the name of the certificate is any good.
    let identity = Identity::new("somebody.else");
    let site = Site::new(&identity);
    for pins in [Pins::from(identity.pin()), identity.key_pin().into()] {
        let client = client(TlsNetwork::new(site.clone()), pinned(pins));
        client.ready().await.unwrap();
        let big = json!("x".repeat(300_000));
        let answer = client.request("test.echo", &big).await.unwrap();
        assert_eq!(answer.payload.decode::<serde_json::Value>().unwrap(), big);
        assert_eq!(site.link.open_streams(), 1);
        client.shutdown().await;
        sleep(secs(1)).await;
        assert_eq!((site.link.open_streams(), site.link.gateway_streams()), (0, 0));
    }
    assert_eq!(site.accepted(), 2);
}

#[test]
fn the_pin_of_a_key_is_read_from_its_certificate() {
    let identity = Identity::new(NAME);
    assert_eq!(public_key_pin(&identity.chain[0]), Some(identity.key_pin()));
    assert_eq!(public_key_pin(b"no certificate"), None);
    let cut = &identity.chain[0][..identity.chain[0].len() - 1];
    assert_eq!(public_key_pin(cut), None);
}

/// The gateway offers to resume its sessions, and a resumed one would present no certificate.
#[tokio::test(start_paused = true)]
async fn right_credential_the_pin_is_checked_each_time() {
    let root = Authority::root("root");
    let (identity, other) = (root.issue(&params(NAME)), root.issue(&params(NAME)));
    let pins = Pins::from(identity.pin());
    for policy in [PinPolicy::Alone, PinPolicy::AndSystem] {
        let site = Site::new(&identity);
        let network = TlsNetwork::with_roots(site.clone(), root.roots()).unwrap();
        let config = pinned(pins.clone().with_policy(policy));
        for _ in 0..2 {
            assert_eq!(attempt(network.clone(), config.clone()).await, Ok(()));
        }
        site.presents(&other);
        let mismatch = other.refused_for(CertificateProblem::PinMismatch);
        assert_eq!(attempt(network, config).await, Err(mismatch));
    }
}

/// Protocol 18.2: with another certificate no byte of HTTP leaves, and it is tried again.
#[tokio::test(start_paused = true)]
async fn right_credential_nothing_is_sent_to_another_certificate() {
    let (identity, other) = (Identity::new(NAME), Identity::new(NAME));
    let site = Site::new(&other);
    // Not even if an authority vouches for it: only the pin counts.
    let network = TlsNetwork::with_roots(site.clone(), other.roots()).unwrap();
    let client = client(network, pinned(identity.pin()));
    let mut pushes = client.subscribe().unwrap();
    let mismatch = other.refused_for(CertificateProblem::PinMismatch);
    assert_eq!(first_failure(&client).await, ConnectionError::Dial(mismatch.clone()));
    let said = mismatch.to_string();
    for word in [other.pin().to_string(), other.key_pin().to_string(), "is not the pinned one".to_owned()] {
        assert!(said.contains(&word), "{said}");
    }
    sleep(secs(600)).await;
    site.assert_untouched();
    let tries = site.refusals().len();
    assert!((15..40).contains(&tries), "{tries} tries in ten minutes");

    // The right certificate is back, and so is the connection.
    site.presents(&identity);
    timeout(secs(60), client.ready()).await.unwrap().unwrap();
    assert!(matches!(pushes.next().await, Some(Push::Snapshot(_))));
    client.shutdown().await;
}

/// A certificate that is renewed under its key, and one under another key for the same name.
#[tokio::test(start_paused = true)]
async fn a_key_outlives_its_certificate_and_nothing_outlives_its_key() {
    let first = Identity::new(NAME);
    let (renewed, other) = (first.renewed(NAME), Identity::new(NAME));
    let site = Site::new(&first);
    let network = TlsNetwork::new(site.clone());
    let mismatch = |presented: &Identity| Err(presented.refused_for(CertificateProblem::PinMismatch));
    for (presented, by_certificate, by_key) in [
        (&first, Ok(()), Ok(())),
        (&renewed, mismatch(&renewed), Ok(())),
        (&other, mismatch(&other), mismatch(&other)),
    ] {
        site.presents(presented);
        assert_eq!(attempt(network.clone(), pinned(first.pin())).await, by_certificate);
        assert_eq!(attempt(network.clone(), pinned(first.key_pin())).await, by_key);
    }
}

/// A set holds the next pin before the gateway has it: the renewal is not noticed.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_was_announced_goes_unnoticed() {
    let (old, new, other) = (Identity::new(NAME), Identity::new(NAME), Identity::new(NAME));
    for (one, next) in [
        (Pin::from(old.pin()), Pin::from(new.pin())),
        (old.key_pin().into(), new.key_pin().into()),
        (old.pin().into(), new.key_pin().into()),
    ] {
        let site = Site::new(&old);
        let client = client(TlsNetwork::new(site.clone()), pinned(both(next, one)));
        client.ready().await.unwrap();
        site.presents(&new);
        site.link.reset_all();
        let mut statuses = client.watch_status();
        statuses.wait_for(|status| !matches!(status, onesocket::core::Status::Ready { .. })).await.unwrap();
        timeout(secs(60), client.ready()).await.unwrap().unwrap();
        assert_eq!((site.accepted(), site.refusals()), (2, vec![]));
        client.shutdown().await;
        site.presents(&other);
        let refused = attempt(TlsNetwork::new(site), pinned(both(one, next))).await;
        assert_eq!(refused, Err(other.refused_for(CertificateProblem::PinMismatch)));
    }
}

/// The flow of trust on first use: the error names what was presented, the user agrees, the pin is configured.
#[tokio::test(start_paused = true)]
async fn a_gateway_is_pinned_at_first_contact() {
    let (identity, trusted) = (Identity::new(NAME), Authority::root("another"));
    let site = Site::new(&identity);
    let network = TlsNetwork::with_roots(site.clone(), trusted.roots()).unwrap();
    let client = client(network, config());
    let ConnectionError::Dial(DialError::Certificate { presented, reason }) = first_failure(&client).await
    else {
        panic!("the certificate is at fault")
    };
    assert_eq!(reason, CertificateProblem::UnknownIssuer);
    assert!(presented.is_self_issued);
    assert_eq!(&*presented.der, &*identity.chain[0]);
    site.assert_untouched();

    let pin = presented.public_key.unwrap();
    assert_eq!(pin.to_string().parse(), Ok(Pin::from(identity.key_pin())));
    client.configure(Some(pinned(pin))).await.unwrap();
    timeout(secs(60), client.ready()).await.unwrap().unwrap();
    assert_eq!(site.accepted(), 1);
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn right_credential_a_pin_beside_the_systems_trust_needs_both() {
    let (root, elsewhere) = (Authority::root("root"), Authority::root("elsewhere"));
    let identity = root.issue(&params(NAME));
    let mut past = params(NAME);
    past.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let (expired, misnamed) = (root.issue(&past), root.issue(&params("somebody.else")));
    let (unknown, other) = (elsewhere.issue(&params(NAME)), root.issue(&params(NAME)));
    let at = |identity: &Identity, pin: Pin| {
        let network = TlsNetwork::with_roots(Site::new(identity), root.roots()).unwrap();
        attempt(network, pinned(Pins::from(pin).with_policy(PinPolicy::AndSystem)))
    };
    for pin in [Pin::from(identity.pin()), identity.key_pin().into()] {
        assert_eq!(at(&identity, pin).await, Ok(()));
        assert_eq!(at(&other, pin).await, Err(other.refused_for(CertificateProblem::PinMismatch)));
    }
    let not_after = Some(onesocket::core::UnixTime(1_577_836_800));
    let expiry = expired.refused_for(CertificateProblem::Expired { not_after });
    assert_eq!(at(&expired, expired.pin().into()).await, Err(expiry));
    let names = vec!["somebody.else".into()];
    let wrong = misnamed.refused_for(CertificateProblem::NotForName { names });
    assert_eq!(at(&misnamed, misnamed.key_pin().into()).await, Err(wrong));
    let untrusted = unknown.refused_for(CertificateProblem::UnknownIssuer);
    assert_eq!(at(&unknown, unknown.pin().into()).await, Err(untrusted));
}

/// An authority that is pinned must have signed the certificate, and not only be presented beside it.
#[tokio::test(start_paused = true)]
async fn right_credential_a_pinned_authority_is_above_the_certificate() {
    let root = Authority::root("root");
    let (between, beside) = (root.below("between"), root.below("beside"));
    let lower = between.below("lower");
    let identity = lower.issue(&params(NAME));
    assert_eq!(identity.chain.len(), 3);
    // Another customer of the same root, who shows a pinned certificate that has nothing to do with theirs.
    let mut impostor = beside.issue(&params(NAME));
    impostor.chain.extend([
        lower.certificate().clone(),
        between.certificate().clone(),
        identity.chain[0].clone(),
    ]);
    let mismatch = Err(impostor.refused_for(CertificateProblem::PinMismatch));
    for pin in [
        Pin::from(lower.pin()),
        lower.key_pin().into(),
        between.pin().into(),
        between.key_pin().into(),
        identity.pin().into(),
    ] {
        let config = pinned(Pins::from(pin).with_policy(PinPolicy::AndSystem));
        let network = TlsNetwork::with_roots(Site::new(&identity), root.roots()).unwrap();
        assert_eq!(attempt(network, config.clone()).await, Ok(()), "{pin}");
        let network = TlsNetwork::with_roots(Site::new(&impostor), root.roots()).unwrap();
        assert_eq!(attempt(network, config).await, mismatch, "{pin}");
    }
    // Alone, a pin is the gateway's own: nobody has verified what is above it.
    let network = TlsNetwork::with_roots(Site::new(&identity), root.roots()).unwrap();
    let alone = attempt(network, pinned(lower.pin())).await;
    assert_eq!(alone, Err(identity.refused_for(CertificateProblem::PinMismatch)));
}

#[tokio::test(start_paused = true)]
async fn a_pin_or_the_systems_trust_is_enough_where_either_is() {
    let root = Authority::root("root");
    let (trusted, own) = (root.issue(&params(NAME)), Identity::new("somebody.else"));
    let other = Identity::new(NAME);
    let config = pinned(Pins::from(own.pin()).with_policy(PinPolicy::OrSystem));
    let unknown = other.refused_for(CertificateProblem::UnknownIssuer);
    for (presented, outcome) in [(&trusted, Ok(())), (&own, Ok(())), (&other, Err(unknown))] {
        let network = TlsNetwork::with_roots(Site::new(presented), root.roots()).unwrap();
        assert_eq!(attempt(network, config.clone()).await, outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn one_socket_configs_with_different_pins_share_nothing() {
    let (identity, other) = (Identity::new(NAME), Identity::new(NAME));
    let site = Site::new(&identity);
    let hub = Hub::new(TlsNetwork::new(site.clone()));
    let right = hub.client(pinned(identity.pin())).unwrap();
    let wrong = hub.client(pinned(other.pin())).unwrap();
    right.ready().await.unwrap();
    first_failure(&wrong).await;
    assert_eq!((hub.len(), site.accepted()), (2, 1));
    // The same set in another order is the same config.
    let one = hub.client(pinned(both(identity.pin(), other.pin()))).unwrap();
    one.ready().await.unwrap();
    hub.client(pinned(both(other.pin(), identity.pin()))).unwrap().ready().await.unwrap();
    assert_eq!((hub.len(), site.accepted()), (3, 2));
    hub.shutdown().await;
}

#[test]
fn a_pin_needs_tls() {
    let pin = CertificatePin::of_der(b"certificate");
    let plain = Config::new("ws://127.0.0.1:1").unwrap();
    assert_eq!(plain.pin(pin).unwrap_err(), ConfigError::PinWithoutTls);
    let endpoint = Endpoint::parse("wss://x").unwrap().pinned(pin).unwrap();
    assert_eq!(endpoint.pins(), Some(&Pins::from(pin)));
}
