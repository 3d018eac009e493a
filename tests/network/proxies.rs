//! Proxies: what is asked of them, and what is made of each answer.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onesocket::core::{Config, DialError, Endpoint, Proxy, ProxyProblem, SocksReply, Status};
use onesocket::hub::Hub;
use onesocket::net::{ProxyNetwork, TcpNetwork};
use onesocket::network::Network;
use onesocket_gateway::Peer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::servers::{gateway, tunnels};

/// Says these things in turn, each after it has been told what stands before it, and keeps the connection open.
#[derive(Clone)]
struct Scripted {
    lines: Arc<Vec<(Vec<u8>, Vec<u8>)>>,
    ends: bool,
    dialed: Arc<Mutex<Vec<String>>>,
}

fn scripted(lines: &[(&[u8], &[u8])]) -> Scripted {
    let lines = lines.iter().map(|(expected, answer)| (expected.to_vec(), answer.to_vec())).collect();
    Scripted { lines: Arc::new(lines), ends: false, dialed: Arc::default() }
}

impl Network for Scripted {
    type Stream = DuplexStream;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<DuplexStream> {
        self.dialed.lock().unwrap().push(endpoint.url());
        let (client, mut server) = duplex(64 * 1024);
        let (lines, ends) = (Arc::clone(&self.lines), self.ends);
        tokio::spawn(async move {
            for (expected, answer) in lines.iter() {
                let mut told = vec![0; expected.len()];
                server.read_exact(&mut told).await.expect("it is told as much");
                assert_eq!(String::from_utf8_lossy(&told), String::from_utf8_lossy(expected));
                // In pieces, as TCP may bring it.
                for piece in answer.chunks(3) {
                    server.write_all(piece).await.expect("it is read");
                }
            }
            if !ends {
                std::future::pending::<()>().await;
            }
        });
        Ok(client)
    }
}

async fn through(network: &Scripted, proxy: &str, url: &str) -> Result<DuplexStream, ProxyProblem> {
    let endpoint = Endpoint::parse(url).expect(url).through(Proxy::parse(proxy).expect(proxy));
    let network = ProxyNetwork::new(network.clone());
    network.connect_within(&endpoint, Duration::from_secs(5)).await.map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<DialError>()) {
            Some(DialError::Proxy { proxy, problem }) if !proxy.contains("s3cret") => problem.clone(),
            other => panic!("{other:?}"),
        }
    })
}

