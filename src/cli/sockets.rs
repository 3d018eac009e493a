//! The command `sockets`: who holds how many TCP connections to a port.

use std::collections::BTreeMap;
#[cfg(target_os = "linux")]
use std::fs;
use std::io;

use onesocket::core::OneLine;
use serde_json::json;

use super::{CliError, json, output};

/// A TCP connection to the port, and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Connection {
    /// Process id and name; `None` where the system does not tell.
    process: Option<(u32, String)>,
    /// The state of TCP, like `established`.
    state: String,
}

/// Counts and prints.
pub(super) fn sockets(port: u16, as_json: bool) -> Result<(), CliError> {
    let found = connections(port).map_err(CliError::system("the TCP connections cannot be listed"))?;
    let groups = grouped(&found);
    if as_json {
        let processes: Vec<_> = groups
            .iter()
            .map(|(process, states)| {
                json!({
                    "pid": process.as_ref().map(|(pid, _)| pid),
                    "name": process.as_ref().map(|(_, name)| name),
                    "sockets": states.values().sum::<usize>(),
                    "states": states,
                })
            })
            .collect();
        let report = json!({ "port": port, "sockets": found.len(), "processes": processes });
        return output::print(&json::value(&report));
    }
    output::print(&format!("{} to port {port}", plural(found.len(), "socket")))?;
    for (process, states) in groups {
        let who = match process {
            Some((pid, name)) => format!("{} (pid {pid})", OneLine::cut(name)),
            None => "processes of others".to_owned(),
        };
        let count: usize = states.values().sum();
        let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        output::print(&format!("{count:>5}  {who}: {}", states.join(", ")))?;
    }
    Ok(())
}

type Groups<'c> = BTreeMap<&'c Option<(u32, String)>, BTreeMap<&'c str, usize>>;

fn grouped(found: &[Connection]) -> Groups<'_> {
    let mut groups = Groups::new();
    for connection in found {
        *groups.entry(&connection.process).or_default().entry(&connection.state).or_default() += 1;
    }
    groups
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(target_os = "linux")]
fn connections(port: u16) -> io::Result<Vec<Connection>> {
    let mut rows = of_proc_net(&fs::read_to_string("/proc/net/tcp")?, port);
    // A machine without IPv6 has no such file.
    if let Ok(table) = fs::read_to_string("/proc/net/tcp6") {
        rows.extend(of_proc_net(&table, port));
    }
    let holders = holders()?;
    let held = rows
        .into_iter()
        .map(|(inode, state)| Connection { process: holders.get(&inode).cloned(), state: state.to_owned() });
    Ok(held.collect())
}

#[cfg(target_os = "macos")]
fn connections(port: u16) -> io::Result<Vec<Connection>> {
    let tcp = format!("-iTCP:{port}");
    let listed = std::process::Command::new("lsof").args(["-nP", &tcp, "-FpcnT"]).output()?;
    Ok(of_lsof(&String::from_utf8_lossy(&listed.stdout), port))
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn connections(_: u16) -> io::Result<Vec<Connection>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this works on Linux and macOS only"))
}

/// Who holds which socket, by inode. Processes that end meanwhile, or belong to others, are left out.
#[cfg(target_os = "linux")]
fn holders() -> io::Result<BTreeMap<u64, (u32, String)>> {
    let mut holders = BTreeMap::new();
    for process in fs::read_dir("/proc")? {
        let process = process?;
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        for file in files.flatten() {
            let target = fs::read_link(file.path()).unwrap_or_default();
            let inode = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
            if let Some(inode) = inode.and_then(|inode| inode.parse().ok()) {
                holders.insert(inode, (pid, name.trim().to_owned()));
            }
        }
    }
    Ok(holders)
}

