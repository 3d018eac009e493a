//! The request for an upgrade.

use secrecy::zeroize::Zeroizing;

use crate::core::{Endpoint, Headers};

/// The request as it goes over the wire. It may hold secrets, so its memory is wiped.
pub(super) fn bytes(endpoint: &Endpoint, headers: &Headers, key: &str) -> Zeroizing<Vec<u8>> {
    let (target, host) = (endpoint.request_target(), endpoint.host_header());
    let mut parts = vec![
        "GET ",
        target,
        " HTTP/1.1\r\nHost: ",
        &*host,
        "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ",
        key,
        "\r\n",
    ];
    for (name, value) in headers.iter() {
        parts.extend([name, ": ", value.expose(), "\r\n"]);
    }
    parts.push("\r\n");
    // Made in one piece: bytes that grow leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
    bytes
}
