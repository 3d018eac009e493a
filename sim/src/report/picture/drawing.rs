//! The drawing of a run: lanes side by side, time downwards, one row for each record.
//!
//! What lies between two records says which (`data-a`, `data-b`), and what belongs to one says which (`data-i`), so
//! that the script can move and hide it without knowing what it is.

use maud::{Markup, html};

use crate::trace::StatusKind;

use super::layout::{GUTTER, Lanes, RIBBON, ROW, Rows, WHO, pause_height};
use super::story::{Arrow, Column, Glyph, Message, Row, Shade, Span, Story};
use super::{page, shortened};

/// The height of the names of the lanes.
const HEAD: i64 = 26;

/// The names of the lanes, which stay above the drawing while it scrolls.
pub(super) fn head(lanes: &Lanes) -> Markup {
    html! {
        svg.head width=(lanes.width) height=(HEAD) viewBox={ "0 0 " (lanes.width) " " (HEAD) } aria-hidden="true" {
            (names(lanes))
        }
    }
}

fn names(lanes: &Lanes) -> Markup {
    html! {
        text.time x=(GUTTER - 22) y="17" { "seconds" }
        @for (column, place) in lanes.iter() {
            text.lane x=(name_at(column, place.left, place.axis)) y="17" text-anchor=(name_anchor(column)) {
                (column.name())
            }
        }
        text.lane x=(lanes.words) y="17" { "what happened" }
    }
}

fn name_at(column: Column, left: i64, axis: i64) -> i64 {
    match column {
        Column::App | Column::Client => axis,
        Column::Consumer(_) | Column::Link | Column::Gateway(_) => left + 6,
    }
}

fn name_anchor(column: Column) -> &'static str {
    match column {
        Column::App | Column::Client => "middle",
        Column::Consumer(_) | Column::Link | Column::Gateway(_) => "start",
    }
}

/// The drawing itself.
pub(super) fn body(story: &Story, lanes: &Lanes, rows: &Rows, verdict: Option<&str>) -> Markup {
    let end = story.rows.len();
    let label = format!("Timeline of {end} records. The table below holds the same in words.");
    html! {
        svg.picture id="picture" role="img" aria-label=(label) width=(lanes.width) height=(rows.height + HEAD)
            viewBox={ "0 " (-HEAD) " " (lanes.width) " " (rows.height + HEAD) } data-width=(lanes.width) {
            defs { (heads()) }
            // On paper; on the screen the names that stay lie above.
            g.head transform={ "translate(0," (-HEAD) ")" } { (names(lanes)) }
            @for span in story.spans.iter().filter(|span| matches!(span.shade, Shade::Fault | Shade::Down)) {
                (bar(span, lanes, rows))
            }
            @for (_, place) in lanes.iter() {
                line.axis data-a="0" data-b=(end) x1=(place.axis) x2=(place.axis) y1=(rows.centre(0))
                    y2=(rows.centre(end)) {}
            }
            @for arrow in &story.arrows { (line(arrow, lanes, rows)) }
            @for span in story.spans.iter().filter(|span| !matches!(span.shade, Shade::Fault | Shade::Down)) {
                (bar(span, lanes, rows))
            }
            @for span in &story.spans { (label_of(span, lanes, rows)) }
            g id="pauses" {
                @for (index, pause) in &rows.pauses { (pause_mark(*index, *pause, lanes, rows)) }
            }
            @if let Some((index, text)) = story.broken_at.zip(verdict) {
                (verdict_mark(index, text, lanes, rows))
            }
            @for (index, row) in story.rows.iter().enumerate() {
                (record(index, row, story, lanes, rows))
            }
        }
    }
}

/// One arrow head for each colour: an SVG marker does not take the colour of its line everywhere.
fn heads() -> Markup {
    html! {
        @for message in [Message::Control, Message::Request, Message::Answer, Message::Event] {
            marker id={ "to-" (message_name(message)) } class=(message_name(message)) viewBox="0 0 6 6" refX="5.5"
                refY="3" markerWidth="6" markerHeight="6" orient="auto" markerUnits="userSpaceOnUse" {
                path d="M0,0.5 L6,3 L0,5.5 Z" {}
            }
        }
        marker id="to-lost" class="lost" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="8" markerHeight="8"
            markerUnits="userSpaceOnUse" {
            path d="M1,1 L7,7 M7,1 L1,7" {}
        }
    }
}

fn message_name(message: Message) -> &'static str {
    match message {
        Message::Control => "control",
        Message::Request => "request",
        Message::Answer => "answer",
        Message::Event => "event",
        Message::Lost => "lost",
    }
}

fn bar(span: &Span, lanes: &Lanes, rows: &Rows) -> Markup {
    let (left, right) = lanes.edges(span);
    // What does not last is as high as its record.
    let (top, height) = if span.from == span.to {
        (rows.centre(span.from) - ROW / 2, ROW)
    } else {
        (rows.centre(span.from), rows.centre(span.to) - rows.centre(span.from))
    };
    html! {
        rect class={ "span " (shade_name(span.shade)) } data-a=(span.from) data-b=(span.to) x=(left) y=(top)
            width=(right - left) height=(height) { title { (span.label) } }
    }
}

fn shade_name(shade: Shade) -> &'static str {
    match shade {
        Shade::State(status) => state_name(status),
        Shade::Socket => "socket",
        Shade::Connection => "connection",
        Shade::Down => "down",
        Shade::Fault => "fault",
        Shade::Request => "waiting",
    }
}

