//! The contract of the command line: exit status, the last line, clear words about wrong input.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
#[cfg(unix)]
use std::process::Child;
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
    let expected = [
        "chance_of_new",
        "digest",
        "events",
        "faults",
        "marks",
        "rarest",
        "runs",
        "sim_seconds",
        "tier",
        "triples",
        "violations",
        "wall_seconds",
    ];
    assert_eq!(keys, expected);
    assert_eq!((&json["runs"], &json["tier"]), (&20.into(), &"machine".into()));
}

#[test]
fn a_guided_exploration_repeats_and_missed_marks_fail_where_they_are_required() {
    let digest = |jobs| {
        let output = sim(&["explore", "--guided", "--seeds", "0..100", "--jobs", jobs, "--json", "-"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (json["digest"].clone(), json["triples"].clone(), json["runs"].clone())
    };
    let one = digest("1");
    assert_eq!(one, digest("2"));
    assert_eq!(one.2, 100);
    let output = sim(&["explore", "--seeds", "0..2", "--require-marks"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().next_back().expect("there is a line");
    assert!(last.contains(" required marks were never reached: "), "{text}");
    assert!(text.contains(" triples of client/gateway/fault reached; rarest: "), "{text}");
    refuses(&["explore", "--out", "x"], "--guided");
}

#[test]
fn an_exhaustive_search_makes_every_run_there_is() {
    let output = sim(&["exhaust", "--faults", "1", "--json", "-"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let placements = json["placements"].as_u64().expect("a number");
    assert_eq!(
        (json["runs"].as_u64(), json["runs_wanted"].as_u64()),
        (Some(1 + placements), Some(1 + placements))
    );
    assert_eq!(json["violations"], 0);
    refuses(&["exhaust", "--faults", "4"], "1..=3");
}

#[test]
fn a_replay_prints_the_timeline_and_the_digest() {
    let output = sim(&["replay", "1", "--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("dials gateway"), "{text}");
    assert!(text.contains("a second run is the same to the last record"), "{text}");
    assert!(text.trim_end().ends_with("a run in another process is the same to the last record"), "{text}");
}

#[test]
fn a_plan_that_the_tier_cannot_carry_out_is_refused_with_the_tiers_that_can() {
    let text = "version = 1\nseed = 1\n[params]\n[[steps]]\nat_ms = 5\ndo = \"reset\"\ngateway = 0\n";
    let path = temporary("reset.toml", text);
    let path = path.to_str().expect("a path of plain text");
    let why = "step 1 at 5 ms: reset cannot happen on turmoil, only on machine and stream";
    refuses(&["replay", path, "--tier", "turmoil"], why);
    refuses(&["shrink", path, "--tier", "turmoil"], why);
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
fn two_runs_are_compared_down_to_the_first_record_that_differs() {
    let records = temporary("records.json", "");
    let records = records.to_str().expect("a path of plain text");
    assert_eq!(sim(&["replay", "9", "--records", records]).status.code(), Some(0));
    let same = sim(&["replay", "9", "--against", records]);
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
    let other = sim(&["replay", "9", "--tier", "stream", "--against", records]);
    assert_eq!(other.status.code(), Some(1), "{}", stderr(&other));
    let text = String::from_utf8_lossy(&other.stdout).into_owned();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    assert_eq!(lines[0], "cargo sim replay 9 --tier stream");
    assert!(lines[1].starts_with("  other  ") && lines[2].starts_with("  this   "), "{text}");
    assert!(text.contains("records.json differs from record "), "{text}");
    let tiers = sim(&["replay", "9", "--against-tier", "machine"]);
    assert_eq!(tiers.status.code(), Some(0), "{}", stderr(&tiers));
}

#[test]
fn a_scenario_that_misses_its_situation_fails_its_replay() {
    let plan = |expect: &str| {
        format!(
            "version = 1\nseed = 1\nexpect = [\"{expect}\"]\n[params]\nend_ms = 2000\n[[steps]]\nat_ms = 1\ndo = \"connect\"\n"
        )
    };
    let seen = temporary("seen.toml", &plan("dials = 1"));
    assert_eq!(sim(&["replay", seen.to_str().expect("text")]).status.code(), Some(0));
    let missed = temporary("missed.toml", &plan("reconnected"));
    let output = sim(&["replay", missed.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\nexpected reconnected\n"));
    let nonsense = temporary("nonsense.toml", &plan("reconected"));
    refuses(&["replay", nonsense.to_str().expect("text")], "neither a mark nor a count");
}

#[test]
fn a_plan_that_breaks_nothing_is_not_shrunk() {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("not-shrunk.toml");
    let output = sim(&["shrink", "1", "--out", out.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text, "plan 1 breaks nothing on machine: there is nothing to shrink\n");
    assert!(!out.exists());
}

/// Sends a signal to a process that runs.
#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

/// Terminated while it explores for an hour: the report on standard output is a whole one, and the status says that
/// not all was run.
#[cfg(unix)]
#[test]
fn a_terminated_exploration_reports_what_it_has() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["explore", "--seconds", "3600", "--json", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let first = lines.next().expect("there is a line").expect("it is text");
    assert!(first.ends_with("Ctrl-C ends it with a report."), "{first}");
    signal(&child, "-TERM");
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(3), "{rest:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the report is JSON");
    assert_eq!(report["violations"], serde_json::json!([]));
    assert!(report["runs"].is_u64() && report["digest"].is_string(), "{report}");
    assert!(rest.last().is_some_and(|line| line.starts_with("interrupted: ")), "{rest:?}");
}

/// The same for an exhaustive search, by both signals.
#[cfg(unix)]
#[test]
fn a_terminated_exhaustive_search_reports_what_it_has() {
    for name in ["-TERM", "-INT"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sim"))
            .args(["exhaust", "--faults", "3"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        lines.next().expect("there is a line").expect("it is text");
        signal(&child, name);
        let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
        assert_eq!(child.wait().expect("it ends").code(), Some(3), "{rest:?}");
        assert!(rest.last().is_some_and(|line| line.starts_with("interrupted: ")), "{rest:?}");
    }
}

/// Interrupted while it explores for an hour: it reports what it has and ends by itself.
#[cfg(unix)]
#[test]
fn an_interrupted_exploration_reports_what_it_has() {
    let json = temporary("interrupted.json", "");
    let mut child = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["explore", "--seconds", "3600", "--json", json.to_str().expect("text")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let first = lines.next().expect("there is a line").expect("it is text");
    assert!(first.ends_with("Ctrl-C ends it with a report."), "{first}");
    signal(&child, "-INT");
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(3), "{rest:?}");
    assert!(
        rest.first().is_some_and(|line| line.starts_with("machine ") && line.contains(" runs ")),
        "{rest:?}"
    );
    let json = std::fs::read_to_string(json).expect("the report was written");
    let report: serde_json::Value = serde_json::from_str(&json).expect("the report is JSON");
    assert_eq!(report["violations"], serde_json::json!([]));
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
    assert!(!text.contains("panicked at"), "{arguments:?}: {text}");
}

#[test]
fn wrong_input_exits_2_with_a_clear_line() {
    refuses(&["replay", "no-such-file.toml"], "neither a seed nor a plan file");
    refuses(&["explore", "--tier", "kernel"], "the tiers are machine, stream and turmoil");
    refuses(&["explore", "--seeds", "5..5"], "the range of seeds is empty");
    refuses(&["explore", "--seeds", "7"], "looks like 0..1000");
    refuses(&["explore", "--jobs", "0"], "0");
    refuses(&["shrink", "no-such-file.toml"], "neither a seed nor a plan file");
    refuses(&["shrink", "1", "--tier", "kernel"], "the tiers are machine, stream and turmoil");
    refuses(&["shrink", "1", "--runs", "0"], "0");
    refuses(&["replay", "1", "--against", "no-such-file.json"], "holds no records to compare with");
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
    signal(&child, "-INT");
    drop(stream);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert!(rest.iter().any(|line| line.contains("plan: ")), "{rest:?}");
    assert!(rest.last().is_some_and(|line| line.contains("down: connections are refused")), "{rest:?}");
}

#[test]
fn nothing_in_a_plan_steers_a_terminal() {
    let odd = r"\u001b[31m\u202e\u2028\ufeff\u007f";
    let plan = include_str!("../../scenarios/token-change-in-flight.toml");
    let plan = plan.replace("token-1", &format!("token{odd}")).replace("while requests", odd);
    let path = temporary("odd-text.toml", &plan);
    let path = path.to_str().expect("a folder with a plain name");
    let is_odd = |c: char| onesocket::core::peer_text::needs_escape(c) && !matches!(c, '\n' | '\t');
    for more in [&[][..], &["--json", "-"], &["--records", "-"], &["--html", "-"], &["--print-plan"]] {
        let output = sim(&[&["replay", path, "--tier", "machine"], more].concat());
        let text =
            String::from_utf8(output.stdout).expect("it is text") + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(text.chars().find(|c| is_odd(*c)), None, "{more:?} {text:?}");
        assert!(matches!(output.status.code(), Some(0 | 1)) && !text.is_empty(), "{more:?} {text}");
    }
    let output = sim(&["replay", "no-\u{1b}[31m\u{202e}-plan"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(r"no-\u{1b}[31m\u{202e}-plan"), "{output:?}");
}
