//! The page of an exploration.

use std::collections::BTreeSet;
use std::time::Duration;

use maud::{Markup, html};

use crate::judge::marks::{Coverage, Mark};
use crate::plan::{Fault, Tier};
use crate::search::explore::ExplorationReport;
use crate::trace::StatusKind;

use super::{document, grouped};

/// The page of an exploration, tier by tier, complete in itself.
#[must_use]
pub fn of_explorations(all: &[ExplorationReport]) -> String {
    let mut coverage = Coverage::default();
    for report in all {
        coverage.merge(&report.coverage);
    }
    let tiers: Vec<&str> = all.iter().map(|report| report.tier.name()).collect();
    let title = format!("Exploration on {}", tiers.join(", "));
    let runs = all.iter().map(|report| report.runs).sum();
    let body = html! {
        header {
            h1 { (title) }
            (verdict(all))
            @for report in all { (facts(report)) }
        }
        main {
            (violations(all))
            (heat_map(&coverage, &all.iter().map(|report| report.tier).collect::<Vec<_>>()))
            (marks(&coverage, all, runs))
            @for report in all { (growth(report)) (triples(report)) }
        }
    };
    document(&title, &body, None)
}

fn verdict(all: &[ExplorationReport]) -> Markup {
    let found: usize = all.iter().map(|report| report.failures.len()).sum();
    html! {
        @match found {
            0 => p.verdict { "No invariant was broken." },
            1 => p.verdict.broken { strong { "✕ 1 run broke an invariant." } },
            _ => p.verdict.broken { strong { "✕ " (found) " runs broke an invariant." } },
        }
    }
}

fn facts(report: &ExplorationReport) -> Markup {
    let wall = report.wall.as_secs_f64().max(0.001);
    let simulated = report.simulated.as_secs_f64();
    html! {
        dl.facts {
            div { dt { "Tier" } dd { (report.tier.name()) } }
            div { dt { "Runs" } dd { (grouped(report.runs)) } }
            div { dt { "Runs a second" } dd { (grouped((report.runs as f64 / wall) as u64)) } }
            div { dt { "Simulated" } dd { (span(report.simulated)) } }
            div { dt { "Simulated to real" } dd { (grouped((simulated / wall) as u64)) " : 1" } }
            div { dt { "Records" } dd { (grouped(report.events)) } }
            div { dt { "Seeds" } dd { "from " (report.first_seed) } }
            div { dt { "Digest" } dd { code { (format!("{:016x}", report.digest)) } } }
        }
    }
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..3_600 => format!("{seconds} s"),
        3_600..172_800 => format!("{:.1} h", time.as_secs_f64() / 3_600.0),
        _ => format!("{:.1} days", time.as_secs_f64() / 86_400.0),
    }
}

fn violations(all: &[ExplorationReport]) -> Markup {
    let found = || all.iter().flat_map(|report| report.failures.iter().map(move |found| (report, found)));
    html! {
        @if found().next().is_some() {
            h2 { "Violations" }
            div.wide { table.failures {
                thead { tr { th scope="col" { "invariant" } th scope="col" { "at" } th scope="col" { "replay" } th scope="col" { "what was seen" } } }
                tbody {
                    @for (report, found) in found() {
                        tr.broken {
                            td { (found.violation.invariant.name()) }
                            td { (found.violation.at) }
                            td {
                                @if found.plan.is_some() { "run " (found.seed) ", by a plan of its own" }
                                @else { code { "cargo sim replay " (found.seed) " --tier " (report.tier.name()) } }
                            }
                            td { (found.violation.what) }
                        }
                    }
                }
            } }
        }
    }
}

/// How often each fault began in each state of the client. The shade is the logarithm: a cell that is ten times as
/// dark would hide all others.
fn heat_map(coverage: &Coverage, tiers: &[Tier]) -> Markup {
    let count = |fault, state| coverage.faults.get(&(fault, state)).copied().unwrap_or(0);
    let most = coverage.faults.values().copied().max().unwrap_or(0);
    let totals = coverage.fault_totals();
    let declared: BTreeSet<Mark> = Mark::of_tiers(tiers).into_iter().collect();
    let states: Vec<StatusKind> = StatusKind::ALL
        .iter()
        .copied()
        .filter(|state| {
            *state != StatusKind::NotConfigured || Fault::ALL.iter().any(|fault| count(*fault, *state) > 0)
        })
        .collect();
    html! {
        h2 { "Which fault met the client in which state" }
        div.wide {
            table.heat {
                thead {
                    tr {
                        th scope="col" { "fault" }
                        @for state in &states { th scope="col" { (format!("{state:?}")) } }
                        th scope="col" { "all" }
                    }
                }
                tbody {
                    @for fault in Fault::ALL {
                        tr {
                            th scope="row" { (fault.name()) }
                            @for state in &states {
                                (cell(count(*fault, *state), most, declared.contains(&Mark::Met(*fault, *state))))
                            }
                            td.total { (grouped(totals.get(fault).copied().unwrap_or(0))) }
                        }
                    }
                }
            }
        }
        p.note { "Shades are logarithmic. What was never reached is red if it is a mark, and a dot if it is none." }
    }
}

/// `is_declared` says that every exploration should reach it.
fn cell(count: u64, most: u64, is_declared: bool) -> Markup {
    if count == 0 {
        return if is_declared {
            html! { td.missed { "missed" } }
        } else {
            html! { td.none { "·" } }
        };
    }
    let share = share(count, most) * 0.55 + 0.05;
    html! { td style={ "--share:" (format!("{share:.2}")) } { (grouped(count)) } }
}

