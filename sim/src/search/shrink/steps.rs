//! Delta debugging over the steps of a plan.

use super::Search;

/// Leaves out halves, quarters, eighths and at last single steps, until no single one can go.
///
/// From the back, because what comes after the violation goes at once.
pub(super) fn remove(search: &mut Search<'_>) {
    let mut size = search.best.steps.len();
    while size > 0 {
        let removed = remove_parts(search, size);
        if search.is_over() {
            return;
        }
        size = match (size, removed) {
            // What could not go before may go now.
            (1, true) => search.best.steps.len().min(1),
            (1, false) => 0,
            _ => (size / 2).min(search.best.steps.len()).max(1),
        };
    }
}

/// Tries to leave out each part of `size` steps once, and says whether one went.
fn remove_parts(search: &mut Search<'_>, size: usize) -> bool {
    let mut removed = false;
    let mut end = search.best.steps.len();
    while end > 0 {
        let start = end.saturating_sub(size);
        let candidate = search.without(start..end);
        // Other seeds are for the last steps: a run costs more than they gain while there are many.
        let went = if size == 1 { search.accept_with_any_seed(&candidate) } else { search.accept(candidate) };
        removed |= went;
        end = start;
    }
    removed
}
