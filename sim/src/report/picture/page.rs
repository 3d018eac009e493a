//! The page of one run.

use maud::{Markup, html};

use crate::judge::recorder::Finished;
use crate::plan::{Plan, Tier};

use super::layout::{Lanes, Rows};
use super::story::{Kind, Story};
use super::{document, drawing, grouped, overview};

/// A run, and what it was called when it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The seed or the file of the plan, as a replay names it.
    pub name: &'a str,
    /// Where it ran.
    pub tier: Tier,
    /// What was to happen.
    pub plan: &'a Plan,
    /// What happened.
    pub finished: &'a Finished,
}

/// The script of the page.
const SCRIPT: &str = include_str!("run.js");

/// The page of a run, complete in itself. It takes about 1 kB for each record.
#[must_use]
pub fn of_run(run: Run<'_>) -> String {
    let finished = run.finished;
    let story = Story::of(&finished.records, finished.violation.as_ref());
    let title = format!("{} on {}", title(run.name), run.tier.name());
    let verdict = finished.violation.as_ref().map(ToString::to_string);
    let body = html! {
        header {
            h1 { (title) }
            (verdict_line(verdict.as_deref(), story.broken_at.is_some()))
            (facts(run))
            (plan(run.plan))
        }
        main {
            @if story.rows.is_empty() {
                p { "Nothing was recorded." }
            } @else {
                (figure(&story, verdict.as_deref()))
                (table(&story))
            }
        }
    };
    document(&title, &body, Some(SCRIPT))
}

/// A seed is called one; a file is called by its name alone.
fn title(name: &str) -> String {
    if name.parse::<u64>().is_ok() {
        return format!("Seed {name}");
    }
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    file.strip_suffix(".toml").unwrap_or(file).to_owned()
}

fn verdict_line(verdict: Option<&str>, has_place: bool) -> Markup {
    html! {
        @match verdict {
            Some(verdict) => {
                p.verdict.broken {
                    strong { "✕ " (verdict) }
                    @if has_place { " " a href="#violation" { "show where" } }
                }
            }
            None => { p.verdict { "No invariant was broken." } }
        }
    }
}

fn facts(run: Run<'_>) -> Markup {
    let finished = run.finished;
    html! {
        dl.facts {
            div { dt { "Records" } dd { (grouped(finished.records.len() as u64)) } }
            div { dt { "Simulated" } dd { (seconds(finished.simulated.as_micros(), 1)) " s" } }
            div { dt { "Tier" } dd { (run.tier.name()) } }
            div { dt { "Digest" } dd { code { (format!("{:016x}", finished.digest)) } } }
            div { dt { "Replay" } dd { code { "cargo sim replay " (run.name) " --tier " (run.tier.name()) } } }
        }
    }
}

fn plan(plan: &Plan) -> Markup {
    let whole = toml::Table::try_from(plan).unwrap_or_default();
    let table = |key: &str| whole.get(key).and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let steps = whole.get("steps").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    html! {
        details.plan {
            summary { "The plan: " (steps.len()) @if steps.len() == 1 { " step" } @else { " steps" } }
            p.params { (pairs(&table("params"))) }
            ol {
                @for step in steps.iter().filter_map(toml::Value::as_table) { li { (step_line(step)) } }
            }
        }
    }
}

/// A step as its text has it: first what is done, then the rest.
fn step_line(step: &toml::Table) -> Markup {
    let mut rest = step.clone();
    let word = rest.remove("do");
    let at = rest.remove("at_ms").and_then(|at| at.as_integer()).and_then(|at| u64::try_from(at).ok());
    html! {
        @if let Some(at) = at { span.at { (seconds(at.saturating_mul(1_000), 3)) } }
        b { (word.as_ref().and_then(toml::Value::as_str).unwrap_or("step")) }
        " " (pairs(&rest))
    }
}

fn pairs(table: &toml::Table) -> Markup {
    html! {
        @for (key, value) in table { span.pair { (key) " " i { (value) } } " " }
    }
}

