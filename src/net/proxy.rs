//! Through a proxy to the gateway, on top of any network.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use secrecy::zeroize::Zeroizing;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::core::{DialError, Endpoint, Proxy, ProxyProblem, ProxyProtocol, SocksReply};
use crate::driver::upgrade::head::{self, Head};
use crate::driver::upgrade::retry_after;
use crate::network::{Network, connect_until, dial_error};

/// Another network, where endpoints with a [proxy](Endpoint::proxy) are reached through that. Others pass through
/// untouched.
///
/// TLS goes on top, so that the proxy cannot read what it carries: `TlsNetwork::new(ProxyNetwork::new(TcpNetwork))`. For
/// proxies that themselves speak TLS, it goes below as well: `ProxyNetwork::new(TlsNetwork::new(TcpNetwork))`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProxyNetwork<N> {
    network: N,
}

impl<N> ProxyNetwork<N> {
    /// Reaches proxies over `network`.
    #[must_use]
    pub fn new(network: N) -> Self {
        Self { network }
    }
}

impl<N: Network> ProxyNetwork<N> {
    async fn dial(
        &self,
        endpoint: &Endpoint,
        proxy: &Proxy,
        deadline: Option<Instant>,
    ) -> Result<N::Stream, ProxyProblem> {
        let connected = connect_until(&self.network, &proxy.endpoint(), deadline).await;
        let mut stream =
            connected.map_err(|error| ProxyProblem::Unreachable(Box::new(dial_error(&error))))?;
        let asked = async {
            match proxy.protocol() {
                ProxyProtocol::Http | ProxyProtocol::Https => {
                    http_connect(&mut stream, endpoint, proxy).await
                }
                ProxyProtocol::Socks5 => socks5(&mut stream, endpoint, proxy).await,
            }
        };
        match deadline {
            Some(deadline) => timeout_at(deadline, asked).await.unwrap_or(Err(ProxyProblem::Silent))?,
            None => asked.await?,
        }
        Ok(stream)
    }

    async fn connect_until(&self, endpoint: &Endpoint, deadline: Option<Instant>) -> io::Result<N::Stream> {
        let Some(proxy) = endpoint.proxy() else {
            return connect_until(&self.network, endpoint, deadline).await;
        };
        if let Some(zone) = endpoint.zone() {
            let why = format!("the zone {zone:?} is one of this machine and means nothing to a proxy");
            return Err(io::Error::other(DialError::Unsupported(why.into())));
        }
        let failed = |problem| io::Error::other(DialError::Proxy { proxy: proxy.to_string(), problem });
        self.dial(endpoint, proxy, deadline).await.map_err(failed)
    }
}

impl<N: Network> Network for ProxyNetwork<N> {
    type Stream = N::Stream;

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<N::Stream> {
        self.connect_until(endpoint, None).await
    }

    async fn connect_within(&self, endpoint: &Endpoint, limit: Duration) -> io::Result<N::Stream> {
        self.connect_until(endpoint, Instant::now().checked_add(limit)).await
    }

    fn bytes_arrived(stream: &N::Stream) -> Option<u64> {
        N::bytes_arrived(stream)
    }
}

/// The longest head of an answer to `CONNECT`.
const HEAD_BYTES: usize = 16 * 1024;

/// `CONNECT` (RFC 9110, 9.3.6).
async fn http_connect<S>(stream: &mut S, endpoint: &Endpoint, proxy: &Proxy) -> Result<(), ProxyProblem>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let target = endpoint.host_and_port();
    let request_line = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    let credentials = proxy.credentials().map(|(user, password)| {
        let pair = Zeroizing::new(format!("{user}:{password}"));
        Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()))
    });
    let authorization =
        credentials.as_ref().map_or(["", "", ""], |encoded| ["Proxy-Authorization: Basic ", encoded, "\r\n"]);
    // Made in one piece: a text that grows leaves copies behind.
    let request = Zeroizing::new([&[request_line.as_str()], &authorization[..], &["\r\n"]].concat().concat());
    send(stream, request.as_bytes()).await?;
    loop {
        let head = read_head(stream).await?;
        return match head.status {
            100..200 => continue,
            200..300 => Ok(()),
            // Some say 401 for credentials that they refuse, as if they were the server.
            401 | 407 => Err(ProxyProblem::Credentials { given: proxy.credentials().is_some() }),
            403 => Err(ProxyProblem::Forbidden),
            status => {
                let retry_after = retry_after(&head);
                Err(ProxyProblem::Http { status, reason: head.reason.into(), retry_after })
            }
        };
    }
}

