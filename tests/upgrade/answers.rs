//! Answers that open a websocket, break its rules, or are no HTTP at all.

use std::sync::Arc;
use std::time::Duration;

use onesocket::Client;
use onesocket::core::{DialError, Options, PauseReason, PeerProtocol, PeerText, Status, UpgradeFault};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::rig::{
    ACCEPT, Stubborn, UPGRADE, acceptance, config, dial_error, first, first_status, paused, retried,
};

/// RFC 6455, 4.1: tokens in a list, in any case; and interim answers of HTTP before.
#[tokio::test(start_paused = true)]
async fn no_wedge_an_upgrade_is_read_however_it_is_written() {
    let many: String = (0..300).map(|number| format!("X-{number}: {number}\r\n")).collect();
    for answer in [
        acceptance(UPGRADE),
        acceptance("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"),
        acceptance("Connection: keep-alive\r\nUPGRADE: websocket\r\nconnection: upgrade\r\n"),
        format!("HTTP/1.1 100 Continue\r\n\r\n{}", acceptance(UPGRADE)),
        format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102\r\n\r\n{}", acceptance(UPGRADE)),
        acceptance(&format!("{many}{UPGRADE}")),
    ] {
        for piece in [usize::MAX, 1, 13] {
            let network = Stubborn::new(answer.clone()).in_pieces(piece, Duration::ZERO);
            let status = first(&network).await;
            assert!(
                matches!(status, Status::Handshaking { .. }),
                "{answer:?} in pieces of {piece}: {status:?}"
            );
        }
    }
}

