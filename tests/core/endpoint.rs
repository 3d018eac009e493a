//! Which urls are endpoints, and what they mean (protocol 18.1).

use insta::assert_snapshot;
use onesocket::core::Endpoint;
use proptest::prelude::*;

/// One line for each url: the endpoint it means, or why it means none.
fn parse(urls: &[&str]) -> String {
    let mut lines = String::new();
    for url in urls {
        match Endpoint::parse(url) {
            Ok(endpoint) => {
                let secure = if endpoint.is_secure() { "secure" } else { "plain" };
                let (host, port) = (endpoint.host(), endpoint.port());
                lines.push_str(&format!("{url} -> {secure} {host} {port} {}\n", endpoint.url()));
            }
            Err(error) => lines.push_str(&format!("{url} -> {error}\n")),
        }
    }
    lines
}

#[test]
fn endpoint_schemes_ports_and_paths() {
    assert_snapshot!(parse(&[
        "ws://127.0.0.1",
        "ws://127.0.0.1/",
        "ws://127.0.0.1:1",
        "http://127.0.0.1:80",
        "wss://gateway.example",
        "https://gateway.example/path?x=1",
        "wss://gateway.example:8443/ws",
        "WS://LocalHost:5",
        "  ws://127.0.0.1:18789  ",
        "ws://[::1]",
        "ws://[::1]:7/p",
        "wss://[2001:db8::1]:7",
        "ws://127.0.0.1:65535",
    ]), @r"
    ws://127.0.0.1 -> plain 127.0.0.1 18789 ws://127.0.0.1:18789/
    ws://127.0.0.1/ -> plain 127.0.0.1 18789 ws://127.0.0.1:18789/
    ws://127.0.0.1:1 -> plain 127.0.0.1 1 ws://127.0.0.1:1/
    http://127.0.0.1:80 -> plain 127.0.0.1 80 ws://127.0.0.1:80/
    wss://gateway.example -> secure gateway.example 443 wss://gateway.example:443/
    https://gateway.example/path?x=1 -> secure gateway.example 443 wss://gateway.example:443/path?x=1
    wss://gateway.example:8443/ws -> secure gateway.example 8443 wss://gateway.example:8443/ws
    WS://LocalHost:5 -> plain localhost 5 ws://localhost:5/
      ws://127.0.0.1:18789   -> plain 127.0.0.1 18789 ws://127.0.0.1:18789/
    ws://[::1] -> plain ::1 18789 ws://[::1]:18789/
    ws://[::1]:7/p -> plain ::1 7 ws://[::1]:7/p
    wss://[2001:db8::1]:7 -> secure 2001:db8::1 7 wss://[2001:db8::1]:7/
    ws://127.0.0.1:65535 -> plain 127.0.0.1 65535 ws://127.0.0.1:65535/
    ");
}

#[test]
fn endpoint_plaintext_is_for_private_hosts() {
    assert_snapshot!(parse(&[
        "ws://localhost",
        "ws://localhost.",
        "ws://127.8.8.8",
        "ws://10.0.0.1",
        "ws://172.16.0.1",
        "ws://172.31.255.255",
        "ws://192.168.1.1",
        "ws://169.254.1.1",
        "ws://100.64.0.1",
        "ws://100.127.255.255",
        "ws://[fe80::1]",
        "ws://[fd00::1]",
        "ws://[fec0::1]",
        "ws://mac.local",
        "ws://mac.LOCAL.",
        "ws://host.tail.ts.net",
    ]), @r"
    ws://localhost -> plain localhost 18789 ws://localhost:18789/
    ws://localhost. -> plain localhost. 18789 ws://localhost.:18789/
    ws://127.8.8.8 -> plain 127.8.8.8 18789 ws://127.8.8.8:18789/
    ws://10.0.0.1 -> plain 10.0.0.1 18789 ws://10.0.0.1:18789/
    ws://172.16.0.1 -> plain 172.16.0.1 18789 ws://172.16.0.1:18789/
    ws://172.31.255.255 -> plain 172.31.255.255 18789 ws://172.31.255.255:18789/
    ws://192.168.1.1 -> plain 192.168.1.1 18789 ws://192.168.1.1:18789/
    ws://169.254.1.1 -> plain 169.254.1.1 18789 ws://169.254.1.1:18789/
    ws://100.64.0.1 -> plain 100.64.0.1 18789 ws://100.64.0.1:18789/
    ws://100.127.255.255 -> plain 100.127.255.255 18789 ws://100.127.255.255:18789/
    ws://[fe80::1] -> plain fe80::1 18789 ws://[fe80::1]:18789/
    ws://[fd00::1] -> plain fd00::1 18789 ws://[fd00::1]:18789/
    ws://[fec0::1] -> plain fec0::1 18789 ws://[fec0::1]:18789/
    ws://mac.local -> plain mac.local 18789 ws://mac.local:18789/
    ws://mac.LOCAL. -> plain mac.local. 18789 ws://mac.local.:18789/
    ws://host.tail.ts.net -> plain host.tail.ts.net 18789 ws://host.tail.ts.net:18789/
    ");
}

#[test]
fn endpoint_plaintext_to_public_hosts_is_refused() {
    assert_snapshot!(parse(&[
        "ws://example.com",
        "http://example.com",
        "ws://8.8.8.8",
        "ws://172.15.255.255",
        "ws://172.32.0.0",
        "ws://192.169.0.1",
        "ws://100.63.255.255",
        "ws://100.128.0.0",
        "ws://[2001:db8::1]",
        "ws://0.0.0.0",
        "ws://127.0.0.1.example.com",
        "ws://localhost.example.com",
        "ws://mylocalhost",
        "ws://local",
        "ws://evil-ts.net",
        "ws://xlocal",
    ]), @r#"
    ws://example.com -> plaintext ws:// is only for loopback and private hosts, and "example.com" is neither: use wss://
    http://example.com -> plaintext ws:// is only for loopback and private hosts, and "example.com" is neither: use wss://
    ws://8.8.8.8 -> plaintext ws:// is only for loopback and private hosts, and "8.8.8.8" is neither: use wss://
    ws://172.15.255.255 -> plaintext ws:// is only for loopback and private hosts, and "172.15.255.255" is neither: use wss://
    ws://172.32.0.0 -> plaintext ws:// is only for loopback and private hosts, and "172.32.0.0" is neither: use wss://
    ws://192.169.0.1 -> plaintext ws:// is only for loopback and private hosts, and "192.169.0.1" is neither: use wss://
    ws://100.63.255.255 -> plaintext ws:// is only for loopback and private hosts, and "100.63.255.255" is neither: use wss://
    ws://100.128.0.0 -> plaintext ws:// is only for loopback and private hosts, and "100.128.0.0" is neither: use wss://
    ws://[2001:db8::1] -> plaintext ws:// is only for loopback and private hosts, and "[2001:db8::1]" is neither: use wss://
    ws://0.0.0.0 -> plaintext ws:// is only for loopback and private hosts, and "0.0.0.0" is neither: use wss://
    ws://127.0.0.1.example.com -> plaintext ws:// is only for loopback and private hosts, and "127.0.0.1.example.com" is neither: use wss://
    ws://localhost.example.com -> plaintext ws:// is only for loopback and private hosts, and "localhost.example.com" is neither: use wss://
    ws://mylocalhost -> plaintext ws:// is only for loopback and private hosts, and "mylocalhost" is neither: use wss://
    ws://local -> plaintext ws:// is only for loopback and private hosts, and "local" is neither: use wss://
    ws://evil-ts.net -> plaintext ws:// is only for loopback and private hosts, and "evil-ts.net" is neither: use wss://
    ws://xlocal -> plaintext ws:// is only for loopback and private hosts, and "xlocal" is neither: use wss://
    "#);
}

#[test]
fn endpoint_malformed_urls_are_refused() {
    assert_snapshot!(parse(&[
        "",
        "127.0.0.1:18789",
        "/path",
        "ftp://127.0.0.1",
        "ws:/127.0.0.1",
        "ws://",
        "ws://:80",
        "ws://[]",
        "ws://127.0.0.1:0",
        "ws://127.0.0.1:65536",
        "ws://127.0.0.1:http",
        "ws://127.0.0.1:",
        "ws://127.0.0.1:+80",
        "ws://[::1]:x",
        "ws://127.0.0.1 /x",
        "ws://bad host",
    ]), @r#"
     -> the gateway url "" cannot be used: it cannot be parsed
    127.0.0.1:18789 -> the gateway url "127.0.0.1:18789" cannot be used: it must begin with ws:// or wss://
    /path -> the gateway url "/path" cannot be used: it must begin with ws:// or wss://
    ftp://127.0.0.1 -> the gateway url "ftp://127.0.0.1" cannot be used: it must begin with ws:// or wss://
    ws:/127.0.0.1 -> the gateway url "ws:/127.0.0.1" cannot be used: it cannot be parsed
    ws:// -> the gateway url "ws://" cannot be used: it cannot be parsed
    ws://:80 -> the gateway url "ws://:80" cannot be used: it names no host
    ws://[] -> the gateway url "ws://[]" cannot be used: it names no host
    ws://127.0.0.1:0 -> the gateway url "ws://127.0.0.1:0" cannot be used: its port is not a number from 1 to 65535
    ws://127.0.0.1:65536 -> the gateway url "ws://127.0.0.1:65536" cannot be used: its port is not a number from 1 to 65535
    ws://127.0.0.1:http -> the gateway url "ws://127.0.0.1:http" cannot be used: its port is not a number from 1 to 65535
    ws://127.0.0.1: -> the gateway url "ws://127.0.0.1:" cannot be used: its port is not a number from 1 to 65535
    ws://127.0.0.1:+80 -> the gateway url "ws://127.0.0.1:+80" cannot be used: its port is not a number from 1 to 65535
    ws://[::1]:x -> the gateway url "ws://[::1]:x" cannot be used: its port is not a number from 1 to 65535
    ws://127.0.0.1 /x -> the gateway url "ws://127.0.0.1 /x" cannot be used: it cannot be parsed
    ws://bad host -> the gateway url "ws://bad host" cannot be used: it cannot be parsed
    "#);
}

/// Not even an error message repeats a password that was put into a url.
#[test]
fn right_credential_user_info_is_refused_and_not_repeated() {
    assert_snapshot!(parse_hidden(&[
        "ws://user:s3cret@127.0.0.1",
        "ws://s3cret@127.0.0.1:5/x",
        "wss://user:s3cret@example.com",
        "ws://user:s3 cret@127.0.0.1",
        "ws://user:s3cret@x@127.0.0.1",
        "ftp://user:s3cret@127.0.0.1",
        "user:s3cret@127.0.0.1:18789",
        "s3cret@ws://127.0.0.1",
        "ws://user:s3?cret@127.0.0.1",
        "ftp://host/#token=s3cret",
    ]), @r#"
    the gateway url "ws://…@127.0.0.1" cannot be used: it carries user info, which is not a way to authenticate here
    the gateway url "ws://…@127.0.0.1:5/x" cannot be used: it carries user info, which is not a way to authenticate here
    the gateway url "wss://…@example.com" cannot be used: it carries user info, which is not a way to authenticate here
    the gateway url "ws://…@127.0.0.1" cannot be used: it cannot be parsed
    the gateway url "ws://…@127.0.0.1" cannot be used: it carries user info, which is not a way to authenticate here
    the gateway url "ftp://…@127.0.0.1" cannot be used: it must begin with ws:// or wss://
    the gateway url "…@127.0.0.1:18789" cannot be used: it must begin with ws:// or wss://
    the gateway url "…@ws://127.0.0.1" cannot be used: it cannot be parsed
    the gateway url "ws://…" cannot be used: its port is not a number from 1 to 65535
    the gateway url "ftp://host/#…" cannot be used: it must begin with ws:// or wss://
    "#);
}

fn parse_hidden(urls: &[&str]) -> String {
    let mut lines = String::new();
    for url in urls {
        let error = Endpoint::parse(url).expect_err(url);
        assert!(!format!("{error} {error:?}").contains("s3"), "{error:?}");
        lines.push_str(&format!("{error}\n"));
    }
    lines
}

/// A query may hold a token; only the upgrade request is to see it.
#[test]
fn right_credential_a_query_is_not_shown() {
    let endpoint = Endpoint::parse("ws://127.0.0.1/ws?token=s3cret").unwrap();
    assert_eq!(endpoint.url(), "ws://127.0.0.1:18789/ws?token=s3cret");
    assert_eq!(format!("{endpoint}"), "ws://127.0.0.1:18789/ws?…");
    assert_eq!(format!("{endpoint:?}"), "ws://127.0.0.1:18789/ws?…");
    let error = Endpoint::parse("ftp://127.0.0.1/ws?token=s3cret").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
}

proptest! {
    /// No text makes the parser panic, and what it accepts it accepts again in its own words.
    #[test]
    fn endpoint_parsing_is_total_and_stable(url in "((ws|wss|http|https|x)://)?[a-z0-9.@:/?#\\[\\]% -]{0,30}") {
        if let Ok(endpoint) = Endpoint::parse(&url) {
            prop_assert_eq!(Endpoint::parse(&endpoint.url()), Ok(endpoint));
        }
    }

    #[test]
    fn endpoint_parsing_never_panics(url in "\\PC{0,40}") {
        let _ = Endpoint::parse(&url);
    }
}