/// Where `count` is between 0 and `most`, by logarithm.
fn share(count: u64, most: u64) -> f64 {
    (count as f64).ln_1p() / (most.max(1) as f64).ln_1p()
}

fn marks(coverage: &Coverage, all: &[ExplorationReport], runs: u64) -> Markup {
    let count = |mark| coverage.marks.get(&mark).copied().unwrap_or(0);
    let tiers: Vec<Tier> = all.iter().map(|report| report.tier).collect();
    let all_marks = Mark::of_tiers(&tiers);
    // The table of faults and states has the others.
    let mut rarest: Vec<Mark> =
        all_marks.iter().copied().filter(|mark| !matches!(mark, Mark::Met(..))).collect();
    rarest.sort_by_key(|mark| count(*mark));
    let most = rarest.last().map_or(1, |mark| count(*mark));
    let missed = coverage.missed(&tiers).count();
    let first = |mark: Mark| {
        let seeds =
            all.iter().filter_map(|report| Some(report.discoveries.mark(mark)? - report.first_seed + 1));
        seeds.min()
    };
    html! {
        h2 { "Marks: " (all_marks.len() - missed) " of " (all_marks.len()) " reached" }
        p.note { "Runs of " (grouped(runs)) " that reached each, the rarest first; marks of a fault in a state are in the table above. Bars are logarithmic." }
        ol.marks {
            @for mark in rarest {
                @if count(mark) == 0 {
                    li.missed { span { (mark.name()) } span {} b { "missed" } }
                } @else {
                    li title=[first(mark).map(|run| format!("first reached by run {run}"))] {
                        span { (mark.name()) }
                        span.bar style={ "width:" (format!("{:.1}", share(count(mark), most) * 100.0)) "%" } {}
                        b { (grouped(count(mark))) }
                    }
                }
            }
        }
    }
}

/// Rare triples that are named.
const RAREST: usize = 8;

/// What is probably left to be found.
fn triples(report: &ExplorationReport) -> Markup {
    let rarest = report.triples.by_rarity();
    html! {
        p.note {
            (grouped(report.triples.len() as u64)) " triples of a state of the client, a state of its gateway and a fault were reached. "
            @if let Some(chance) = report.triples.chance_of_new() {
                "The next run of this kind reaches a new one with a chance of " (format!("{:.2} %", chance * 100.0)) ", as Good and Turing estimate it. "
            }
            @if !rarest.is_empty() { "The rarest:" }
            @for (count, triple) in rarest.into_iter().take(RAREST) { " " code { (triple) } " (" (count) ")" }
        }
    }
}

const WIDTH: f64 = 1_100.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 40.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 28.0;

/// When marks and pairs were first reached: a curve that has gone flat says that more of the same finds little.
fn growth(report: &ExplorationReport) -> Markup {
    let end = report.runs.max(10);
    let x = |run: u64| LEFT + (run.max(1) as f64).ln() / (end as f64).ln() * (WIDTH - LEFT - RIGHT);
    let run = |seed: u64| seed.saturating_sub(report.first_seed) + 1;
    let marks: Vec<u64> = report.discoveries.marks().map(run).collect();
    let pairs: Vec<u64> = report.discoveries.pairs().map(run).collect();
    let declared = Mark::all().len();
    let most = declared.max(pairs.len()).max(1) as f64;
    let y = |count: usize| HEIGHT - BOTTOM - count as f64 / most * (HEIGHT - TOP - BOTTOM);
    let steps = |mut runs: Vec<u64>| {
        runs.sort_unstable();
        let mut path = format!("M{LEFT:.1},{:.1}", y(0));
        for (index, run) in runs.iter().enumerate() {
            path += &format!(" H{:.1} V{:.1}", x(*run), y(index + 1));
        }
        format!("{path} H{:.1}", WIDTH - RIGHT)
    };
    let decades = std::iter::successors(Some(1_u64), |run| run.checked_mul(10)).take_while(|run| *run <= end);
    html! {
        h2 { "What was new, run by run, on " (report.tier.name()) }
        div.wide {
            svg.growth role="img" aria-label="Marks and pairs reached over runs" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } {
                line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y(0)) y2=(y(0)) {}
                @for run in decades {
                    line.axis x1=(x(run)) x2=(x(run)) y1=(y(0)) y2=(y(0) + 4.0) {}
                    text.tick.middle x=(x(run)) y=(y(0) + 17.0) { @if run == 1 { "run 1" } @else { (grouped(run)) } }
                }
                line.most x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y(declared)) y2=(y(declared)) {}
                text.tick.end x=(LEFT - 6.0) y=(y(declared) + 4.0) { (declared) }
                path.marks-line d=(steps(marks.clone())) {}
                path.pairs-line d=(steps(pairs.clone())) {}
                @for found in &report.failures {
                    line.violation x1=(x(run(found.seed))) x2=(x(run(found.seed))) y1=(TOP) y2=(y(0)) {
                        title { "seed " (found.seed) ": " (found.violation) }
                    }
                }
                text x=(WIDTH - RIGHT + 8.0) y=(y(marks.len()) + 4.0) { (marks.len()) " marks" }
                text x=(WIDTH - RIGHT + 8.0) y=(y(pairs.len()) + 4.0) { (pairs.len()) " fault × state" }
            }
        }
        p.note {
            "Runs on a logarithmic axis. Dashed: all marks there are."
            @if !report.failures.is_empty() { " Red: runs that broke an invariant." }
        }
    }
}
