//! Requests on their way.

use std::collections::BTreeMap;

use super::{Column, take_track};

/// Requests that have not ended.
#[derive(Default)]
pub(super) struct Requests {
    waiting: BTreeMap<u32, Waiting>,
    /// For each consumer, which tracks of its lane are taken.
    tracks: BTreeMap<u8, Vec<bool>>,
}

/// A request that has not ended.
pub(super) struct Waiting {
    consumer: u8,
    made_at: usize,
    track: usize,
    /// Its span.
    pub(super) span: usize,
    /// The gateway it arrived at.
    pub(super) arrived_at: Option<u8>,
}

impl Requests {
    /// Notes a new request, and gives back its track.
    pub(super) fn made(&mut self, request: u32, consumer: u8, made_at: usize, span: usize) -> usize {
        let track = take_track(self.tracks.entry(consumer).or_default());
        self.waiting.insert(request, Waiting { consumer, made_at, track, span, arrived_at: None });
        track
    }

    /// Notes its arrival, and gives back when and by whom it was made.
    pub(super) fn arrived(&mut self, request: u32, gateway: u8) -> Option<(usize, u8)> {
        let waiting = self.waiting.get_mut(&request)?;
        waiting.arrived_at = Some(gateway);
        Some((waiting.made_at, waiting.consumer))
    }

    /// Notes its end.
    pub(super) fn ended(&mut self, request: u32) -> Option<Waiting> {
        let waiting = self.waiting.remove(&request)?;
        if let Some(tracks) = self.tracks.get_mut(&waiting.consumer) {
            tracks[waiting.track] = false;
        }
        Some(waiting)
    }

    /// The lane of a request. One that nobody made, or that ends twice, is nobody's.
    pub(super) fn column(&self, request: Option<&Waiting>) -> Column {
        request.map_or(Column::App, |request| Column::Consumer(request.consumer))
    }
}
