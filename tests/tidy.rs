//! The rules of the source tree that no compiler checks, each with its reason.
//!
//! A rule is one row of [`RULES`]: which files it is for, what breaks it, and two examples that show
//! that it notices what it should and nothing else. A failure names file, line and rule.

#[path = "tidy/circles.rs"]
mod circles;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The most lines a file of the library or the simulator may have: what one person reads in a sitting.
const LINES_MAX: usize = 600;

/// A rule of the tree.
struct Rule {
    name: &'static str,
    because: &'static str,
    /// Whether the rule is for the file at this path.
    covers: fn(&str) -> bool,
    /// Whether this line breaks the rule.
    breaks: fn(Line<'_>) -> bool,
    /// A file and its text that break the rule, and one that does not.
    caught: (&'static str, &'static str),
    spared: (&'static str, &'static str),
}

/// One line of a file, with what is around it.
#[derive(Clone, Copy)]
struct Line<'t> {
    /// The whole line.
    text: &'t str,
    /// The line without a comment.
    code: &'t str,
    /// The next line with any code on it.
    next: &'t str,
    /// Counts from 1.
    number: usize,
}

const RULES: &[Rule] = &[
    Rule {
        name: "the core is sans-IO",
        because: "time, randomness and I/O come in as arguments, or no history can be repeated",
        covers: |path| path.starts_with("src/core/"),
        breaks: |line| {
            let banned = [
                "tokio",
                "futures",
                "futures_core",
                "futures_util",
                "std::time::Instant",
                "SystemTime",
                "std::thread",
                "thread_local!",
                "std::fs",
                "std::io",
                "std::process",
                "env::var",
                "rand::random",
                "getrandom",
                "OsRng",
                "RandomState",
                "TcpStream",
                "TcpListener",
                "UdpSocket",
                "UnixStream",
                "ToSocketAddrs",
                "static mut",
                "OnceLock",
                "LazyLock",
                "println!",
                "tracing",
            ];
            let grouped = line.code.contains("std::time::{") && line.code.contains("Instant");
            grouped || names_any(line.code, &banned)
        },
        caught: ("src/core/x.rs", "use std::time::{Duration, Instant};"),
        spared: ("src/core/x.rs", "use super::time::Instant; // not std::time::Instant, not tokio's"),
    },
    Rule {
        name: "the core has ordered maps only",
        because: "the order of a hash map differs from run to run, and effects would with it",
        covers: |path| path.starts_with("src/core/"),
        breaks: |line| names_any(line.code, &["HashMap", "HashSet", "hash_map", "hash_set"]),
        caught: ("src/core/x.rs", "use std::collections::{BTreeMap, HashMap};"),
        spared: ("src/core/x.rs", "#[derive(Hash)] struct Key;"),
    },
    Rule {
        name: "the core knows nothing of its driver",
        because: "it must build, and be understood, alone",
        covers: |path| path.starts_with("src/core/"),
        breaks: |line| {
            names_any(line.code, &["crate::driver", "crate::client", "crate::network", "crate::net"])
        },
        caught: ("src/core/x.rs", "use crate::driver::Driver;"),
        spared: ("src/core/x.rs", "use crate::core::Payload;"),
    },
    Rule {
        name: "the library knows nothing of its simulator",
        because: "what is tested must be what is shipped",
        covers: |path| path.starts_with("src/"),
        breaks: |line| names_any(line.text, &["onesocket_sim", "turmoil", "cfg(sim)", "feature = \"sim\""]),
        caught: ("src/driver/x.rs", "#[cfg(not(turmoil))]"),
        spared: ("src/driver/x.rs", "/// A simulation brings its own network."),
    },
    Rule {
        name: "cfg(test) is for `mod tests` only",
        because: "a branch that only tests take is a branch that nobody tests",
        covers: |path| path.starts_with("src/"),
        breaks: |line| {
            let gate = line.code.contains("cfg(test)") || line.code.contains("cfg_attr(test");
            let opens_tests = line.code.trim() == "#[cfg(test)]" && line.next.trim().starts_with("mod tests");
            line.code.contains("cfg!(test)") || (gate && !opens_tests)
        },
        caught: ("src/driver/x.rs", "#[cfg(test)]\npub fn hook() {}"),
        spared: ("src/driver/x.rs", "#[cfg(test)]\nmod tests {"),
    },
    Rule {
        name: "the driver is generic over its network",
        because: "the same loop runs over TCP, TLS and every simulated network",
        covers: |path| path.starts_with("src/driver"),
        breaks: |line| {
            names_any(line.code, &["crate::net", "tokio::net", "TcpStream", "TcpNetwork", "TlsNetwork"])
        },
        caught: ("src/driver/x.rs", "use crate::net::TcpNetwork;"),
        spared: ("src/driver/x.rs", "use crate::network::Network;"),
    },
    Rule {
        name: "the client names no concrete network",
        because: "consumers see one type, whatever their bytes travel over",
        covers: |path| path == "src/client.rs" || path.starts_with("src/client/"),
        breaks: |line| {
            names_any(line.code, &["crate::net", "tokio::net", "TcpStream", "TcpNetwork", "TlsNetwork"])
        },
        caught: ("src/client.rs", "    let network = crate::net::TcpNetwork;"),
        spared: ("src/client.rs", "pub fn spawn<N: Network>(self, network: N) {}"),
    },
    Rule {
        name: "the gateway model shares nothing with the library",
        because: "two ends with one parser agree on its mistakes",
        covers: |path| path.starts_with("sim/gateway/src/"),
        breaks: |line| names_any(line.code, &["onesocket", "onesocket_sim"]),
        caught: ("sim/gateway/src/model/x.rs", "use onesocket::core::frame::decode;"),
        spared: ("sim/gateway/src/model/x.rs", "//! Shares no code with `onesocket::core`."),
    },
    Rule {
        name: "the gateway model is sans-IO",
        because: "one model serves every tier, and its history must repeat",
        covers: |path| path.starts_with("sim/gateway/src/model/"),
        breaks: |line| {
            let banned =
                ["tokio", "turmoil", "std::time::Instant", "SystemTime", "std::thread", "HashMap", "HashSet"];
            names_any(line.code, &banned)
        },
        caught: ("sim/gateway/src/model/x.rs", "let at = tokio::time::Instant::now();"),
        spared: ("sim/gateway/src/model/x.rs", "use std::collections::BTreeMap;"),
    },
    Rule {
        name: "only the turmoil tier names turmoil",
        because: "the other tiers run without its clock, its random numbers and its hosts",
        covers: |path| path.starts_with("sim/src/") && path != "sim/src/tiers/turmoil.rs",
        breaks: |line| {
            let names =
                ["turmoil::net", "turmoil::Builder", "turmoil::sim", "use turmoil::", "extern crate turmoil"];
            names_any(line.code, &names)
        },
        caught: ("sim/src/tiers/stream.rs", "let stream = turmoil::net::TcpStream::connect(address).await?;"),
        spared: ("sim/src/tiers/mod.rs", "Self::Turmoil => turmoil::run(plan),"),
    },
    Rule {
        name: "oracles judge records",
        because: "an oracle that looks inside what it judges is wrong in the same way",
        covers: |path| path.starts_with("sim/src/judge/oracle"),
        breaks: |line| {
            let inside = ["crate::tiers", "crate::pipe", "onesocket_gateway::GatewayModel", "tokio"];
            let library = line.code.split("onesocket::").skip(1).any(|rest| !rest.starts_with("core::"));
            library || names_any(line.code, &inside) || names_any(line.code, &["Connection"])
        },
        caught: ("sim/src/judge/oracle/x.rs", "use onesocket::Client;"),
        spared: ("sim/src/judge/oracle/x.rs", "use onesocket::core::{Delivery, Instant};"),
    },
    Rule {
        name: "a file is read in one sitting",
        because: "a longer one has two reasons to change",
        covers: |path| ["src/", "sim/src/", "sim/gateway/src/"].iter().any(|tree| path.starts_with(tree)),
        breaks: |line| line.number == LINES_MAX + 1,
        caught: ("src/x.rs", LONG),
        spared: ("src/x.rs", "//! Short."),
    },
    Rule {
        name: "only tests that need something installed are ignored",
        because: "a test that nobody runs tells nobody anything",
        covers: |_| true,
        breaks: |line| {
            let reason = line.code.split_once("#[ignore").map(|(_, reason)| reason);
            let installed = ["gateway", "npm", "tests/edge/", "tests/network/"];
            reason.is_some_and(|reason| !installed.iter().any(|what| reason.contains(what)))
        },
        caught: ("tests/x.rs", "#[ignore = \"flaky\"]"),
        spared: ("tests/x.rs", "#[ignore = \"needs the gateway: run tests/real_gateway/install\"]"),
    },
    Rule {
        name: "nothing is left for later",
        because: "what is to be done is done, or is no one's to find in a comment",
        covers: |_| true,
        breaks: |line| {
            names_any(line.text, &["TODO", "FIXME", "XXX"])
                || names_any(line.code, &["todo!", "unimplemented!"])
        },
        caught: ("sim/src/x.rs", "        todo!()"),
        spared: ("sim/src/x.rs", "let todos = 1;"),
    },
    Rule {
        name: "nothing sleeps for real",
        because: "a test that waits for a clock is slow where it passes and wrong where it does not",
        // The command line shows progress to people, who live in real time. A lock of the operating system that is
        // waited for no longer than so long can only be tried again and again, on a thread that does nothing else.
        covers: |path| !path.starts_with("sim/src/cli/") && path != "src/token_store/file/place.rs",
        breaks: |line| names_any(line.code, &["thread::sleep", "sleep_ms", "park_timeout"]),
        caught: ("tests/x.rs", "    std::thread::sleep(Duration::from_millis(10));"),
        spared: ("sim/src/cli/x.rs", "    thread::sleep(Duration::from_millis(100));"),
    },
    Rule {
        name: "types are named for what they are",
        because: "a Manager, a Helper or a Util can be anything, and becomes it",
        covers: |_| true,
        breaks: |line| {
            let keywords = ["struct", "enum", "trait", "type", "union", "mod"];
            let words: Vec<&str> = words(line.code).collect();
            words.windows(2).any(|pair| {
                let name = pair[1].to_ascii_lowercase();
                keywords.contains(&pair[0])
                    && ["manager", "helper", "util"].iter().any(|vague| name.contains(vague))
            })
        },
        caught: ("src/x.rs", "pub(crate) struct SocketManager {"),
        spared: ("src/x.rs", "let helper = manager(util);"),
    },
];

