//! Which urls are endpoints, and what they mean (protocol 18.1).

use insta::assert_snapshot;
use onesocket::core::{ConfigError, Endpoint, Plaintext, TokenKey};
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
    ws://localhost. -> plain localhost 18789 ws://localhost:18789/
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
    ws://mac.LOCAL. -> plain mac.local 18789 ws://mac.local:18789/
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

/// One hub opens one socket for all spellings, and a token is found again under each of them.
#[test]
fn one_socket_endpoints_are_equal_by_what_they_mean() {
    let groups: [&[&str]; 14] = [
        &[
            "ws://127.0.0.1",
            "ws://127.0.0.1:18789",
            "http://127.0.0.1/",
            "WS://127.0.0.1.:018789/",
            "ws://[::ffff:127.0.0.1]",
            "ws://[::FFFF:7F00:1]",
        ],
        &["ws://127.0.0.2"],
        &["ws://[::1]", "ws://[0:0:0:0:0:0:0:1]", "ws://[0000::0001]:18789/"],
        &["ws://localhost", "ws://LocalHost.:18789"],
        &["wss://Gateway.Example", "wss://gateway.example.:443/", "https://gateway.example"],
        &["wss://gateway.example/a"],
        &["wss://gateway.example/A"],
        &["wss://gateway.example/%61"],
        &["wss://gateway.example/b\u{fc}cher?\u{fc}", "wss://gateway.example/b%C3%BCcher?%C3%BC"],
        &["wss://gateway.example/a?x=1", "wss://gateway.example:443/a?x=1"],
        &["wss://gateway.example?x=1", "wss://gateway.example/?x=1"],
        &["wss://[2001:DB8:0::00:1]:7", "wss://[2001:db8::1]:7/"],
        &["ws://[fe80::1%25eth0]", "ws://[FE80:0::1%25%65th0]:18789"],
        &["ws://[fe80::1%25Eth0]"],
    ];
    let mut first_of_groups: Vec<(Endpoint, TokenKey)> = Vec::new();
    for group in groups {
        let endpoints: Vec<Endpoint> = group.iter().map(|url| Endpoint::parse(url).expect(url)).collect();
        let key = |endpoint| TokenKey::new("d", "operator", endpoint);
        for endpoint in &endpoints {
            assert_eq!(*endpoint, endpoints[0]);
            assert_eq!(endpoint.url(), endpoints[0].url());
            assert_eq!(key(endpoint), key(&endpoints[0]));
            assert!(
                first_of_groups.iter().all(|(other, theirs)| other != endpoint && *theirs != key(endpoint))
            );
        }
        first_of_groups.push((endpoints[0].clone(), key(&endpoints[0])));
    }
}

