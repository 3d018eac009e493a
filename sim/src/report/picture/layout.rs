//! Where lanes and records are, in the pixels of the drawing.
//!
//! Rows have a height each, whatever time passed between them, and a pause adds a little with its length: twenty
//! records and two thousand read alike, and time still shows. `run.js` repeats `Rows::of` for what is left after
//! filtering; a browser test holds the two together.

use std::collections::{BTreeMap, BTreeSet};

use super::story::{Column, Shade, Span, Story};

/// The height of a row.
pub(super) const ROW: i64 = 14;
/// What the sentence about a violation takes below its row.
pub(super) const VERDICT: i64 = 22;
/// From which pause on the drawing shows a break, in microseconds.
pub(super) const PAUSE_US: u64 = 1_000_000;
/// Left of the lanes, for times.
pub(super) const GUTTER: i64 = 78;
/// Right of the lanes, for what the records say, at the least.
const WORDS: i64 = 500;
/// What a window of usual width shows without scrolling.
const COMFORTABLE: i64 = 1_216;
/// A wide character of a wide font at the size of the words, in tenths.
const CHARACTER_TENTHS: i64 = 68;
/// Of it, for whom they are about.
pub(super) const WHO: i64 = 74;
/// The width of what shows the client's state.
pub(super) const RIBBON: i64 = 84;

const MARGIN: i64 = 10;
const TRACK: i64 = 4;
const SOCKET_TRACK: i64 = 7;

/// The lanes.
pub(super) struct Lanes {
    places: BTreeMap<Column, Place>,
    /// Where the words begin.
    pub(super) words: i64,
    /// The width of it all.
    pub(super) width: i64,
}

/// Where a lane is.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) left: i64,
    pub(super) width: i64,
    /// Where its line, its marks and the ends of its arrows are.
    pub(super) axis: i64,
}

impl Lanes {
    pub(super) fn of(story: &Story) -> Self {
        let mut places = BTreeMap::new();
        let mut left = GUTTER;
        for column in &story.columns {
            let tracks = |shade| tracks(&story.spans, *column, shade);
            let (width, axis) = match column {
                Column::App => (44, 22),
                Column::Consumer(_) => ((26 + tracks(Shade::Request) * TRACK).clamp(80, 120), 14),
                Column::Client => (RIBBON + 24, 12 + RIBBON / 2),
                Column::Link => {
                    let held = tracks(Shade::Socket).max(1) * SOCKET_TRACK;
                    let known = tracks(Shade::Connection).max(1) * SOCKET_TRACK;
                    // The names of faults come first, clear of the sockets.
                    let axis = name_width(story, *column) + 18 + held + 6;
                    (axis + known.max(14) + 10, axis)
                }
                Column::Gateway(_) => ((name_width(story, *column) + 28).max(92), 14),
            };
            places.insert(*column, Place { left, width, axis: left + axis });
            left += width;
        }
        let words = left + MARGIN;
        Self { places, words, width: (words + WORDS).max(COMFORTABLE) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Column, Place)> + '_ {
        self.places.iter().map(|(column, place)| (*column, *place))
    }

    /// How many characters fit beside the lanes, from `x` on.
    pub(super) fn characters(&self, x: i64) -> usize {
        usize::try_from((self.width - x) * 10 / CHARACTER_TENTHS).unwrap_or(0)
    }

    /// The place of a lane that the story has.
    pub(super) fn place(&self, column: Column) -> Place {
        self.places[&column]
    }

    /// Where an arrow to or from `column` ends, seen from the lane at its other end.
    pub(super) fn anchor(&self, column: Column, other: Column) -> i64 {
        let place = self.place(column);
        match column {
            Column::Client if other < column => place.axis - RIBBON / 2,
            Column::Client => place.axis + RIBBON / 2,
            Column::App | Column::Consumer(_) | Column::Link | Column::Gateway(_) => place.axis,
        }
    }

    /// Left and right edge of a span.
    pub(super) fn edges(&self, span: &Span) -> (i64, i64) {
        let place = self.place(span.column);
        let track = i64::try_from(span.track).unwrap_or(0);
        match span.shade {
            Shade::State(_) => (place.axis - RIBBON / 2, place.axis + RIBBON / 2),
            Shade::Down => (place.left + 4, place.left + place.width - 4),
            Shade::Fault => (place.left + 1, place.left + place.width - 1),
            Shade::Request => {
                let most = (place.width - 26) / TRACK;
                let left = place.axis + 6 + track.min(most) * TRACK;
                (left, left + 2)
            }
            Shade::Socket => {
                let right = place.axis - 3 - track * SOCKET_TRACK;
                (right - 5, right)
            }
            Shade::Connection => {
                let left = place.axis + 3 + track * SOCKET_TRACK;
                (left, left + 5)
            }
        }
    }
}

/// The width of the longest name of a fault in this lane.
fn name_width(story: &Story, column: Column) -> i64 {
    let here = story.spans.iter().filter(|span| span.column == column && span.shade == Shade::Fault);
    let characters = here.map(|span| span.label.chars().count()).max().unwrap_or(0);
    i64::try_from(characters).unwrap_or(0) * CHARACTER_TENTHS / 10
}

/// How many spans of this shade lie side by side.
fn tracks(spans: &[Span], column: Column, shade: Shade) -> i64 {
    let here = spans.iter().filter(|span| span.column == column && span.shade == shade);
    let tracks: BTreeSet<usize> = here.map(|span| span.track).collect();
    i64::try_from(tracks.len()).unwrap_or(0)
}

/// Where each record is.
pub(super) struct Rows {
    centres: Vec<i64>,
    /// The records that come after a pause, and its length in microseconds.
    pub(super) pauses: Vec<(usize, u64)>,
    /// The height of it all.
    pub(super) height: i64,
}

impl Rows {
    pub(super) fn of(story: &Story) -> Self {
        let mut centres = Vec::with_capacity(story.rows.len() + 1);
        let mut pauses = Vec::new();
        let mut y = 4;
        let mut before = story.rows.first().map_or(0, |row| row.at_us);
        for (index, row) in story.rows.iter().enumerate() {
            let pause = row.at_us.saturating_sub(before);
            before = row.at_us;
            if pause >= PAUSE_US {
                y += pause_height(pause);
                pauses.push((index, pause));
            }
            centres.push(y + ROW / 2);
            y += ROW;
            if story.broken_at == Some(index) {
                y += VERDICT;
            }
        }
        centres.push(y + ROW / 2);
        Self { centres, pauses, height: y + ROW + 4 }
    }

    /// The middle of a record, or the end of the drawing for their number.
    pub(super) fn centre(&self, index: usize) -> i64 {
        self.centres[index]
    }
}

/// The height of a pause: 12 for a second, and 3 more for every doubling.
pub(super) fn pause_height(pause_us: u64) -> i64 {
    let doublings = (pause_us / PAUSE_US).max(1).ilog2();
    12 + 3 * i64::from(doublings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_with_its_length_and_stays_small() {
        let heights = [1, 2, 60, 3_600].map(|seconds| pause_height(seconds * 1_000_000));
        assert_eq!(heights, [12, 15, 27, 45]);
    }
}