const ASKED: &[u8] = b"CONNECT gateway.local:18789 HTTP/1.1\r\nHost: gateway.local:18789\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn connect_is_asked_for_and_what_follows_is_the_gateways() {
    let network = scripted(&[(ASKED, b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nhello")]);
    let mut stream = through(&network, "http://proxy:3128", "ws://gateway.local").await.unwrap();
    let mut next = [0; 5];
    stream.read_exact(&mut next).await.unwrap();
    assert_eq!(&next, b"hello");
    assert_eq!(*network.dialed.lock().unwrap(), ["ws://proxy:3128/"]);

    let interim = scripted(&[(ASKED, b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.0 200 OK\r\n\r\n")]);
    assert!(through(&interim, "http://proxy", "ws://gateway.local").await.is_ok());

    let asked = b"CONNECT [fd00::1]:7 HTTP/1.1\r\nHost: [fd00::1]:7\r\n\
        Proxy-Authorization: Basic dXNlcjpzM2NyZXQ=\r\n\r\n";
    let network = scripted(&[(asked, b"HTTP/1.1 200 OK\r\n\r\n")]);
    assert!(through(&network, "http://user:s3cret@proxy", "ws://[fd00::1]:7").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn no_wedge_what_an_http_proxy_answers_is_told_as_its_doing() {
    let problem = async |answer: &[u8]| {
        through(&scripted(&[(ASKED, answer)]), "http://proxy", "ws://gateway.local").await.unwrap_err()
    };
    let wanted = ProxyProblem::Credentials { given: false };
    assert_eq!(problem(b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\n\r\n").await, wanted);
    assert_eq!(problem(b"HTTP/1.0 401 Unauthorized\r\n\r\n").await, wanted);
    assert_eq!(problem(b"HTTP/1.1 403 Filtered\r\n\r\n").await, ProxyProblem::Forbidden);
    for (status, reason) in
        [(502, "Bad Gateway"), (503, "Unavailable"), (504, ""), (302, "Found"), (404, "No")]
    {
        let answer = format!("HTTP/1.1 {status} {reason}\r\nContent-Length: 2\r\n\r\nno");
        let expected = ProxyProblem::Http { status, reason: reason.into(), retry_after: None };
        assert_eq!(problem(answer.as_bytes()).await, expected);
    }
    let later = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n";
    assert_eq!(problem(later).await.retry_after(), Some(Duration::from_secs(7)));
    // Lines may end as they do in Unix.
    assert_eq!(problem(b"HTTP/1.1 403 No\nVia: x\n\n").await, ProxyProblem::Forbidden);
    assert_eq!(problem(b"SSH-2.0-x\r\n").await, ProxyProblem::OtherProtocol);
    assert_eq!(problem(b"HTTP/1.1 nonsense\r\n\r\n").await, ProxyProblem::OtherProtocol);
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'x'; 20_000]].concat();
    assert_eq!(problem(&endless).await, ProxyProblem::OtherProtocol);
    assert_eq!(problem(b"").await, ProxyProblem::Silent);
    assert_eq!(problem(b"HTTP/1.1 200 OK\r\n").await, ProxyProblem::Silent);
    let ends = Scripted { ends: true, ..scripted(&[(ASKED, b"HTTP/1.1 20")]) };
    assert_eq!(through(&ends, "http://proxy", "ws://gateway.local").await.unwrap_err(), ProxyProblem::Ended);
}

/// Version, method, the name with its length, and the port 18789.
const SOCKS_NAME: &[u8] = b"\x05\x01\x00\x03\x0dgateway.local\x49\x65";
const SOCKS_DONE: &[u8] = b"\x05\x00\x00\x01\x0a\x00\x00\x01\x00\x50";

#[tokio::test(start_paused = true)]
async fn socks_is_told_the_name_or_the_address() {
    let plain = scripted(&[(b"\x05\x01\x00", b"\x05\x00"), (SOCKS_NAME, &[SOCKS_DONE, b"hello"].concat())]);
    let mut stream = through(&plain, "socks5h://proxy", "ws://gateway.local").await.unwrap();
    let mut next = [0; 5];
    stream.read_exact(&mut next).await.unwrap();
    assert_eq!(&next, b"hello");
    assert_eq!(*plain.dialed.lock().unwrap(), ["ws://proxy:1080/"]);

    let v4 = b"\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x07";
    let bound_name = b"\x05\x00\x00\x03\x03abc\x00\x50";
    let network = scripted(&[(b"\x05\x01\x00", b"\x05\x00"), (v4, bound_name)]);
    assert!(through(&network, "socks5://proxy", "ws://10.0.0.1:7").await.is_ok());

    let v6 = b"\x05\x01\x00\x04\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x07";
    let bound_v6 = [b"\x05\x00\x00\x04".as_slice(), &[0; 18]].concat();
    let network = scripted(&[
        (b"\x05\x02\x00\x02", b"\x05\x02"),
        (b"\x01\x04user\x06s3cret", b"\x01\x00"),
        (v6, &bound_v6),
    ]);
    assert!(through(&network, "socks5://user:s3cret@proxy", "ws://[fd00::1]:7").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn no_wedge_what_a_socks_proxy_answers_is_told_as_its_doing() {
    let reply = async |reply: u8| {
        let answer = [5, reply, 0, 1, 0, 0, 0, 0, 0, 0];
        let network = scripted(&[(b"\x05\x01\x00", b"\x05\x00"), (SOCKS_NAME, &answer)]);
        through(&network, "socks5://proxy", "ws://gateway.local").await.unwrap_err()
    };
    assert_eq!(reply(2).await, ProxyProblem::Forbidden);
    let named = [
        (1, SocksReply::General),
        (3, SocksReply::NetworkUnreachable),
        (4, SocksReply::HostUnreachable),
        (5, SocksReply::Refused),
        (6, SocksReply::Expired),
        (7, SocksReply::CommandUnsupported),
        (8, SocksReply::AddressUnsupported),
        (0xff, SocksReply::Other(0xff)),
    ];
    for (code, expected) in named {
        assert_eq!(reply(code).await, ProxyProblem::Socks(expected));
    }

    let greeting = async |proxy: &str, lines: &[(&[u8], &[u8])], ends: bool| {
        let network = Scripted { ends, ..scripted(lines) };
        through(&network, proxy, "ws://gateway.local").await.unwrap_err()
    };
    let (open, secret) = ("socks5://proxy", "socks5://user:s3cret@proxy");
    let hello: &[u8] = b"\x05\x02\x00\x02";
    let login: &[u8] = b"\x01\x04user\x06s3cret";
    let refused = |given| ProxyProblem::Credentials { given };
    assert_eq!(greeting(open, &[(b"\x05\x01\x00", b"\x05\xff")], false).await, refused(false));
    assert_eq!(greeting(secret, &[(hello, b"\x05\xff")], false).await, refused(true));
    assert_eq!(greeting(secret, &[(hello, b"\x05\x02"), (login, b"\x01\x01")], false).await, refused(true));
    assert_eq!(greeting(secret, &[(hello, b"\x05\x02"), (login, b"")], true).await, refused(true));
    assert_eq!(greeting(open, &[(b"\x05\x01\x00", b"\x05\x02")], false).await, ProxyProblem::OtherProtocol);
    assert_eq!(
        greeting(open, &[(b"\x05\x01\x00", b"HTTP/1.1 400")], false).await,
        ProxyProblem::OtherProtocol
    );
    assert_eq!(greeting(open, &[(b"\x05\x01\x00", b"\x05")], false).await, ProxyProblem::Silent);
    assert_eq!(greeting(open, &[(b"\x05\x01\x00", b"\x05")], true).await, ProxyProblem::Ended);
}

/// No part of a TLS proxy works without TLS below, and a zone is nothing to a proxy.
#[tokio::test]
async fn no_storm_what_no_proxy_can_reach_pauses() {
    let unsupported = async |proxy: &str, url: &str| {
        let endpoint = Endpoint::parse(url).unwrap().through(Proxy::parse(proxy).unwrap());
        let error = ProxyNetwork::new(TcpNetwork).connect(&endpoint).await.unwrap_err();
        error.get_ref().and_then(|inner| inner.downcast_ref::<DialError>()).cloned()
    };
    let below = unsupported("https://127.0.0.1", "ws://gateway.local").await;
    let Some(DialError::Proxy { problem, .. }) = below else { panic!("{below:?}") };
    assert!(problem.is_permanent(), "{problem}");
    let zoned = unsupported("http://127.0.0.1", "ws://[fe80::1%25eth0]").await;
    assert!(matches!(zoned, Some(DialError::Unsupported(_))), "{zoned:?}");
    // A network without proxies does not go past one.
    let endpoint =
        Endpoint::parse("ws://127.0.0.1:1").unwrap().through(Proxy::parse("http://127.0.0.1").unwrap());
    let error = TcpNetwork.connect(&endpoint).await.unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<DialError>());
    assert!(matches!(inner, Some(DialError::Unsupported(_))), "{error}");
}

#[tokio::test]
async fn one_socket_a_hub_goes_through_a_proxy() {
    let (port, asked) = tunnels(gateway(Peer::REMOTE).await, "HTTP/1.1 200 OK\r\n\r\n").await;
    let config = || {
        let proxy = Proxy::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        Config::new("ws://gateway.local").unwrap().token("test-token").proxy(proxy).unwrap()
    };
    let hub = Hub::new(ProxyNetwork::new(TcpNetwork));
    let (one, other) = (hub.client(config()).unwrap(), hub.client(config()).unwrap());
    for client in [&one, &other] {
        client.ready().await.unwrap();
        assert!(matches!(client.status(), Status::Ready { .. }));
    }
    assert_eq!(*asked.lock().unwrap(), ["CONNECT gateway.local:18789 HTTP/1.1"], "one socket for both");
}
