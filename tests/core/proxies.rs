//! Which texts are proxies, what the environment says, and what a failure of a proxy leads to.

use std::collections::BTreeMap;
use std::time::Duration;

use insta::assert_snapshot;
use onesocket::core::{
    Config, ConfigError, DialError, Endpoint, Proxy, ProxyProblem, ProxyProtocol, SocksReply,
};
use proptest::prelude::*;

use crate::script::script;

fn read(urls: &[&str]) -> String {
    let line = |url: &&str| match Proxy::parse(url) {
        Ok(proxy) => format!("{url} -> {proxy} {:?}\n", proxy.credentials()),
        Err(error) => format!("{url} -> {error}\n"),
    };
    urls.iter().map(line).collect()
}

#[test]
fn proxies_that_are_understood() {
    assert_snapshot!(read(&[
        "http://proxy.example:3128",
        "proxy.example:3128",
        "HTTP://Proxy.Example./",
        "https://proxy",
        "socks5://127.0.0.1",
        "socks5h://[::1]:9",
        "http://user:pass@proxy:1",
        "http://user@proxy",
        "http://a%40b:%3A%2f%25@proxy",
        "socks5://u:p@proxy",
        "http://[fe80::1%25eth0]:8080",
    ]), @r#"
    http://proxy.example:3128 -> http://proxy.example:3128 None
    proxy.example:3128 -> http://proxy.example:3128 None
    HTTP://Proxy.Example./ -> http://proxy.example:80 None
    https://proxy -> https://proxy:443 None
    socks5://127.0.0.1 -> socks5://127.0.0.1:1080 None
    socks5h://[::1]:9 -> socks5://[::1]:9 None
    http://user:pass@proxy:1 -> http://…@proxy:1 Some(("user", "pass"))
    http://user@proxy -> http://…@proxy:80 Some(("user", ""))
    http://a%40b:%3A%2f%25@proxy -> http://…@proxy:80 Some(("a@b", ":/%"))
    socks5://u:p@proxy -> socks5://…@proxy:1080 Some(("u", "p"))
    http://[fe80::1%25eth0]:8080 -> http://[fe80::1%25eth0]:8080 None
    "#);
}

#[test]
fn proxies_that_are_not_understood() {
    assert_snapshot!(read(&[
        "",
        "http://",
        "ftp://proxy",
        "socks4://proxy",
        "http://proxy:0",
        "http://proxy:port",
        "http://proxy/path",
        "http://proxy?x",
        "http://user:secret@proxy:x",
        "http://us%3Aer:secret@proxy",
        "http://user:sec%ret@proxy",
        "http://user:sec%0aret@proxy",
        "socks5://user@proxy",
        "socks5://:secret@proxy",
        "http://pro xy",
        "127.1:3128",
    ]), @r#"
     -> the proxy url "" cannot be used: it names no host
    http:// -> the proxy url "http://" cannot be used: it names no host
    ftp://proxy -> the proxy url "ftp://proxy" cannot be used: it must begin with http://, https://, socks5:// or socks5h://
    socks4://proxy -> the proxy url "socks4://proxy" cannot be used: it must begin with http://, https://, socks5:// or socks5h://
    http://proxy:0 -> the proxy url "http://proxy:0" cannot be used: its port is not a number from 1 to 65535
    http://proxy:port -> the proxy url "http://proxy:port" cannot be used: its port is not a number from 1 to 65535
    http://proxy/path -> the proxy url "http://proxy/path" cannot be used: it has a path, which a proxy has not
    http://proxy?x -> the proxy url "http://proxy?…" cannot be used: it has a path, which a proxy has not
    http://user:secret@proxy:x -> the proxy url "http://…@proxy:x" cannot be used: its port is not a number from 1 to 65535
    http://us%3Aer:secret@proxy -> the proxy url "http://…@proxy" cannot be used: its user name has a colon
    http://user:sec%ret@proxy -> the proxy url "http://…@proxy" cannot be used: its credentials are not readable: write a % as %25
    http://user:sec%0aret@proxy -> the proxy url "http://…@proxy" cannot be used: its credentials are not readable: write a % as %25
    socks5://user@proxy -> the proxy url "socks5://…@proxy" cannot be used: a user name and a password of SOCKS5 have 1 to 255 bytes
    socks5://:secret@proxy -> the proxy url "socks5://…@proxy" cannot be used: a user name and a password of SOCKS5 have 1 to 255 bytes
    http://pro xy -> the proxy url "http://pro xy" cannot be used: its host has the character ' ', which no host name has
    127.1:3128 -> the proxy url "127.1:3128" cannot be used: its host ends in a number, so it must be an IPv4 address of four decimal numbers, like 127.0.0.1
    "#);
    let long = format!("socks5://user:{}@proxy", "x".repeat(256));
    assert!(matches!(Proxy::parse(&long), Err(ConfigError::Proxy { .. })));
}

#[test]
fn right_credential_a_proxy_shows_no_password() {
    let proxy = Proxy::parse("http://user:s3cret@proxy:1").unwrap();
    let config = Config::new("wss://gateway").unwrap().proxy(proxy.clone()).unwrap();
    for shown in [format!("{proxy} {proxy:?}"), format!("{config:?}"), format!("{:?}", config.endpoint())] {
        assert!(!shown.contains("s3cret") && !shown.contains("user"), "{shown}");
    }
    for bad in
        ["http://user:s3cret@proxy:x", "user:s3cret@proxy/x", "ftp://user:s3cret@proxy", "http://u:s3cret@"]
    {
        let error = Proxy::parse(bad).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
}

/// The way is a part of the config, but not of the gateway: a token that was got through a proxy is good without.
#[test]
fn one_socket_a_proxy_is_part_of_the_config() {
    let direct = || Config::new("wss://gateway").unwrap();
    let through = |url: &str| direct().proxy(Proxy::parse(url).unwrap()).unwrap();
    assert_eq!(through("http://proxy:80/"), through("PROXY."));
    assert_ne!(through("http://proxy"), direct());
    assert_ne!(through("http://proxy"), through("http://a:b@proxy"));
    assert_eq!(through("http://proxy").proxy(None).unwrap(), direct());
    let key = |config: &Config| onesocket::core::TokenKey::new("d", "operator", config.endpoint());
    assert_eq!(key(&through("http://proxy")), key(&direct()));
}

/// What is this machine for us is another for a proxy.
#[test]
fn right_credential_loopback_behind_a_proxy_is_not_this_machine() {
    let proxy = || Proxy::parse("http://proxy").unwrap();
    let config = Config::new("ws://127.0.0.1").unwrap();
    assert!(config.endpoint().is_trusted());
    let proxied = config.clone().proxy(proxy()).unwrap();
    assert!(!proxied.endpoint().is_loopback() && !proxied.endpoint().is_trusted());
    let with_header = config.header("x-secret", "s3cret").unwrap();
    assert_eq!(with_header.proxy(proxy()), Err(ConfigError::HeadersInTheClear));
}

/// What a table says for an endpoint, in short.
fn of(table: &[(&str, &str)], url: &str) -> String {
    let table: BTreeMap<&str, &str> = table.iter().copied().collect();
    let endpoint = Endpoint::parse(url).expect(url);
    match Proxy::of_environment(&endpoint, |name| table.get(name).map(|value| (*value).to_owned())) {
        Ok(Some(proxy)) => proxy.to_string(),
        Ok(None) => "none".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_environment_names_a_proxy_for_a_scheme() {
    let both = [("HTTPS_PROXY", "http://s:1"), ("HTTP_PROXY", "http://p:1"), ("ALL_PROXY", "socks5://a:1")];
    assert_eq!(of(&both, "wss://gateway"), "http://s:1");
    assert_eq!(of(&both, "ws://10.0.0.1"), "http://p:1");
    assert_eq!(of(&both[2..], "wss://gateway"), "socks5://a:1");
    assert_eq!(of(&both[2..], "ws://10.0.0.1"), "socks5://a:1");
    assert_eq!(of(&[], "wss://gateway"), "none");
    // Lower case goes before upper case, and blank is absent.
    assert_eq!(of(&[("https_proxy", "l:1"), ("HTTPS_PROXY", "u:1")], "wss://gateway"), "http://l:1");
    assert_eq!(of(&[("https_proxy", " "), ("HTTPS_PROXY", "u:1")], "wss://gateway"), "http://u:1");
    // In a CGI script, a request's header `Proxy` becomes HTTP_PROXY.
    let cgi = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "http://evil:1")];
    assert_eq!(of(&cgi, "ws://10.0.0.1"), "none");
    assert!(of(&[("ALL_PROXY", "ftp://x")], "wss://gateway").contains("must begin with http://"));
    // A variable that does not count may be anything.
    assert_eq!(of(&[("HTTP_PROXY", "ftp://x")], "wss://gateway"), "none");
}

#[test]
fn the_environment_never_leads_to_this_machine_through_a_proxy() {
    let all = [("ALL_PROXY", "http://a:1")];
    for url in
        ["ws://127.0.0.1", "ws://localhost:5", "ws://[::1]", "wss://127.8.8.8", "ws://[::ffff:127.0.0.1]"]
    {
        assert_eq!(of(&all, url), "none", "{url}");
    }
}

#[test]
fn no_proxy_lists_what_is_reached_without() {
    let excepted =
        |list: &str, url: &str| of(&[("ALL_PROXY", "http://a:1"), ("no_proxy", list)], url) == "none";
    let yes = [
        ("*", "wss://gateway"),
        ("gateway.example", "wss://gateway.example"),
        ("example", "wss://gateway.example"),
        (".example", "wss://gateway.example"),
        ("*.example", "wss://gateway.example"),
        ("EXAMPLE.", "wss://gateway.example"),
        ("x, gateway ,y", "wss://gateway"),
        ("gateway:443", "wss://gateway"),
        ("10.0.0.1", "ws://10.0.0.1"),
        ("10.0.0.0/8", "ws://10.1.2.3"),
        ("10.1.2.3/32", "ws://10.1.2.3"),
        ("0.0.0.0/0", "ws://10.1.2.3"),
        ("fd00::1", "ws://[fd00::1]"),
        ("[fd00::1]", "ws://[fd00::1]"),
        ("[fd00::1]:7", "ws://[fd00::1]:7"),
        ("fd00::/8", "ws://[fd00::1]"),
        ("::/0", "ws://[fd00::1]"),
    ];
    for (list, url) in yes {
        assert!(excepted(list, url), "{list} {url}");
    }
    let no = [
        ("", "wss://gateway"),
        ("gateway.example", "wss://example"),
        ("ample", "wss://gateway.example"),
        ("gateway:444", "wss://gateway"),
        ("gateway:x", "wss://gateway"),
        ("10.0.0.0/9", "ws://10.128.0.1"),
        ("10.0.0.0/33", "ws://10.0.0.0"),
        ("10.0.0.0/x", "ws://10.0.0.0"),
        ("fd00::/8", "ws://10.0.0.1"),
        ("10.0.0.0/8", "wss://gateway"),
        ("[fd00::1]:8", "ws://[fd00::1]:7"),
        ("!", "wss://gateway"),
    ];
    for (list, url) in no {
        assert!(!excepted(list, url), "{list} {url}");
    }
}

proptest! {
    /// No text makes a panic, and what is understood is understood again in its own words.
    #[test]
    fn reading_proxies_is_total_and_stable(
        url in "((http|https|socks5h?|x)://)?[a-z0-9.:@/?%\\[\\] -]{0,30}",
        list in "[a-z0-9.:/*,\\[\\] -]{0,30}",
    ) {
        if let Ok(proxy) = Proxy::parse(&url)
            && proxy.credentials().is_none()
        {
            prop_assert_eq!(Proxy::parse(&proxy.to_string()), Ok(proxy));
        }
        for gateway in ["wss://gateway.example", "ws://10.0.0.1", "ws://[fd00::1]:7"] {
            let _ = of(&[("all_proxy", &url), ("no_proxy", &list)], gateway);
        }
    }
}

/// What a person has to mend pauses; what may mend itself is tried again.
#[test]
fn no_storm_a_proxy_pauses_only_where_no_time_mends_it() {
    let http = |status| ProxyProblem::Http { status, reason: "no".into(), retry_after: None };
    let unreachable = |error| ProxyProblem::Unreachable(Box::new(error));
    let pausing = [
        ProxyProblem::Credentials { given: false },
        ProxyProblem::Credentials { given: true },
        ProxyProblem::Forbidden,
        http(400),
        http(404),
        http(405),
        http(501),
        ProxyProblem::Socks(SocksReply::CommandUnsupported),
        ProxyProblem::Socks(SocksReply::AddressUnsupported),
        unreachable(DialError::Unsupported("no TLS".into())),
    ];
    let waiting = [
        http(302),
        ProxyProblem::Http { status: 404, reason: "no".into(), retry_after: Some(Duration::from_secs(5)) },
        http(408),
        http(429),
        http(500),
        http(502),
        http(503),
        http(504),
        ProxyProblem::Socks(SocksReply::General),
        ProxyProblem::Socks(SocksReply::NetworkUnreachable),
        ProxyProblem::Socks(SocksReply::HostUnreachable),
        ProxyProblem::Socks(SocksReply::Refused),
        ProxyProblem::Socks(SocksReply::Expired),
        ProxyProblem::Socks(SocksReply::Other(9)),
        ProxyProblem::OtherProtocol,
        ProxyProblem::Ended,
        ProxyProblem::Silent,
        unreachable(DialError::Refused),
    ];
    let outcome = |problem: &ProxyProblem| {
        let error = DialError::Proxy { proxy: "http://proxy:1".to_owned(), problem: problem.clone() };
        crate::history::check(script().connect().dial_failed(1, error))
    };
    for problem in pausing {
        let shown = outcome(&problem);
        assert!(
            shown.contains("paused: the proxy http://proxy:1: ") && shown.contains("next deadline none"),
            "{shown}"
        );
    }
    for problem in waiting {
        let shown = outcome(&problem);
        assert!(shown.contains("status: backoff") && !shown.contains("paused"), "{shown}");
    }
    assert_eq!(Proxy::parse("socks5h://x").unwrap().protocol(), ProxyProtocol::Socks5);
}

/// A proxy that says when it wants to be asked again is asked then.
#[test]
fn no_storm_a_hint_of_a_proxy_is_a_floor() {
    let problem =
        ProxyProblem::Http { status: 503, reason: "no".into(), retry_after: Some(Duration::from_secs(60)) };
    let error = DialError::Proxy { proxy: "http://proxy:1".to_owned(), problem };
    let shown = crate::history::check(script().connect().dial_failed(1, error).until(59_000));
    assert!(!shown.contains("dial 2"), "{shown}");
}

/// Everything that keeps a name or an address from being reached may mend itself.
#[test]
fn no_wedge_what_keeps_a_host_from_being_reached_is_tried_again() {
    use onesocket::core::{AddressFailure, AddressFailures, NameProblem, Shortage};
    let name = |problem| DialError::Name { name: "gateway.local".to_owned(), problem };
    let failure = AddressFailure { address: ([10, 0, 0, 1], 1).into(), error: DialError::TimedOut };
    let waiting = [
        name(NameProblem::NotFound),
        name(NameProblem::Unanswered),
        name(NameProblem::Temporary),
        name(NameProblem::Failed("x".into())),
        name(NameProblem::Busy { limit: 1 }),
        name(NameProblem::Public),
        DialError::Zone { zone: "eth0".to_owned() },
        DialError::System(Shortage::Descriptors),
        DialError::System(Shortage::SystemDescriptors),
        DialError::System(Shortage::Memory),
        DialError::System(Shortage::Threads),
        DialError::System(Shortage::LocalAddress),
        DialError::Denied,
        DialError::Addresses(AddressFailures::new(vec![failure], 3)),
    ];
    for error in waiting {
        let shown = crate::history::check(script().connect().dial_failed(1, error));
        assert!(shown.contains("status: backoff") && !shown.contains("paused"), "{shown}");
    }
}
