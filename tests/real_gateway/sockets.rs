//! Which TCP connections this process really holds to a port, read from the operating system and not
//! from anything the client says about itself: the one witness that "exactly one socket" can't fool.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One established TCP connection, seen from this process's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Connection {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// The established connections from this process to `port`, on any address, in a stable order.
///
/// A socket that two descriptors share counts once, and one that another process holds not at all.
pub(crate) fn established_connections(port: u16) -> io::Result<Vec<Connection>> {
    let mut held = held_by_this_process()?;
    held.retain(|connection| connection.remote.port() == port);
    held.sort();
    Ok(held)
}

/// The kernel's tables list the sockets of the whole network namespace, each with its inode; the
/// descriptors of this process name the inodes it holds. Both are needed.
#[cfg(target_os = "linux")]
fn held_by_this_process() -> io::Result<Vec<Connection>> {
    let mut held = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        // A descriptor that closes while the directory is read is not an error: it is not open any more.
        let Ok(target) = std::fs::read_link(entry?.path()) else { continue };
        held.extend(target.to_str().and_then(socket_inode));
    }
    let mut established = established_in_table(&std::fs::read_to_string("/proc/self/net/tcp")?);
    // The second table is absent where IPv6 is switched off.
    if let Ok(table) = std::fs::read_to_string("/proc/self/net/tcp6") {
        established.extend(established_in_table(&table));
    }
    Ok(established.into_iter().filter(|(inode, _)| held.contains(inode)).map(|(_, found)| found).collect())
}

#[cfg(not(target_os = "linux"))]
fn held_by_this_process() -> io::Result<Vec<Connection>> {
    let pid = std::process::id().to_string();
    let listing = std::process::Command::new("lsof")
        .args(["-nP", "-a", "-p", &pid, "-iTCP", "-sTCP:ESTABLISHED", "-Fn"])
        .output()?;
    // `lsof` exits with 1 when it finds nothing, so its status says nothing more than its output.
    Ok(established_in_listing(&String::from_utf8_lossy(&listing.stdout)))
}

/// The inode in a descriptor's link target such as `socket:[24680]`.
fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The established connections of a `/proc/net/tcp` or `tcp6` table, by inode. The kernel writes the
/// table in pieces, so a busy one can show the same socket twice: the map keeps one.
fn established_in_table(table: &str) -> BTreeMap<u64, Connection> {
    const ESTABLISHED: &str = "01";
    let mut found = BTreeMap::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, remote, state, _, _, _, _, _, inode, ..] = fields[..] else { continue };
        if state != ESTABLISHED {
            continue;
        }
        let (Some(local), Some(remote), Ok(inode)) =
            (table_address(local), table_address(remote), inode.parse())
        else {
            continue;
        };
        found.insert(inode, Connection { local, remote });
    }
    found
}

/// An address of such a table: 32-bit words in hexadecimal, each in this machine's byte order, and the
/// port in network order. `0100007F:4965` is 127.0.0.1:18789 on a little-endian machine.
fn table_address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..words.len()).step_by(8) {
        let word = u32::from_str_radix(words.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        // A socket that speaks both versions shows 127.0.0.1 as ::ffff:127.0.0.1.
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?)).to_canonical(),
    };
    Some(SocketAddr::new(address, port))
}

/// The connections in the output of `lsof -Fn`: a line per field, of which those that start with `n`
/// hold the two ends.
fn established_in_listing(listing: &str) -> Vec<Connection> {
    let ends = |line: &str| {
        let (local, remote) = line.strip_prefix('n')?.split_once("->")?;
        Some(Connection { local: local.parse().ok()?, remote: remote.parse().ok()? })
    };
    listing.lines().filter_map(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(local: &str, remote: &str) -> Connection {
        Connection { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    /// The tables below were taken on a little-endian machine, where words read back to front.
    #[cfg(target_endian = "little")]
    #[test]
    fn only_established_rows_of_a_table_count() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4965 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:4965 01 00000000:00000000 00:00000000 00000000     0        0 102 1 0 20 4 30 10 -1
   2: 0100007F:C351 0100007F:4965 06 00000000:00000000 03:00000F5A 00000000     0        0 0 3 0
   3: 0100007F:4965 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 103 1 0 20 4 30 10 -1
";
        let expected = BTreeMap::from([
            (102, connection("127.0.0.1:50000", "127.0.0.1:18789")),
            (103, connection("127.0.0.1:18789", "127.0.0.1:50000")),
        ]);
        assert_eq!(established_in_table(table), expected);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn both_address_families_are_read() {
        assert_eq!(table_address("0100007F:4965"), Some("127.0.0.1:18789".parse().unwrap()));
        let loopback = table_address("00000000000000000000000001000000:4965");
        assert_eq!(loopback, Some("[::1]:18789".parse().unwrap()));
        let mapped = table_address("0000000000000000FFFF00000100007F:4965");
        assert_eq!(mapped, Some("127.0.0.1:18789".parse().unwrap()));
    }

    #[test]
    fn damaged_rows_are_passed_over() {
        for text in ["", ":", "0100007F", "0100007F:", "01:4965", "zz00007F:4965", "0100007F0100007F:4965"] {
            assert_eq!(table_address(text), None, "{text:?}");
        }
        assert_eq!(established_in_table("header\n   1: 0100007F:C350 0100007F:4965 01\n\n"), BTreeMap::new());
    }

    #[test]
    fn a_descriptor_is_a_socket_only_by_its_link() {
        assert_eq!(socket_inode("socket:[24680]"), Some(24680));
        for other in ["/dev/null", "pipe:[24680]", "anon_inode:[eventpoll]", "socket:[]", "socket:[1"] {
            assert_eq!(socket_inode(other), None, "{other}");
        }
    }

    #[test]
    fn a_listing_gives_the_connections_of_both_families() {
        let listing =
            "p123\nf5\nn127.0.0.1:50000->127.0.0.1:18789\nf6\nn[::1]:50001->[::1]:18789\nf7\nn*:80\n";
        let expected =
            [connection("127.0.0.1:50000", "127.0.0.1:18789"), connection("[::1]:50001", "[::1]:18789")];
        assert_eq!(established_in_listing(listing), expected);
    }

    #[test]
    fn the_connections_of_this_process_come_and_go() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(established_connections(port).unwrap(), []);

        let first = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let second = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        // Another descriptor for the same socket is not another socket.
        let again = second.try_clone().unwrap();
        let local = |stream: &std::net::TcpStream| stream.local_addr().unwrap();
        let seen: Vec<_> = established_connections(port).unwrap().iter().map(|found| found.local).collect();
        let mut expected = vec![local(&first), local(&second)];
        expected.sort();
        assert_eq!(seen, expected);

        drop((second, again));
        let seen: Vec<_> = established_connections(port).unwrap().iter().map(|found| found.local).collect();
        assert_eq!(seen, [local(&first)]);
    }
}