/// The inodes and states of the connections to a remote `port` in a table of `/proc/net`.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn of_proc_net(table: &str, port: u16) -> Vec<(u64, &'static str)> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, remote_port) = fields.get(2)?.rsplit_once(':')?;
        let inode: u64 = fields.get(9)?.parse().ok()?;
        let is_ours = u16::from_str_radix(remote_port, 16) == Ok(port);
        // A connection without an inode is held by no process any more.
        (is_ours && inode != 0).then(|| (inode, tcp_state(fields[3])))
    };
    table.lines().skip(1).filter_map(row).collect()
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn tcp_state(code: &str) -> &'static str {
    match code {
        "01" => "established",
        "02" => "connecting",
        // Half closed by the peer: what a leak looks like after the gateway has gone.
        "08" => "close-wait",
        "04" | "05" | "09" | "0B" => "closing",
        _ => "other",
    }
}

/// The connections to a remote `port` in the fields that `lsof -FpcnT` prints.
#[cfg_attr(not(target_os = "macos"), allow(dead_code))]
fn of_lsof(listed: &str, port: u16) -> Vec<Connection> {
    let (mut pid, mut name, mut found) = (0, String::new(), Vec::<Connection>::new());
    let mut is_ours = false;
    for line in listed.lines() {
        let Some(kind) = line.chars().next() else { continue };
        let rest = &line[kind.len_utf8()..];
        match kind {
            'p' => pid = rest.parse().unwrap_or(0),
            'c' => rest.clone_into(&mut name),
            'n' => {
                is_ours = rest
                    .split_once("->")
                    .and_then(|(_, remote)| remote.rsplit_once(':'))
                    .is_some_and(|(_, remote_port)| remote_port.parse() == Ok(port));
                if is_ours {
                    let state = "other".to_owned();
                    found.push(Connection { process: Some((pid, name.clone())), state });
                }
            }
            'T' if is_ours => {
                if let (Some(state), Some(last)) = (rest.strip_prefix("ST="), found.last_mut()) {
                    last.state = state.to_ascii_lowercase().replace('_', "-");
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_ends_in_a_table_of_linux_are_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:4965 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0 100 0 0 10 0\n\
             1: 0100007F:C001 0100007F:4965 01 00000000:00000000 00:00000000 00000000  1000        0 22 1 0 20 4 30 10 -1\n\
             2: 0100007F:4965 0100007F:C001 01 00000000:00000000 00:00000000 00000000  1000        0 33 1 0 20 4 30 10 -1\n\
             3: 0100007F:C002 0100007F:4965 08 00000000:00000000 00:00000000 00000000  1000        0 44 1 0 20 4 30 10 -1\n\
             4: 0100007F:C003 0100007F:4965 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0\n\
             5: broken\n";
        assert_eq!(of_proc_net(table, 18_789), [(22, "established"), (44, "close-wait")]);
        assert_eq!(of_proc_net(table, 1), []);
    }

    #[test]
    fn the_client_ends_in_a_list_of_lsof_are_found() {
        let listed = "p7\ncapp\nf20\nn127.0.0.1:50000->127.0.0.1:18789\nTST=ESTABLISHED\nTQR=0\n\
                      f21\nn[::1]:50001->[::1]:18789\nTST=CLOSE_WAIT\n\
                      p8\ncnode\nf3\nn127.0.0.1:18789->127.0.0.1:50000\nTST=ESTABLISHED\nf4\nn*:18789\nTST=LISTEN\n";
        let held = |state: &str| Connection { process: Some((7, "app".to_owned())), state: state.to_owned() };
        assert_eq!(of_lsof(listed, 18_789), [held("established"), held("close-wait")]);
    }

    #[test]
    fn connections_are_grouped_by_process() {
        let held = |pid: u32, state: &str| Connection {
            process: (pid > 0).then(|| (pid, "app".to_owned())),
            state: state.to_owned(),
        };
        let found = [held(2, "established"), held(0, "other"), held(2, "established"), held(2, "closing")];
        let groups = grouped(&found);
        let counts: Vec<usize> = groups.values().map(|states| states.values().sum()).collect();
        assert_eq!(counts, [1, 3]);
        assert_eq!(groups[&found[0].process]["established"], 2);
    }
}
