//! The host of an endpoint: one spelling for each meaning.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name and the longest label of the domain name system.
const NAME_BYTES: usize = 253;
const LABEL_BYTES: usize = 63;
/// The longest name of a network interface on Linux and macOS.
const ZONE_BYTES: usize = 15;

/// What is wrong with a name of more than ASCII.
pub(super) const NOT_ASCII: &str =
    "its host is not ASCII: write an international name as punycode, like xn--bcher-kva.example";

/// A host in its one spelling, so that hosts are equal by what they mean.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Host {
    /// A name in lower case without the dot of the root, or an address as it is usually written. An IPv4 address
    /// within an IPv6 one is that IPv4 address, because that is what is dialed.
    text: String,
    /// The interface that a link-local address belongs to, by name or number.
    zone: Option<String>,
}

impl Host {
    /// Reads the host of a url, where an IPv6 address has brackets and its zone a `%25` (RFC 6874).
    pub(super) fn of_url(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
            return Self::name_or_v4(text);
        };
        let Some((address, zone)) = inner.split_once('%') else { return Self::v6(inner, None) };
        let zone = zone.strip_prefix("25").ok_or(
            "the % before the zone of its address must itself be escaped, as in [fe80::1%25eth0]".to_owned(),
        )?;
        Self::v6(address, Some(percent_decoded(zone).ok_or("the zone of its address is not readable")?))
    }

    /// Reads a host that stands alone, where an IPv6 address needs no brackets and its zone has a plain `%` (RFC 4007).
    pub(super) fn alone(text: &str) -> Result<Self, String> {
        if text.starts_with('[') && text.ends_with(']') {
            return Self::of_url(text);
        }
        match text.split_once('%') {
            Some((address, zone)) if address.contains(':') => Self::v6(address, Some(zone.to_owned())),
            None if text.parse::<Ipv6Addr>().is_ok() => Self::v6(text, None),
            Some(_) | None => Self::name_or_v4(text),
        }
    }

    /// Without brackets and zone.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// `None` for a name.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.text.parse().ok()
    }

    /// As it stands in a url, without the zone.
    pub(super) fn bracketed(&self) -> String {
        if self.text.contains(':') { format!("[{}]", self.text) } else { self.text.clone() }
    }

    /// As it stands in a url.
    pub(super) fn in_url(&self) -> String {
        match &self.zone {
            Some(zone) => format!("[{}%25{zone}]", self.text),
            None => self.bracketed(),
        }
    }

    fn v6(address: &str, zone: Option<String>) -> Result<Self, String> {
        let address: Ipv6Addr =
            address.parse().map_err(|_| "what it has in brackets is no IPv6 address".to_owned())?;
        if let Some(zone) = &zone {
            checked_zone(zone)?;
            if !address.is_unicast_link_local() {
                return Err(format!(
                    "only link-local addresses, fe80::/10, have a zone, and {address} is none"
                ));
            }
        }
        Ok(Self { text: address.to_canonical().to_string(), zone })
    }

    fn name_or_v4(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        checked_characters(&name)?;
        let labels = || name.split('.');
        if labels().next_back().is_some_and(is_number) {
            // Other spellings, like 127.1 or 0x7f.1, mean different addresses to different readers.
            return match name.parse::<Ipv4Addr>() {
                Ok(address) => Ok(Self { text: address.to_string(), zone: None }),
                Err(_) => {
                    Err("its host ends in a number, so it must be an IPv4 address of four decimal numbers, \
                               like 127.0.0.1"
                        .to_owned())
                }
            };
        }
        if name.len() > NAME_BYTES || labels().any(|label| label.is_empty() || label.len() > LABEL_BYTES) {
            return Err(format!(
                "no host has such a name: its labels have 1 to {LABEL_BYTES} characters, and all of it at most \
                 {NAME_BYTES}"
            ));
        }
        Ok(Self { text: name, zone: None })
    }
}

/// Whether nobody outside a private network can have this address: loopback, private, link-local, unique local,
/// site-local and shared addresses (protocol 18.1), and IPv4 ones within IPv6.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let carrier_grade_nat = a == 100 && (64..128).contains(&b);
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || carrier_grade_nat
        }
        IpAddr::V6(v6) => {
            let site_local = v6.segments()[0] & 0xffc0 == 0xfec0;
            v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || site_local
        }
    }
}

/// `%41` becomes `A`; `None` where a `%` is followed by anything but two digits, or the outcome is no text.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (pair, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(pair).ok().filter(|_| pair.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// A browser's rule for what must be an IPv4 address: the last label is a decimal or hexadecimal number.
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").map(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hexadecimal.unwrap_or_else(|| !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit()))
}

fn checked_characters(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("it names no host".to_owned());
    }
    if !name.is_ascii() {
        return Err(NOT_ASCII.to_owned());
    }
    match name.chars().find(|&c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.')) {
        Some(c) => Err(format!("its host has the character {c:?}, which no host name has")),
        None => Ok(()),
    }
}

fn checked_zone(zone: &str) -> Result<(), String> {
    if zone.is_empty() {
        return Err("the zone of its address is empty: it names a network interface, like eth0".to_owned());
    }
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    if zone.len() > ZONE_BYTES || !zone.chars().all(named) || zone.bytes().all(|b| b == b'0') {
        return Err("the zone of its address is no name and no number of a network interface".to_owned());
    }
    Ok(())
}
