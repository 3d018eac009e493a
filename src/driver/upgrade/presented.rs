//! What a request presented, so that no answer repeats it in an error or a log.

use crate::core::{Endpoint, Headers, PeerText, Secret};

/// What is shorter is too common a text to be a secret.
const SECRET_BYTES_MIN: usize = 6;

/// The values of the headers, and the query, whole and by its parameters.
pub(super) struct Presented(Vec<Secret>);

impl Presented {
    pub(super) fn of(endpoint: &Endpoint, headers: &Headers) -> Self {
        let mut presented = Vec::new();
        for (_, value) in headers.iter() {
            presented.push(value.expose());
            // Behind the scheme are the credentials.
            presented.extend(value.expose().split_once(' ').map(|(_, credentials)| credentials));
        }
        if let Some((_, query)) = endpoint.request_target().split_once('?') {
            presented.push(query);
            presented.extend(query.split('&').filter_map(|pair| Some(pair.split_once('=')?.1)));
        }
        presented.retain(|text| text.trim().len() >= SECRET_BYTES_MIN);
        // The longest first: it may hold others.
        presented.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(presented.into_iter().filter_map(Secret::trimmed).collect())
    }

    /// The text with `…` in place of all of them.
    pub(super) fn hidden_in(&self, text: &str) -> PeerText {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.expose(), "…");
        }
        PeerText::from(text)
    }
}
