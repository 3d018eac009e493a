//! Pages of runs and explorations: complete, alone, and not to be fooled.

mod pictures;

use onesocket_sim::judge::marks::{Mark, Situation};
use onesocket_sim::judge::oracle::Invariant;
use onesocket_sim::plan::Fault;
use onesocket_sim::plan::Tier;
use onesocket_sim::report::picture;
use onesocket_sim::search::explore::{Exploration, Failure, Progress, explore};
use pictures::{Drawn, HOSTILE, broken, long, short};

/// What markup makes of a text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = page.split_once(start).unwrap_or_else(|| panic!("there is no {start}"));
    rest.split_once(end).unwrap_or_else(|| panic!("there is no {end} after {start}")).0
}

fn holds_every_record(drawn: &Drawn) {
    let count = drawn.finished.records.len();
    let table = between(&drawn.page, "<tbody id=\"records\">", "</tbody>");
    assert_eq!(table.matches("<tr ").count(), count, "{}: rows of the table", drawn.name);
    let drawing = between(&drawn.page, "<svg class=\"picture\"", "</svg>");
    assert_eq!(drawing.matches("<g class=\"row ").count(), count, "{}: marks", drawn.name);
    let mut rest = table;
    for record in &drawn.finished.records {
        let text = escaped(&record.event.to_string());
        let (_, after) =
            rest.split_once(&text).unwrap_or_else(|| panic!("{}: {text} is missing", drawn.name));
        rest = after;
    }
}

#[test]
fn a_picture_holds_every_record_in_order() {
    let (short, long, broken) = (short(), long(), broken());
    assert!((15..=30).contains(&short.finished.records.len()), "{}", short.finished.records.len());
    assert!(long.finished.records.len() >= 2_000, "{}", long.finished.records.len());
    for drawn in [short, long, broken] {
        holds_every_record(&drawn);
    }
}

/// Nothing in a page leads out of it, whatever is in the plan.
fn stands_alone(page: &str) {
    let lower = page.to_ascii_lowercase();
    for outside in ["http:", "https:", "<link", "@import", "//cdn", "fetch(", "import("] {
        assert!(!lower.contains(outside), "the page has {outside}");
    }
    let tags = lower.split('<').skip(1).filter_map(|tag| tag.split_once('>'));
    let sources = tags.filter(|(tag, _)| tag.contains(" src=")).count();
    assert_eq!(sources, 0);
    let links = lower.split(" href=\"").skip(1).filter(|link| !link.starts_with('#')).count();
    let urls = lower.split("url(").skip(1).filter(|url| !url.starts_with('#')).count();
    assert_eq!((links, urls), (0, 0));
    assert!(lower.contains("default-src 'none'"));
}

#[test]
fn a_picture_needs_nothing_else() {
    for drawn in [short(), long(), broken()] {
        stands_alone(&drawn.page);
        let size = drawn.page.len() / drawn.finished.records.len().max(100);
        assert!(size < 1_400, "{}: {size} bytes for each record", drawn.name);
    }
}

#[test]
fn strings_of_a_plan_stay_strings() {
    let page = broken().page;
    assert_eq!(page.matches("<script").count(), 1, "only the page's own script");
    assert_eq!(page.matches("</script").count(), 1);
    assert!(!page.contains("<img") && !page.contains("<!--"));
    let configured = format!("the config changes to gateway 0 with {}", escaped(HOSTILE));
    assert!(page.contains(&configured), "the token is shown as it is");
}

#[test]
fn a_violation_is_marked_where_it_showed() {
    let drawn = broken();
    let violation = drawn.finished.violation.as_ref().expect("two sockets are one too many");
    assert_eq!(violation.invariant, Invariant::OneSocket);
    let second_dial = 12;
    assert!(drawn.page.contains(&format!("id=\"violation\" data-v=\"{second_dial}\"")));
    assert!(drawn.page.contains(&format!("<tr id=\"r{}\" class=\"broken\"", second_dial + 1)));
    assert!(drawn.page.contains(&escaped(&violation.to_string())));
    assert!(!short().page.contains("id=\"violation\""));
}

/// The drawing of a short run, one element a line, without its style and its script.
#[test]
fn the_drawing_of_a_short_run() {
    let page = short().page;
    let drawing = between(&page, "</defs>", "</svg>");
    let lines: Vec<String> = drawing
        .replace('>', ">\n")
        .lines()
        .filter(|line| line.starts_with('<') && !line.starts_with("</"))
        .filter(|line| !line.starts_with("<title") && !line.starts_with("<rect class=\"hit\""))
        .map(str::to_owned)
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn an_exploration_has_all_its_numbers_on_one_page() {
    let exploration = Exploration {
        tier: Tier::Machine,
        seeds: 0..40,
        time: None,
        jobs: 2,
        violations_max: 1,
        check: false,
    };
    let mut explored = explore(&exploration, &Progress::default());
    assert!(picture::of_explorations(std::slice::from_ref(&explored)).contains("No invariant was broken."));

    let violation = broken().finished.violation.expect("it is broken");
    explored.failures.push(Failure { seed: 7, plan: None, violation });
    explored.coverage.marks.remove(&Mark::In(Situation::Woken));
    let page = picture::of_explorations(std::slice::from_ref(&explored));
    stands_alone(&page);
    assert!(!page.contains("<script"), "a report needs no script");
    assert!(page.contains("cargo sim replay 7 --tier machine"));
    assert!(page.contains("<li class=\"missed\"><span>woken</span>"));
    for mark in Mark::all().into_iter().filter(|mark| !matches!(mark, Mark::Met(..))) {
        assert!(page.contains(&format!("<span>{}</span>", mark.name())), "{}", mark.name());
    }
    let heat = between(&page, "<table class=\"heat\">", "</table>");
    for fault in Fault::ALL {
        let row = between(heat, &format!("<th scope=\"row\">{}</th>", fault.name()), "</tr>");
        let total: u64 = between(row, "<td class=\"total\">", "</td>").parse().expect("a number");
        assert_eq!(total, explored.coverage.fault_totals().get(fault).copied().unwrap_or(0));
    }
}

/// A page is drawn from its run alone.
#[test]
fn the_same_run_gives_the_same_page() {
    assert_eq!(short().page, short().page);
}
