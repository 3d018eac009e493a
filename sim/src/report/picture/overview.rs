//! The whole run on one strip, in true time: where to look.

use maud::{Markup, html};

use super::drawing::state_name;
use super::page::seconds;
use super::story::{Column, Row, Shade, Span, Story};

const WIDTH: u64 = 1_100;
const LEFT: u64 = 78;
const STRIP: u64 = 13;
const STEP: u64 = 18;
/// Records are counted in so many slices of the run.
const SLICES: u64 = 256;
const BARS: u64 = 26;

/// Draws it. Times are in microseconds of the run.
pub(super) fn strip(story: &Story) -> Markup {
    let scale = Scale { end_us: story.rows.last().map_or(1, |row| row.at_us).max(1) };
    let lanes: Vec<Column> = story.columns.iter().copied().filter(|column| has_strip(*column)).collect();
    let height = STEP * lanes.len() as u64 + BARS + 30;
    html! {
        svg.overview id="overview" role="img" aria-label="The whole run in true time" data-left=(LEFT)
            data-right=(WIDTH) data-end=(scale.end_us) viewBox={ "0 0 " (WIDTH) " " (height) } {
            @for (at, column) in lanes.iter().enumerate() {
                @let y = at as u64 * STEP + 4;
                text.name x=(LEFT - 8) y=(y + 10) { (column.name()) }
                line.axis x1=(LEFT) x2=(WIDTH) y1=(y + STRIP / 2) y2=(y + STRIP / 2) {}
                @for span in story.spans.iter().filter(|span| span.column == *column) {
                    (bar(span, &story.rows, &scale, y))
                }
            }
            (density(&story.rows, &scale, lanes.len() as u64 * STEP + 4))
            (ticks(&scale, height - 22))
            @if let Some(broken_at) = story.broken_at {
                @let x = scale.x(story.rows[broken_at].at_us);
                line.violation x1=(x) x2=(x) y1="0" y2=(height - 18) {}
            }
            rect.window id="window" x=(LEFT) y="0" width="0" height=(height - 18) {}
        }
    }
}

fn has_strip(column: Column) -> bool {
    match column {
        Column::Client | Column::Link | Column::Gateway(_) => true,
        Column::App | Column::Consumer(_) => false,
    }
}

struct Scale {
    end_us: u64,
}

impl Scale {
    /// Where a time is, to a tenth.
    fn x(&self, at_us: u64) -> f64 {
        let share = at_us as f64 / self.end_us as f64;
        ((LEFT as f64 + share * (WIDTH - LEFT) as f64) * 10.0).round() / 10.0
    }
}

fn bar(span: &Span, rows: &[Row], scale: &Scale, top: u64) -> Markup {
    let from = scale.x(rows[span.from].at_us);
    let to = rows.get(span.to).map_or(WIDTH as f64, |row| scale.x(row.at_us));
    let (name, y, height) = match span.shade {
        Shade::State(status) => (state_name(status), top, STRIP),
        Shade::Fault => ("fault", top, STRIP),
        Shade::Down => ("down", top + 2, STRIP - 4),
        Shade::Socket => ("socket", top + 1, 4),
        Shade::Connection => ("connection", top + 7, 4),
        Shade::Request => return Markup::default(),
    };
    // What is shorter than a pixel is still there.
    let width = ((to - from).max(1.5) * 10.0).round() / 10.0;
    html! {
        rect class=(name) x=(from) y=(y) width=(width) height=(height) { title { (span.label) } }
        @if matches!(span.shade, Shade::State(_)) && width > 12.0 + 6.0 * span.label.len() as f64 {
            text.inside x=(from + 4.0) y=(top + 10) { (span.label) }
        }
    }
}

/// How many records each slice of the run has. The root keeps few visible beside many.
fn density(rows: &[Row], scale: &Scale, top: u64) -> Markup {
    let mut counts = vec![0_u64; SLICES as usize];
    for row in rows {
        let slice = row.at_us.saturating_mul(SLICES) / scale.end_us;
        counts[slice.min(SLICES - 1) as usize] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let width = (WIDTH - LEFT) as f64 / SLICES as f64;
    let bars = counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(slice, count)| {
        let height = (*count as f64 / most).sqrt() * (BARS - 4) as f64;
        let x = LEFT as f64 + slice as f64 * width;
        format!("M{x:.1},{} v-{height:.1}", top + BARS)
    });
    html! {
        text.name x=(LEFT - 8) y=(top + BARS - 4) { "records" }
        path.density d=(bars.collect::<Vec<_>>().join(" ")) {}
    }
}

/// About ten round times.
fn ticks(scale: &Scale, y: u64) -> Markup {
    let step = round_step(scale.end_us / 10);
    html! {
        line.axis x1=(LEFT) x2=(WIDTH) y1=(y) y2=(y) {}
        @for at in (0..=scale.end_us).step_by(step as usize) {
            line.axis x1=(scale.x(at)) x2=(scale.x(at)) y1=(y) y2=(y + 4) {}
            // The last one would not fit.
            @if scale.x(at) < (WIDTH - 20) as f64 {
                text.tick x=(scale.x(at)) y=(y + 16) { (seconds(at, decimals(step))) @if at == 0 { " s" } }
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: u64) -> u64 {
    let mut unit = 1;
    loop {
        for step in [unit, 2 * unit, 5 * unit] {
            if step >= least.max(1) {
                return step;
            }
        }
        unit *= 10;
    }
}

fn decimals(step: u64) -> usize {
    match step {
        1_000_000.. => 0,
        100_000..1_000_000 => 1,
        10_000..100_000 => 2,
        1_000..10_000 => 3,
        0..1_000 => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!([0, 1, 3, 700, 1_001, 6_000_000].map(round_step), [1, 1, 5, 1_000, 2_000, 10_000_000]);
    }
}
