//! The contract of the command line: exit status, the last line, clear words about wrong input.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn temporary(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("the temporary folder can be written");
    path
}

#[test]
fn a_clean_exploration_exits_0_and_writes_the_contract_s_json() {
    let output = sim(&["explore", "--seeds", "0..20", "--json", "-"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("standard output is JSON alone");
    let keys: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected =
        ["digest", "events", "faults", "marks", "runs", "sim_seconds", "tier", "violations", "wall_seconds"];
    assert_eq!(keys, expected);
    assert_eq!((&json["runs"], &json["tier"]), (&20.into(), &"machine".into()));
}

#[test]
fn a_replay_prints_the_timeline_and_the_digest() {
    let output = sim(&["replay", "1", "--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("dials gateway"), "{text}");
    assert!(text.trim_end().ends_with("a second run gives the same digest"), "{text}");
}

#[test]
fn a_printed_plan_can_be_replayed() {
    let output = sim(&["replay", "9", "--print-plan"]);
    let path = temporary("printed.toml", &String::from_utf8_lossy(&output.stdout));
    let digest = |argument: &str| {
        let output = sim(&["replay", argument, "--json", "-"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        json["digest"].clone()
    };
    assert_eq!(digest("9"), digest(path.to_str().expect("a path of plain text")));
}

#[test]
fn pages_are_written_where_they_are_wanted() {
    let path = temporary("page.html", "");
    let file = path.to_str().expect("a path of plain text");
    for (arguments, title) in [
        (["replay", "9", "--html", file], "<title>Seed 9 on machine</title>"),
        (["explore", "--seeds=0..3", "--html", file], "<title>Exploration on machine</title>"),
    ] {
        let output = sim(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let page = std::fs::read_to_string(&path).expect("the page was written");
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains(title), "{arguments:?}");
        refuses(&[arguments[0], arguments[1], "--html", "/no/such/folder/x.html"], "cannot be written");
    }
    let output = sim(&["replay", "9", "--html", "-"]);
    assert!(output.stdout.starts_with(b"<!DOCTYPE html>"), "the page alone goes to standard output");
}

/// One line on standard error that holds `part`, and exit status 2.
fn refuses(arguments: &[&str], part: &str) {
    let output = sim(arguments);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    assert!(text.contains(part), "{arguments:?}: {text}");
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
}

#[test]
fn wrong_input_exits_2_with_a_clear_line() {
    refuses(&["replay", "no-such-file.toml"], "neither a seed nor a plan file");
    refuses(&["explore", "--tier", "kernel"], "the tiers are machine, stream and turmoil");
    refuses(&["explore", "--seeds", "5..5"], "the range of seeds is empty");
    refuses(&["explore", "--seeds", "7"], "looks like 0..1000");
    refuses(&["explore", "--jobs", "0"], "0");
    refuses(&["mutants", "--only", "no-such-mutant"], "no mutant \"no-such-mutant\"");
    refuses(&["explore", "--seeds", "0..1", "--json", "/no/such/folder/x.json"], "cannot be written");
    let version = temporary("version.toml", "version = 99\nseed = 1\n");
    refuses(&["replay", version.to_str().expect("text")], "has version 99");
    let key = temporary(
        "key.toml",
        "version = 1\nseed = 1\n[params]\n[[steps]]\nat_ms = 1\ndo = \"connect\"\nwhen = 3\n",
    );
    refuses(&["replay", key.to_str().expect("text")], "unknown field `when`");
    let late = temporary(
        "late.toml",
        "version = 1\nseed = 1\n[params]\nend_ms = 10\n[[steps]]\nat_ms = 11\ndo = \"wake\"\n",
    );
    let late = late.to_str().expect("text");
    refuses(&["replay", late], "step 1 at 11 ms: it lasts beyond the end");
    refuses(&["gateway", "--listen", "nonsense"], "an address looks like 127.0.0.1:18789");
    refuses(&["gateway", "--listen", "0", "--control", "1:2:3"], "is no address to listen on");
    refuses(&["gateway", "--listen", "0", "--plan", late], "it lasts beyond the end");
    refuses(&["gateway", "--listen", "0", "--plan", "no-such-file.toml"], "neither a seed nor a plan file");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    refuses(&["gateway", "--listen", &address], "cannot listen on 127.0.0.1:");
}

/// Started on a free port, dialled, interrupted: it says where it listens and ends by itself with status 0.
#[cfg(unix)]
#[test]
fn the_gateway_says_where_it_listens_and_ends_when_it_is_interrupted() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["gateway", "--listen", "127.0.0.1:0", "--plan", "9"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut line = || lines.next().expect("there is a line").expect("it is text");
    assert!(line().starts_with("control on http://127.0.0.1:"));
    let listening = line();
    let address = listening.strip_prefix("listening on ws://").expect("it says where");
    let stream = TcpStream::connect(address).expect("it listens");
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
    assert!(killed.success());
    drop(stream);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert!(rest.iter().any(|line| line.contains("plan: ")), "{rest:?}");
    assert!(rest.last().is_some_and(|line| line.contains("down: connections are refused")), "{rest:?}");
}