#[test]
fn endpoint_hosts_in_odd_forms_are_refused() {
    assert_snapshot!(parse(&[
        "ws://127.1",
        "ws://0x7f.1",
        "ws://0x7f000001",
        "ws://2130706433",
        "ws://0177.0.0.1",
        "ws://127.0.0.256",
        "ws://127.0.0.1.5",
        "wss://gateway.1",
        "wss://a..b",
        "wss://.",
        "wss://gateway.example..",
        "wss://gate!way",
        "wss://gate$way.example",
        "wss://[127.0.0.1]",
        "wss://[::1",
        "wss://[::x]",
        "wss://b\u{fc}cher.example",
    ]), @r#"
    ws://127.1 -> the gateway url "ws://127.1" cannot be used: its host ends in a number, so it must be an IPv4 address of four decimal numbers, like 127.0.0.1
    ws://0x7f.1 -> the gateway url "ws://0x7f.1" cannot be used: its host ends in a number, so it must be an IPv4 address of four decimal numbers, like 127.0.0.1
    ws://0x7f000001 -> the gateway url "ws://0x7f000001" cannot be used: its host ends in a number, so it must be an IPv4 address of four decimal numbers, like 127.0.0.1
    ws://2130706433 -> the gateway url "ws://2130706433" cannot be used: its host ends in a number, so it must be an IPv4 address of four decimal numbers, like 127.0.0.1
    ws://0177.0.0.1 -> the gateway url "ws://0177.0.0.1" cannot be used: its host ends in a number, so it must be an IPv4 address of four decimal numbers, like 127.0.0.1
    ws://127.0.0.256 -> the gateway url "ws://127.0.0.256" cannot be used: its host ends in a number, so it must be an IPv4 address of four decimal numbers, like 127.0.0.1
    ws://127.0.0.1.5 -> the gateway url "ws://127.0.0.1.5" cannot be used: its host ends in a number, so it must be an IPv4 address of four decimal numbers, like 127.0.0.1
    wss://gateway.1 -> the gateway url "wss://gateway.1" cannot be used: its host ends in a number, so it must be an IPv4 address of four decimal numbers, like 127.0.0.1
    wss://a..b -> the gateway url "wss://a..b" cannot be used: no host has such a name: its labels have 1 to 63 characters, and all of it at most 253
    wss://. -> the gateway url "wss://." cannot be used: it names no host
    wss://gateway.example.. -> the gateway url "wss://gateway.example.." cannot be used: no host has such a name: its labels have 1 to 63 characters, and all of it at most 253
    wss://gate!way -> the gateway url "wss://gate!way" cannot be used: its host has the character '!', which no host name has
    wss://gate$way.example -> the gateway url "wss://gate$way.example" cannot be used: its host has the character '$', which no host name has
    wss://[127.0.0.1] -> the gateway url "wss://[127.0.0.1]" cannot be used: what it has in brackets is no IPv6 address
    wss://[::1 -> the gateway url "wss://[::1" cannot be used: it cannot be parsed
    wss://[::x] -> the gateway url "wss://[::x]" cannot be used: what it has in brackets is no IPv6 address
    wss://bücher.example -> the gateway url "wss://bücher.example" cannot be used: its host is not ASCII: write an international name as punycode, like xn--bcher-kva.example
    "#);
    let long = format!("wss://{}.example", "a".repeat(64));
    assert!(matches!(Endpoint::parse(&long), Err(ConfigError::Url { why, .. }) if why.contains("63")));
}

#[test]
fn endpoint_zones_of_link_local_addresses() {
    assert_snapshot!(parse(&[
        "ws://[fe80::1%25en0]:1",
        "wss://[fe80::1%25eth0.100]/path",
        "ws://[fe80::1%252]:1",
        "ws://[fe80::1%en0]:1",
        "ws://[fe80::1%25]:1",
        "ws://[fe80::1%]:1",
        "ws://[fe80::1%250]:1",
        "ws://[fe80::1%25en%zz]:1",
        "ws://[fe80::1%25en%2f0]:1",
        "ws://[fe80::1%25a-name-that-is-too-long]:1",
        "ws://[::1%25lo]:1",
        "wss://[2001:db8::1%25en0]:1",
        "ws://[fd00::1%25en0]:1",
        "wss://127.0.0.1%25en0",
    ]), @r#"
    ws://[fe80::1%25en0]:1 -> plain fe80::1 1 ws://[fe80::1%25en0]:1/
    wss://[fe80::1%25eth0.100]/path -> secure fe80::1 443 wss://[fe80::1%25eth0.100]:443/path
    ws://[fe80::1%252]:1 -> plain fe80::1 1 ws://[fe80::1%252]:1/
    ws://[fe80::1%en0]:1 -> the gateway url "ws://[fe80::1%en0]:1" cannot be used: the % before the zone of its address must itself be escaped, as in [fe80::1%25eth0]
    ws://[fe80::1%25]:1 -> the gateway url "ws://[fe80::1%25]:1" cannot be used: the zone of its address is empty: it names a network interface, like eth0
    ws://[fe80::1%]:1 -> the gateway url "ws://[fe80::1%]:1" cannot be used: the % before the zone of its address must itself be escaped, as in [fe80::1%25eth0]
    ws://[fe80::1%250]:1 -> the gateway url "ws://[fe80::1%250]:1" cannot be used: the zone of its address is no name and no number of a network interface
    ws://[fe80::1%25en%zz]:1 -> the gateway url "ws://[fe80::1%25en%zz]:1" cannot be used: the zone of its address is not readable
    ws://[fe80::1%25en%2f0]:1 -> the gateway url "ws://[fe80::1%25en%2f0]:1" cannot be used: the zone of its address is no name and no number of a network interface
    ws://[fe80::1%25a-name-that-is-too-long]:1 -> the gateway url "ws://[fe80::1%25a-name-that-is-too-long]:1" cannot be used: the zone of its address is no name and no number of a network interface
    ws://[::1%25lo]:1 -> the gateway url "ws://[::1%25lo]:1" cannot be used: only link-local addresses, fe80::/10, have a zone, and ::1 is none
    wss://[2001:db8::1%25en0]:1 -> the gateway url "wss://[2001:db8::1%25en0]:1" cannot be used: only link-local addresses, fe80::/10, have a zone, and 2001:db8::1 is none
    ws://[fd00::1%25en0]:1 -> the gateway url "ws://[fd00::1%25en0]:1" cannot be used: only link-local addresses, fe80::/10, have a zone, and fd00::1 is none
    wss://127.0.0.1%25en0 -> the gateway url "wss://127.0.0.1%25en0" cannot be used: it cannot be parsed
    "#);
    let zoned = Endpoint::parse("ws://[fe80::1%25en0]:1/p?q").unwrap();
    assert_eq!((zoned.host(), zoned.zone()), ("fe80::1", Some("en0")));
    assert_eq!((zoned.host_header().as_str(), zoned.request_target()), ("[fe80::1]:1", "/p?q"));
}

#[test]
fn endpoint_a_host_header_names_no_default_port_and_no_zone() {
    let header = |url: &str| Endpoint::parse(url).expect(url).host_header();
    assert_eq!(header("wss://gateway.example"), "gateway.example");
    assert_eq!(header("wss://gateway.example:80"), "gateway.example:80");
    assert_eq!(header("ws://localhost:80"), "localhost");
    assert_eq!(header("ws://localhost:443"), "localhost:443");
    assert_eq!(header("ws://localhost"), "localhost:18789");
    assert_eq!(header("wss://[::1]"), "[::1]");
    assert_eq!(header("ws://[fe80::1%25en0]:80"), "[fe80::1]");
}

/// Plaintext to any name is a choice, and then only its private addresses are dialed; a public address stays refused.
#[test]
fn endpoint_plaintext_to_private_names_is_opted_into() {
    let names =
        ["ws://gateway", "ws://host.docker.internal:1", "http://gateway.internal", "ws://example.com"];
    for url in names {
        assert!(matches!(Endpoint::parse(url), Err(ConfigError::PlaintextToPublicHost { .. })), "{url}");
        let opted = Endpoint::parse_with(url, Plaintext::PrivateNames).expect(url);
        assert!(opted.wants_private_address() && !opted.is_loopback() && !opted.is_trusted(), "{url}");
    }
    for url in ["ws://8.8.8.8", "ws://[2001:db8::1]", "ws://[::ffff:8.8.8.8]", "ws://0.0.0.0", "ws://[::]"] {
        let refused = Endpoint::parse_with(url, Plaintext::PrivateNames);
        assert!(matches!(refused, Err(ConfigError::PlaintextToPublicHost { .. })), "{url}");
    }
    // Where it makes no difference, it is no difference.
    for url in
        ["ws://127.0.0.1", "ws://10.0.0.1", "ws://[::ffff:10.0.0.1]", "ws://mac.local", "wss://gateway"]
    {
        assert_eq!(Endpoint::parse_with(url, Plaintext::PrivateNames), Endpoint::parse(url), "{url}");
    }
    let wants = |url: &str| Endpoint::parse(url).expect(url).wants_private_address();
    assert!(wants("ws://mac.local") && wants("ws://localhost"));
    assert!(!wants("ws://127.0.0.1") && !wants("wss://mac.local"));
    assert!(Endpoint::parse("ws://[::ffff:127.0.0.1]").unwrap().is_loopback());
}

/// What is put together into an endpoint is checked like a url, and means the same.
#[test]
fn endpoint_a_host_that_stands_alone_is_checked() {
    let good = [
        ("127.0.0.1", "ws://127.0.0.1:7"),
        (" localhost. ", "ws://localhost:7"),
        ("::1", "ws://[::1]:7"),
        ("[::1]", "ws://[::1]:7"),
        ("0:0::1", "ws://[::1]:7"),
        ("::ffff:127.0.0.1", "ws://127.0.0.1:7"),
        ("fe80::1%en0", "ws://[fe80::1%25en0]:7"),
        ("[fe80::1%25en0]", "ws://[fe80::1%25en0]:7"),
        ("Mac.Local", "ws://mac.local:7"),
    ];
    for (host, url) in good {
        assert_eq!(Endpoint::at(host, 7, false), Endpoint::parse(url), "{host}");
    }
    let bad = [
        "",
        ".",
        "127.0.0.1/x",
        "127.0.0.1:8",
        "localhost:8",
        "[::1]:8",
        "[::1",
        "::1]",
        "a@127.0.0.1",
        "localhost?",
        "localhost#x",
        "local host",
        "local\thost",
        "ws://127.0.0.1",
        "127.1",
        "b\u{fc}cher",
        "a%20b",
        "fe80::1%",
        "127.0.0.1\\x",
        "::1%lo",
        "127.0.0.1\0",
        "a,b",
        "*",
        "1::2::3",
    ];
    for host in bad {
        for secure in [false, true] {
            assert!(matches!(Endpoint::at(host, 7, secure), Err(ConfigError::Url { .. })), "{host}");
        }
    }
    assert!(matches!(Endpoint::at("localhost", 0, false), Err(ConfigError::Url { .. })));
    assert!(matches!(Endpoint::at("8.8.8.8", 7, false), Err(ConfigError::PlaintextToPublicHost { .. })));
    let error = Endpoint::at("user:s3cret@127.0.0.1", 7, true).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
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
    /// A host that stands alone means what it means in a url.
    #[test]
    fn endpoint_hosts_alone_and_in_urls_agree(host in "[a-zA-Z0-9.:@/?#% _-]{0,20}") {
        if let Ok(endpoint) = Endpoint::at(&host, 7, true) {
            prop_assert_eq!(Endpoint::parse(&endpoint.url()), Ok(endpoint));
        }
    }

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