/// The name of a state in the style sheet.
pub(super) fn state_name(status: StatusKind) -> &'static str {
    match status {
        StatusKind::Idle => "state idle",
        StatusKind::NotConfigured => "state not-configured",
        StatusKind::Connecting => "state connecting",
        StatusKind::Handshaking => "state handshaking",
        StatusKind::Ready => "state ready",
        StatusKind::Backoff => "state backoff",
        StatusKind::Paused => "state paused",
        StatusKind::Closing => "state closing",
        StatusKind::Stopped => "state stopped",
        StatusKind::Settling => "state settling",
    }
}

/// The name of a span, inside it, where it is wide enough for one.
fn label_of(span: &Span, lanes: &Lanes, rows: &Rows) -> Markup {
    let place = lanes.place(span.column);
    let at = rows.centre(span.from);
    let (x, y) = match span.shade {
        Shade::State(_) => (place.axis - 36, at + 11),
        Shade::Down => (place.axis + 10, at + 11),
        Shade::Fault => (fault_word(span.column, place.left, place.axis), at + 4),
        Shade::Socket | Shade::Connection | Shade::Request => return Markup::default(),
    };
    html! {
        text class={ "label " (shade_name(span.shade)) } data-a=(span.from) data-b=(span.to) data-y=(y - at) x=(x) y=(y) {
            (span.label)
        }
    }
}

/// Where the name of a fault begins: beside its mark, clear of the sockets.
fn fault_word(column: Column, left: i64, axis: i64) -> i64 {
    match column {
        Column::Client | Column::Link => left + 16,
        Column::App | Column::Consumer(_) | Column::Gateway(_) => axis + 8,
    }
}

fn line(arrow: &Arrow, lanes: &Lanes, rows: &Rows) -> Markup {
    let name = message_name(arrow.message);
    html! {
        line class={ "arrow " (name) } data-a=(arrow.from.0) data-b=(arrow.to.0)
            x1=(lanes.anchor(arrow.from.1, arrow.to.1)) y1=(rows.centre(arrow.from.0))
            x2=(lanes.anchor(arrow.to.1, arrow.from.1)) y2=(rows.centre(arrow.to.0))
            marker-end={ "url(#to-" (name) ")" } {}
    }
}

/// Cuts all lanes where time was left out.
fn pause_mark(index: usize, pause_us: u64, lanes: &Lanes, rows: &Rows) -> Markup {
    let height = pause_height(pause_us);
    let y = rows.centre(index) - ROW / 2 - height / 2;
    html! {
        g.pause data-i=(index) transform={ "translate(0," (y) ")" } {
            rect x=(GUTTER) y="-2" width=(lanes.words - GUTTER - 8) height="4" {}
            path d={ "M" (GUTTER) ",-2 H" (lanes.words - 8) " M" (GUTTER) ",2 H" (lanes.words - 8) } {}
            text x=(GUTTER - 22) y="4" { (length(pause_us)) }
        }
    }
}

/// A length of time in few characters. `run.js` has the same.
fn length(us: u64) -> String {
    let seconds = us / 1_000_000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, us / 100_000 % 10),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

fn verdict_mark(index: usize, text: &str, lanes: &Lanes, rows: &Rows) -> Markup {
    html! {
        g.violation id="violation" data-v=(index) transform={ "translate(0," (rows.centre(index)) ")" } {
            line x1="0" x2=(lanes.width) y1="18" y2="18" {}
            rect x=(lanes.words - 6) y="8" width=(lanes.width - lanes.words + 5) height="20" rx="3" {}
            text x=(lanes.words) y="22" { "✕ " (shortened(text, lanes.characters(lanes.words + 40))) title { (text) } }
        }
    }
}

fn record(index: usize, row: &Row, story: &Story, lanes: &Lanes, rows: &Rows) -> Markup {
    let place = lanes.place(row.column);
    let x = match (row.glyph, row.column) {
        (Glyph::Wedge, Column::Client | Column::Link) => place.left + 8,
        (_, Column::Client) => place.axis + RIBBON / 2,
        (_, Column::App | Column::Consumer(_) | Column::Link | Column::Gateway(_)) => place.axis,
    };
    let is_new_time = index.checked_sub(1).is_none_or(|before| story.rows[before].at_us != row.at_us);
    html! {
        g class={ "row " (row.kind.name()) } id={ "p" (index + 1) } data-i=(index)
            transform={ "translate(0," (rows.centre(index)) ")" } {
            title { (page::seconds(row.at_us, 6)) " s  " (row.column.name()) ": " (row.text) }
            rect.hit x="0" y=(-ROW / 2) width=(lanes.width) height=(ROW) {}
            @if is_new_time { text.time x=(GUTTER - 22) y="4" { (page::seconds(row.at_us, 3)) } }
            (glyph(row.glyph, x))
            text.words x=(lanes.words) y="4" {
                tspan.who { (row.column.name()) }
                tspan x=(lanes.words + WHO) { (shortened(predicate(row), lanes.characters(lanes.words + WHO))) }
            }
        }
    }
}

/// What a record says, without the name that is beside it.
fn predicate(row: &Row) -> &str {
    row.text.strip_prefix(&row.column.name()).map_or(&row.text, str::trim_start)
}

fn glyph(glyph: Glyph, x: i64) -> Markup {
    match glyph {
        Glyph::Dot => html! { circle.dot cx=(x) cy="0" r="2.5" {} },
        Glyph::Ring => html! { circle.ring cx=(x) cy="0" r="2.5" {} },
        Glyph::Cross => html! {
            path.cross d={ "M" (x - 3) ",-3 l6,6 M" (x + 3) ",-3 l-6,6" } {}
        },
        Glyph::Wedge => html! { path.wedge d={ "M" (x) ",-4 l4,7 h-8 Z" } {} },
    }
}
