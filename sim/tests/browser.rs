//! The pages in a real browser, without a network: see `tests/browser/README.md` at the root.

mod pictures;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use onesocket_sim::plan::Tier;
use onesocket_sim::report::picture;
use onesocket_sim::search::explore::{Exploration, Failure, Progress, explore};
use onesocket_sim::trace::Event;
use pictures::{Drawn, broken, long, short};
use serde_json::{Value, json};

/// Writes the pages to a folder of their own.
fn write_pages(pages: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    for (name, page) in pages {
        std::fs::write(folder.join(format!("{name}.html")), page).expect("the folder can be written");
    }
    folder
}

/// What the browser says of each page.
fn look(folder: &Path, names: &[&str]) -> BTreeMap<String, Value> {
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("browser");
    assert!(installed.join("installed").is_file(), "run tests/browser/install first");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/browser");
    let lock_file =
        |directory: &Path| std::fs::read(directory.join("package-lock.json")).expect("it is there");
    assert!(lock_file(&installed) == lock_file(&scripts), "run tests/browser/install again");
    let output = Command::new("node")
        .arg(scripts.join("look.mjs"))
        .arg(&installed)
        .arg(folder)
        .args(names)
        // The browser is unpacked there when it starts.
        .env("TMPDIR", &installed)
        .stdin(Stdio::null())
        .output()
        .expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("the script prints text");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("the script prints JSON"));
    lines.map(|line| (line["name"].as_str().expect("a name").to_owned(), line)).collect()
}

/// How many records the filter for events, and the search for what the first subscription gets, leave.
fn events_and_first(drawn: &Drawn) -> (u64, u64) {
    let (mut events, mut first) = (0, 0);
    for record in &drawn.finished.records {
        let text = record.event.to_string();
        let is_push = matches!(record.event, Event::Pushed { .. });
        let is_event = is_push || text.contains("sends event") || text.contains("loses event");
        let is_subscription = matches!(
            record.event,
            Event::Subscribed { .. } | Event::Unsubscribed { .. } | Event::Panicked { .. }
        );
        events += u64::from(is_event || is_subscription);
        first += u64::from(matches!(record.event, Event::Pushed { subscription: 1, .. }));
    }
    (events, first)
}

fn is_as_drawn(drawn: &Drawn, saw: &Value) {
    let name = drawn.name;
    let count = drawn.finished.records.len();
    let broken = u64::from(drawn.finished.violation.is_some());
    assert_eq!(saw["rows"], count, "{name}");
    assert_eq!(saw["moved"], json!([]), "{name}: the script lays out what it finds laid out");
    assert_eq!(saw["everything"]["table"], count, "{name}");
    assert!(saw["second"].as_str().is_some_and(|text| text.starts_with("#2 ")), "{name}: {}", saw["second"]);
    assert!(
        saw["hovered"].as_str().is_some_and(|text| text.starts_with("#3 ")),
        "{name}: {}",
        saw["hovered"]
    );

    let (events, first) = events_and_first(drawn);
    assert!(first > 0, "{name}: there is something to find");
    // The record that broke something stays, whatever is looked for.
    assert_eq!(saw["eventsOnly"]["count"]["events"], events, "{name}: {}", saw["eventsOnly"]);
    assert_eq!(saw["eventsOnly"]["table"], events + broken, "{name}");
    assert_eq!(saw["found"]["table"], first + broken, "{name}: {}", saw["found"]);

    let legible = &saw["legible"];
    assert_eq!(legible["words"], count, "{name}: every record is in words");
    for view in ["legible", "legibleInTrueTime", "legibleFromAfar"] {
        assert_eq!((&saw[view]["overlaps"], &saw[view]["outside"]), (&json!(0), &json!(0)), "{name} {view}");
        assert!(saw[view]["smallest"].as_f64() >= Some(10.0), "{name} {view}: {}", saw[view]);
        assert_eq!(saw[view]["scrollsSideways"], false, "{name} {view}");
    }
    assert_eq!(saw["afar"]["table"], count, "{name}");
    assert!(saw["trueTime"].as_f64() < Some(0.01), "{name}: {} pixels off", saw["trueTime"]);
}

#[test]
#[ignore = "needs a browser from npm: run tests/browser/install"]
fn pages_can_be_read_and_used_without_a_network() {
    let runs = [("short", short()), ("long", long()), ("broken", broken())];
    let exploration = Exploration {
        tier: Tier::Machine,
        seeds: 0..200,
        time: None,
        jobs: 2,
        violations_max: 1,
        check: false,
    };
    let mut explored = explore(&exploration, &Progress::default());
    explored.failures.push(Failure {
        seed: 120,
        plan: None,
        violation: runs[2].1.finished.violation.clone().expect("broken"),
    });
    let report = picture::of_explorations(std::slice::from_ref(&explored));
    let mut pages: Vec<(&str, &str)> = runs.iter().map(|(name, run)| (*name, run.page.as_str())).collect();
    pages.push(("report", &report));
    let folder = write_pages(&pages);
    let names: Vec<&str> = pages.iter().map(|(name, _)| *name).collect();
    let saw = look(&folder, &names);
    for name in names {
        let nothing = json!([]);
        assert_eq!((&saw[name]["errors"], &saw[name]["requests"]), (&nothing, &nothing), "{name}");
        assert_eq!(saw[name]["obeyed"], false, "{name}");
        assert_eq!(saw[name]["narrowScrolls"], false, "{name}");
    }
    for (name, run) in &runs {
        is_as_drawn(run, &saw[*name]);
    }
    assert_eq!(saw["broken"]["violation"], true, "it is in view after a click");
}