/// To the end of the empty line and no further: what follows is the gateway's.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Head, ProxyProblem> {
    let mut bytes = Vec::with_capacity(256);
    while head::end(&bytes, bytes.len().saturating_sub(1)).is_none() {
        if bytes.len() >= HEAD_BYTES || !head::may_be_http(&bytes) {
            return Err(ProxyProblem::OtherProtocol);
        }
        bytes.push(stream.read_u8().await.map_err(|error| broken(&error))?);
    }
    Head::parse(&bytes).map_err(|_| ProxyProblem::OtherProtocol)
}

const VERSION: u8 = 5;
const NO_CREDENTIALS: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;

/// SOCKS version 5 (RFC 1928, RFC 1929).
async fn socks5<S>(stream: &mut S, endpoint: &Endpoint, proxy: &Proxy) -> Result<(), ProxyProblem>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let credentials = proxy.credentials();
    let methods: &[u8] = match credentials {
        Some(_) => &[VERSION, 2, NO_CREDENTIALS, USER_AND_PASSWORD],
        None => &[VERSION, 1, NO_CREDENTIALS],
    };
    send(stream, methods).await?;
    match (receive::<2, S>(stream).await?, credentials) {
        ([VERSION, NO_CREDENTIALS], _) => {}
        ([VERSION, USER_AND_PASSWORD], Some((user, password))) => {
            authenticate(stream, user, password).await?;
        }
        ([VERSION, 0xff], _) => return Err(ProxyProblem::Credentials { given: credentials.is_some() }),
        _ => return Err(ProxyProblem::OtherProtocol),
    }
    send(stream, &connect_request(endpoint)).await?;
    let [version, reply, _, kind] = receive(stream).await?;
    if version != VERSION {
        return Err(ProxyProblem::OtherProtocol);
    }
    refusal(reply)?;
    // The address that the proxy connects from; nobody here needs it, but what follows is the gateway's.
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await.map_err(|error| broken(&error))?),
        _ => return Err(ProxyProblem::OtherProtocol),
    };
    let mut bound = vec![0; length + 2];
    stream.read_exact(&mut bound).await.map_err(|error| broken(&error))?;
    Ok(())
}

async fn authenticate<S>(stream: &mut S, user: &str, password: &str) -> Result<(), ProxyProblem>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut message = Zeroizing::new(Vec::with_capacity(3 + user.len() + password.len()));
    message.push(1);
    for text in [user, password] {
        // The config has checked the lengths.
        message.push(u8::try_from(text.len()).map_err(|_| ProxyProblem::Credentials { given: true })?);
        message.extend_from_slice(text.as_bytes());
    }
    send(stream, &message).await?;
    match receive(stream).await {
        Ok([_, 0]) => Ok(()),
        // It may hang up instead of saying so.
        Ok([_, _]) | Err(ProxyProblem::Ended) => Err(ProxyProblem::Credentials { given: true }),
        Err(problem) => Err(problem),
    }
}

fn connect_request(endpoint: &Endpoint) -> Vec<u8> {
    const CONNECT: u8 = 1;
    let mut request = vec![VERSION, CONNECT, 0];
    match endpoint.address() {
        Some(IpAddr::V4(address)) => {
            request.push(1);
            request.extend(address.octets());
        }
        Some(IpAddr::V6(address)) => {
            request.push(4);
            request.extend(address.octets());
        }
        None => {
            request.push(3);
            let name = endpoint.host().as_bytes();
            request.push(u8::try_from(name.len()).expect("no name has more than 253 bytes"));
            request.extend(name);
        }
    }
    request.extend(endpoint.port().to_be_bytes());
    request
}

fn refusal(reply: u8) -> Result<(), ProxyProblem> {
    Err(ProxyProblem::Socks(match reply {
        0 => return Ok(()),
        2 => return Err(ProxyProblem::Forbidden),
        1 => SocksReply::General,
        3 => SocksReply::NetworkUnreachable,
        4 => SocksReply::HostUnreachable,
        5 => SocksReply::Refused,
        6 => SocksReply::Expired,
        7 => SocksReply::CommandUnsupported,
        8 => SocksReply::AddressUnsupported,
        other => SocksReply::Other(other),
    }))
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), ProxyProblem> {
    stream.write_all(bytes).await.map_err(|error| broken(&error))?;
    stream.flush().await.map_err(|error| broken(&error))
}

async fn receive<const BYTES: usize, S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<[u8; BYTES], ProxyProblem> {
    let mut bytes = [0; BYTES];
    stream.read_exact(&mut bytes).await.map_err(|error| broken(&error))?;
    Ok(bytes)
}

fn broken(error: &io::Error) -> ProxyProblem {
    match dial_error(error) {
        DialError::Reset => ProxyProblem::Ended,
        other => ProxyProblem::Unreachable(Box::new(other)),
    }
}