/// The gateway speaks first, and what it says may come with the answer.
#[tokio::test(start_paused = true)]
async fn no_wedge_a_challenge_in_the_segment_of_the_answer_is_not_lost() {
    let challenge = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#;
    let header = [0x81, u8::try_from(challenge.len()).expect("it is short")];
    assert!(challenge.len() < 126, "its length fits one byte");
    let answer = [acceptance(UPGRADE).as_bytes(), &header, challenge.as_bytes()].concat();
    for piece in [usize::MAX, 1, answer.len() - 3] {
        let network = Stubborn::new(answer.clone()).in_pieces(piece, Duration::from_millis(1));
        let client =
            Client::builder().config(config("ws://127.0.0.1:1")).seed(7).spawn(network.clone()).unwrap();
        client.connect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let heard = network.heard.lock().unwrap().len();
        assert!(heard > 100, "in pieces of {piece}: {heard} bytes of a connect request");
        client.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_wedge_an_upgrade_that_breaks_the_rules_is_a_failed_dial() {
    for (answer, fault) in [
        (acceptance("Connection: Upgrade\r\n"), UpgradeFault::NotWebSocket),
        (acceptance("Upgrade: websocket\r\nConnection: close\r\n"), UpgradeFault::NoConnectionUpgrade),
        (acceptance(UPGRADE).replace(ACCEPT, "x"), UpgradeFault::AcceptMismatch),
        (acceptance(&format!("{UPGRADE}Sec-WebSocket-Protocol: mqtt\r\n")), UpgradeFault::UnaskedSubprotocol),
        (
            acceptance(&format!("{UPGRADE}Sec-WebSocket-Extensions: permessage-deflate\r\n")),
            UpgradeFault::UnaskedExtension,
        ),
        (acceptance(UPGRADE).replace("HTTP/1.1", "HTTP/1.0"), UpgradeFault::OldHttp),
    ] {
        assert_eq!(retried(&Stubborn::new(answer)).await, DialError::Handshake(fault));
    }
    for answer in ["HTTP/3.0 101 Yes\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/nonsense\r\n\r\n"] {
        let error = retried(&Stubborn::new(answer)).await;
        assert!(matches!(error, DialError::Handshake(UpgradeFault::Malformed(_))), "{answer:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_storm_a_port_of_another_protocol_is_named() {
    for (answer, protocol, advice) in [
        (&b"\x15\x03\x01\x00\x02\x02\x46"[..], PeerProtocol::Tls, "speaks TLS, use wss://"),
        (b"\x15\x03\x03\x00\x02\x01\x00", PeerProtocol::Tls, "speaks TLS, use wss://"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", PeerProtocol::Ssh, "speaks SSH, not HTTP"),
        (b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80", PeerProtocol::Http2, "HTTP/2 only"),
        (b"220 mail.example ESMTP Postfix\r\n", PeerProtocol::SmtpOrFtp, "not HTTP"),
        (b"220 mail.example ESMTP\r\n\r\n", PeerProtocol::SmtpOrFtp, "not HTTP"),
        (b"220-Welcome\r\n", PeerProtocol::SmtpOrFtp, "not HTTP"),
        (b"+OK POP3 ready\r\n", PeerProtocol::Pop3, "not HTTP"),
        (b"* OK IMAP4rev1\r\n", PeerProtocol::Imap, "not HTTP"),
        (b"-ERR wrong number of arguments for 'get' command\r\n", PeerProtocol::Redis, "not HTTP"),
        (b"\x4a\0\0\0\x0a8.0.36\0", PeerProtocol::MySql, "not HTTP"),
        (b"AMQP\0\0\x09\x01", PeerProtocol::Amqp, "not HTTP"),
        (b"RFB 003.008\n", PeerProtocol::Vnc, "not HTTP"),
    ] {
        for piece in [usize::MAX, 1] {
            for ends in [false, true] {
                let mut network = Stubborn::new(answer).in_pieces(piece, Duration::from_millis(10));
                network.ends = ends;
                let reason = paused(&network).await;
                assert_eq!(reason, PauseReason::Endpoint(DialError::OtherProtocol(protocol)), "{answer:?}");
                assert!(reason.to_string().contains(advice), "{reason}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_wedge_an_answer_that_is_nothing_known_shows_how_it_begins() {
    let network = Stubborn::new("hello, \x1b[31mworld").that_ends();
    let error = retried(&network).await;
    assert_eq!(error, DialError::NotHttp { start: PeerText::from("hello, \u{1b}[31mworld") });
    assert!(error.to_string().contains(r#"begins with "hello, \u{1b}[31mworld""#), "{error}");
    let lines = retried(&Stubborn::new("ICY 200 OK\r\n\r\n")).await;
    assert_eq!(lines, DialError::NotHttp { start: PeerText::from("ICY 200 OK\r\n") });
    // A peer that says a little and waits is not waited for until the dial is over.
    let (status, taken) =
        first_status(&Stubborn::new("?"), config("ws://127.0.0.1:1"), Options::default()).await;
    assert!(matches!(status, Status::Backoff { .. }), "{status:?}");
    assert!(taken < Duration::from_millis(1_500), "{taken:?}");

    let silent = retried(&Stubborn::new("").that_ends()).await;
    assert_eq!(silent, DialError::Unanswered);
    assert!(silent.to_string().contains("wss://"), "{silent}");
    let broken = retried(&Stubborn::new("HTTP/1.1 101 Swi").that_ends()).await;
    assert_eq!(broken, DialError::Reset);
    let secure = config("wss://gateway.example");
    let (status, _) = first_status(&Stubborn::new("").that_ends(), secure, Options::default()).await;
    let Status::Backoff { cause, .. } = status else { panic!("{status:?}") };
    assert_eq!(dial_error(&cause), DialError::Reset, "wss:// is in use already");
}

#[tokio::test(start_paused = true)]
async fn no_wedge_a_head_without_an_end_is_left_at_its_limit() {
    let limit = Options::default().max_upgrade_bytes;
    let padding = limit - acceptance(&format!("{UPGRADE}X: \r\n")).len() - 28 + ACCEPT.len();
    let longest = acceptance(&format!("{UPGRADE}X: {}\r\n", "x".repeat(padding)));
    for piece in [usize::MAX, 1] {
        let network = Stubborn::new(longest.clone()).in_pieces(piece, Duration::ZERO);
        assert!(matches!(first(&network).await, Status::Handshaking { .. }), "it is as long as it may be");
    }
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    for answer in [
        longest.replace("X: ", "X: x"),
        format!("{interim}{longest}"),
        format!("HTTP/1.1 101 {}", "x".repeat(100_000)),
        format!("HTTP/1.1 101 Yes\r\nX: {}", "x".repeat(100_000)),
        "HTTP/1.1 101 Yes\r\n".to_owned() + &"X: y\r\n".repeat(20_000),
        interim.repeat(10_000),
        "\r\n".repeat(50_000),
    ] {
        for piece in [usize::MAX, 1_000] {
            let error = retried(&Stubborn::new(answer.clone()).in_pieces(piece, Duration::ZERO)).await;
            assert_eq!(error, DialError::UpgradeTooLong { limit }, "{:?}", &answer[..50]);
        }
    }
    let error = DialError::UpgradeTooLong { limit }.to_string();
    assert!(error.contains("16384 bytes") && error.contains("max_upgrade_bytes"), "{error}");

    let mut options = Options::default();
    options.max_upgrade_bytes = 50;
    let (status, _) =
        first_status(&Stubborn::new(longest), config("ws://127.0.0.1:1"), options.clone()).await;
    let Status::Backoff { cause, .. } = status else { panic!("{status:?}") };
    assert_eq!(dial_error(&cause), DialError::UpgradeTooLong { limit: 50 });
    options.max_upgrade_bytes = 0;
    assert!(options.validate().is_err());
}

/// Servers that expect TLS take the request for a broken record. Some say so (rustls), some end the connection (Node.js), and
/// some do not even read what has come (OpenSSL in Python), which resets it.
#[tokio::test]
async fn no_wedge_a_port_that_speaks_tls_is_told_as_far_as_it_shows() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = versions.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let serve = async move {
        let (stream, _) = listener.accept().await.unwrap();
        let failed = acceptor.accept(stream).await.map(drop);
        assert!(failed.is_err(), "a request is no record");
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'G', "the request has come");
        stream.set_zero_linger().unwrap();
        drop(stream);
        // A port that is closed from here on would be another failure.
        std::future::pending::<()>().await;
    };
    let serving = tokio::spawn(serve);
    let network = onesocket::net::TcpNetwork;
    let (status, _) = first_status(&network, config(&url), Options::default()).await;
    let Status::Paused(reason) = status else { panic!("{status:?}") };
    assert_eq!(*reason, PauseReason::Endpoint(DialError::OtherProtocol(PeerProtocol::Tls)));
    let (status, _) = first_status(&network, config(&url), Options::default()).await;
    let Status::Backoff { cause, .. } = status else { panic!("{status:?}") };
    assert_eq!(dial_error(&cause), DialError::Unanswered);
    serving.abort();
}