/// The layers of the simulator, lowest first. A file imports layers of lower rows only; layers of one row import
/// nothing of each other. Below them all is the gateway model, a crate of its own, which the compiler keeps apart.
const LAYERS: &[&[&str]] = &[
    &["base", "pipe"],
    &["plan"],
    &["trace"],
    &["judge"],
    &["subject"],
    &["tiers"],
    &["search"],
    &["scenario"],
    &["report", "standin"],
    &["cli"],
];

#[test]
fn every_layer_imports_lower_layers_only() {
    let mut report = String::new();
    for (path, text) in &sources() {
        for (number, line) in text.lines().enumerate() {
            if let Some((from, to)) = forbidden_import(path, line) {
                let _ = writeln!(report, "{path}:{}: `{from}` imports `{to}`, a higher layer", number + 1);
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn a_forbidden_import_is_caught_with_both_of_its_ends() {
    let cases = [
        ("sim/src/trace/x.rs", "use crate::judge::oracle::Judge;", Some(("trace", "judge"))),
        ("sim/src/pipe/x.rs", "use crate::base::rng::Rng;", Some(("pipe", "base"))),
        ("sim/src/judge/oracle/x.rs", "    crate::search::explore::judged(keep)", Some(("judge", "search"))),
        ("sim/src/report/x.rs", "use crate::standin::EventLog;", Some(("report", "standin"))),
        ("sim/src/judge/oracle/x.rs", "use crate::trace::{Event, Record};", None),
        ("sim/src/judge/x.rs", "//! Lines are kept in [`explore`](crate::search::explore).", None),
        ("sim/src/judge/x.rs", "use crate::judge::logs;", None),
        ("sim/src/cli/x.rs", "use onesocket_sim::search::explore;", None),
    ];
    for (path, line, expected) in cases {
        assert_eq!(forbidden_import(path, line), expected, "{path}: {line}");
    }
}

/// Every folder is a layer, and no file lies beside them, or the rule above would not see it.
#[test]
fn the_simulator_consists_of_its_layers() {
    let inside: Vec<String> = sources()
        .into_iter()
        .filter_map(|(path, _)| path.strip_prefix("sim/src/").map(str::to_owned))
        .collect();
    for path in &inside {
        let known = matches!(path.as_str(), "lib.rs" | "main.rs") || layer_of(path).is_some();
        assert!(known, "sim/src/{path} is in no layer");
    }
    for layer in LAYERS.iter().copied().flatten() {
        assert!(
            inside.iter().any(|path| path.starts_with(&format!("{layer}/"))),
            "there is no layer {layer}"
        );
    }
}

/// The layers at both ends of an import that goes upwards or sideways, if `line` of the file at `path` has one.
fn forbidden_import<'l>(path: &'l str, line: &'l str) -> Option<(&'l str, &'l str)> {
    let (from, rank) = layer_of(path.strip_prefix("sim/src/")?)?;
    let code = without_comment(line);
    let imports = ["crate::", "onesocket_sim::"].into_iter().flat_map(|prefix| code.split(prefix).skip(1));
    let layers = imports.filter_map(|rest| layer_of(rest));
    layers.into_iter().find(|(to, other)| *to != from && *other >= rank).map(|(to, _)| (from, to))
}

/// The layer whose name `text` begins with, and its row.
fn layer_of(text: &str) -> Option<(&str, usize)> {
    let name = words(text).next().filter(|name| text.starts_with(name))?;
    let rank = LAYERS.iter().position(|row| row.contains(&name))?;
    Some((name, rank))
}

/// A file that is one line too long.
const LONG: &str = {
    const BYTES: [u8; LINES_MAX + 1] = [b'\n'; LINES_MAX + 1];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => panic!("line ends are text"),
    }
};

#[test]
fn the_tree_keeps_its_rules() {
    let files = sources();
    assert!(files.len() > 50, "only {} source files were found", files.len());
    let mut report = String::new();
    for (path, text) in &files {
        for (line, rule) in violations(path, text) {
            let _ = writeln!(report, "{path}:{line}: {} ({})", rule.name, rule.because);
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// A rule that catches nothing would pass for ever.
#[test]
fn every_rule_catches_what_breaks_it_and_spares_what_does_not() {
    for rule in RULES {
        let caught = |(path, text): (&str, &str)| {
            violations(path, text).iter().any(|(_, found)| std::ptr::eq(*found, rule))
        };
        assert!(caught(rule.caught), "{} does not catch {:?}", rule.name, rule.caught.1);
        assert!(!caught(rule.spared), "{} catches {:?}", rule.name, rule.spared.1);
    }
}

#[test]
fn every_word_that_is_banned_from_the_core_is_caught() {
    for word in [
        "use tokio::sync::mpsc;",
        "use futures_util::Stream;",
        "let now = std::time::Instant::now();",
        "let now = SystemTime::now();",
        "let map = HashMap::new();",
        "let set: HashSet<u8> = x;",
        "use std::net::TcpStream;",
        "use std::net::{IpAddr, UdpSocket};",
        "std::thread::spawn(f);",
        "std::fs::read(path);",
        "std::env::var(\"TOKEN\");",
        "rand::random::<u64>();",
    ] {
        assert!(!violations("src/core/x.rs", word).is_empty(), "{word} is not caught");
    }
    for word in ["std::env::consts::OS", "env!(\"CARGO_PKG_VERSION\")", "use std::net::IpAddr;"] {
        assert!(violations("src/core/x.rs", word).is_empty(), "{word} is caught");
    }
}

#[test]
fn a_violation_is_found_at_its_line() {
    let found = violations("src/core/x.rs", "//! A clock.\n\nuse std::time::SystemTime;\n");
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3]);
}

/// A comment that cites a rule or a bug cites one that a reader finds.
#[test]
fn what_is_cited_is_in_the_documents() {
    let read = |path: &str| {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
            .expect("the document is there")
    };
    let (protocol, reports) = (read("docs/protocol.md"), read("docs/reports.md"));
    let is_section = |number: &str| {
        let letter = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let whole = number.strip_suffix(letter).unwrap_or(number);
        let is_there =
            protocol.contains(&format!("**{whole}**")) || protocol.contains(&format!("\n## {whole}. "));
        is_there && (letter.is_empty() || protocol.contains(&format!("**{letter}.**")))
    };
    let mut missing = String::new();
    for (path, text) in &sources() {
        let (sections, bugs) = (cited_sections(text), cited_bugs(text));
        for number in sections.iter().filter(|number| !is_section(number)) {
            let _ = writeln!(missing, "{path}: protocol {number} is not in docs/protocol.md");
        }
        for number in bugs.iter().filter(|number| !reports.contains(&format!("\n| {number} | "))) {
            let _ = writeln!(missing, "{path}: {number} is not in docs/reports.md");
        }
    }
    assert!(missing.is_empty(), "\n{missing}");
    assert_eq!(cited_sections("(protocol 3.8, 10.5; protocol 6.3a)"), ["3.8", "10.5", "6.3a"]);
    assert_eq!(cited_bugs("B04, A26: and B1, 0B12, BB12"), ["B04", "A26"]);
}

/// The numbers after the word `protocol`.
fn cited_sections(text: &str) -> Vec<&str> {
    let lists = text.split("protocol ").skip(1).map(|rest| {
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && !".,: ".contains(c)).unwrap_or(rest.len());
        &rest[..end]
    });
    let numbers = lists.flat_map(|list| {
        let numbers = list.split(", ").map(|number| number.split(' ').next().unwrap_or_default());
        let numbers = numbers.map(|number| number.trim_end_matches(['.', ',', ':']));
        numbers.take_while(|number| number.starts_with(|c: char| c.is_ascii_digit()))
    });
    numbers.collect()
}

/// Words like `B04`.
fn cited_bugs(text: &str) -> Vec<&str> {
    let is_bug = |word: &&str| {
        word.len() == 3 && word.starts_with(['A', 'B']) && word[1..].bytes().all(|byte| byte.is_ascii_digit())
    };
    words(text).filter(is_bug).collect()
}

/// Where `text`, the file at `path`, breaks which rule.
fn violations(path: &str, text: &str) -> Vec<(usize, &'static Rule)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| (rule.covers)(path)) {
        for (index, text) in lines.iter().enumerate() {
            let rest = lines[index + 1..].iter().map(|line| without_comment(line));
            let next = rest.into_iter().find(|line| !line.trim().is_empty()).unwrap_or_default();
            let line = Line { text, code: without_comment(text), next, number: index + 1 };
            if (rule.breaks)(line) {
                found.push((line.number, rule));
            }
        }
    }
    found
}

/// The part of a line before a comment. A `//` that follows a colon is part of a url.
fn without_comment(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// Whether `code` names one of these, as whole words.
fn names_any(code: &str, names: &[&str]) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    names.iter().any(|name| {
        code.match_indices(name).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            let after = code[at + name.len()..].chars().next();
            let open_end = !name.ends_with(is_part);
            !(name.starts_with(is_part) && before.is_some_and(is_part))
                && (open_end || !after.is_some_and(is_part))
        })
    })
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// All source files of the tree, but for this one, which has to spell out what it bans.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for top in ["src", "tests", "examples", "benches", "sim", "fuzz"] {
        collect(&root.join(top), &mut files);
    }
    files.sort();
    let named = files.into_iter().map(|file| {
        let path = file.strip_prefix(root).expect("it was found below the root");
        let path = path.to_str().expect("paths are text").replace('\\', "/");
        (path, std::fs::read_to_string(&file).expect("a source file is text"))
    });
    named.filter(|(path, _)| !path.starts_with("tests/tidy")).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.expect("a directory can be read").path();
        let is_ours = !path.ends_with("target") && !path.ends_with("node_modules");
        if path.is_dir() && is_ours {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