fn figure(story: &Story, verdict: Option<&str>) -> Markup {
    let lanes = Lanes::of(story);
    let rows = Rows::of(story);
    html! {
        section aria-label="Timeline" {
            div.strip { (overview::strip(story)) }
            (controls(story))
            (legend())
            div.scroller id="scroller" tabindex="0" role="region"
                aria-label="Timeline; up and down arrows go from record to record" {
                (drawing::head(&lanes))
                (drawing::body(story, &lanes, &rows, verdict))
            }
            p.detail id="detail" role="status" {}
        }
    }
}

/// They do nothing without the script, which shows them.
fn controls(story: &Story) -> Markup {
    let count = |kind| story.rows.iter().filter(|row| row.kind == kind).count();
    html! {
        form.controls id="controls" hidden autocomplete="off" {
            fieldset {
                legend { "Show" }
                @for kind in Kind::ALL {
                    @let count = count(kind);
                    @if count > 0 {
                        label {
                            input type="checkbox" name="kind" value=(kind.name()) checked;
                            (kind.name()) " " small { (count) }
                        }
                    }
                }
            }
            label.search { "with " input type="search" name="text" placeholder="any text" size="12"; }
            fieldset {
                legend { "Time" }
                label { input type="radio" name="scale" value="records" checked; "by record" }
                label { input type="radio" name="scale" value="time"; "to scale" }
            }
            span.zoom {
                button type="button" id="out" aria-label="Smaller" { "−" }
                button type="button" id="in" aria-label="Larger" { "+" }
            }
            output id="shown" {}
        }
    }
}

fn legend() -> Markup {
    let messages = [("request", "request"), ("answer", "answer"), ("event", "event"), ("control", "other")];
    html! {
        p.legend {
            @for (class, name) in messages {
                span {
                    svg width="22" height="8" aria-hidden="true" {
                        line class={ "arrow " (class) } x1="0" x2="21" y1="4" y2="4"
                            marker-end={ "url(#to-" (class) ")" } {}
                    }
                    (name)
                }
            }
            span {
                svg width="15" height="12" aria-hidden="true" {
                    rect.socket x="1" y="0" width="5" height="12" {}
                    rect.connection x="8" y="0" width="5" height="12" {}
                }
                "socket held by the client | connection known to the gateway"
            }
            span {
                svg width="14" height="12" aria-hidden="true" { rect.fault x="0" y="0" width="14" height="12" {} }
                "fault"
            }
            span {
                svg width="14" height="12" aria-hidden="true" { rect.down x="0" y="0" width="14" height="12" {} }
                "down"
            }
        }
    }
}

fn table(story: &Story) -> Markup {
    html! {
        details.table id="table" open {
            summary { "All " (grouped(story.rows.len() as u64)) " records" }
            table {
                thead {
                    tr {
                        th scope="col" { "#" }
                        th scope="col" { "seconds" }
                        th scope="col" { "lane" }
                        th scope="col" { "kind" }
                        th scope="col" { "what happened" }
                    }
                }
                tbody id="records" {
                    @for (index, row) in story.rows.iter().enumerate() {
                        tr id={ "r" (index + 1) } class=[(story.broken_at == Some(index)).then_some("broken")]
                            data-us=(row.at_us) data-kind=(row.kind.name()) {
                            td { a href={ "#p" (index + 1) } { (index + 1) } }
                            td { (seconds(row.at_us, 6)) }
                            td { (row.column.name()) }
                            td { (row.kind.name()) }
                            td { (row.text) }
                        }
                    }
                }
            }
        }
    }
}

/// A time in seconds with so many decimals, at most six.
pub(super) fn seconds(us: u64, decimals: usize) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    let end = text.len() - 6 + decimals;
    text[..end].trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_decimals_they_are_asked_for() {
        assert_eq!(
            [0, 1, 3, 6].map(|decimals| seconds(12_345_678, decimals)),
            ["12", "12.3", "12.345", "12.345678"]
        );
    }

    #[test]
    fn a_file_is_called_by_its_name() {
        assert_eq!(title("scenarios/restart-storm.toml"), "restart-storm");
        assert_eq!(title("11"), "Seed 11");
    }
}
