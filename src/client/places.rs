//! Places for requests and subscriptions: how many there may be, and how many of them one handle may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A handle may hold this many times as many places as are left. So one that takes all it can get leaves a third of
/// what it found, and must wait while others have more.
const SHARE_OF_WHAT_IS_LEFT: usize = 2;

/// All places of one kind that a client has.
pub(super) struct Places {
    limit: usize,
    taken: AtomicUsize,
}

/// What one handle holds of them.
pub(super) struct Share {
    places: Arc<Places>,
    taken: AtomicUsize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// All are taken.
    AllTaken { limit: usize },
    /// What is left is for other handles; this one holds so many.
    ShareTaken { held: usize },
}

/// A place that is taken. It has two owners, the driver and whoever waits, and is free as soon as one of them is done.
pub(crate) struct Place {
    owned: Arc<Owned>,
}

struct Owned {
    share: Arc<Share>,
    is_free: AtomicBool,
}

impl Places {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicUsize::new(0) })
    }

    /// A share for one more handle.
    pub(super) fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share { places: Arc::clone(self), taken: AtomicUsize::new(0) })
    }

    fn take(&self, may_take: impl Fn(usize) -> bool) -> Result<(), usize> {
        let take = |taken: usize| (taken < self.limit && may_take(self.limit - taken)).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(|_| ())
    }
}

impl Share {
    /// A place, if there is one for this handle.
    pub(super) fn take(self: &Arc<Self>) -> Result<Place, NoPlace> {
        self.take_if(|held, left| held <= SHARE_OF_WHAT_IS_LEFT.saturating_mul(left))
    }

    /// A place, if there is one for anybody.
    pub(super) fn take_any(self: &Arc<Self>) -> Result<Place, NoPlace> {
        self.take_if(|_, _| true)
    }

    fn take_if(self: &Arc<Self>, may_take: impl Fn(usize, usize) -> bool) -> Result<Place, NoPlace> {
        // Taken before it is granted, so that two calls on one handle count each other.
        let held = self.taken.fetch_add(1, Ordering::Relaxed);
        let owned = |()| Place {
            owned: Arc::new(Owned { share: Arc::clone(self), is_free: AtomicBool::new(false) }),
        };
        self.places.take(|left| may_take(held, left)).map(owned).map_err(|taken| {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            let limit = self.places.limit;
            if taken >= limit { NoPlace::AllTaken { limit } } else { NoPlace::ShareTaken { held } }
        })
    }
}

impl Place {
    /// The same place, for its other owner.
    pub(super) fn shared(&self) -> Self {
        Self { owned: Arc::clone(&self.owned) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Owned { share, is_free } = &*self.owned;
        if !is_free.swap(true, Ordering::Relaxed) {
            share.taken.fetch_sub(1, Ordering::Relaxed);
            share.places.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a handle can get.
    fn all(share: &Arc<Share>) -> Vec<Place> {
        std::iter::from_fn(|| share.take().ok()).collect()
    }

    #[test]
    fn isolated_consumers_one_greedy_handle_leaves_a_third() {
        let places = Places::new(1_152);
        let greedy = places.share();
        let taken = all(&greedy);
        assert_eq!(taken.len(), 769);
        assert_eq!(greedy.take().err(), Some(NoPlace::ShareTaken { held: 769 }));
        let modest = places.share();
        assert!(modest.take().is_ok());
        drop(taken);
        assert_eq!(all(&greedy).len(), 769);
    }

    #[test]
    fn isolated_consumers_every_greedy_handle_leaves_a_third_of_what_it_found() {
        let places = Places::new(1_152);
        let mut taken = Vec::new();
        for left in [383, 127, 42, 13, 4] {
            taken.extend(all(&places.share()));
            assert_eq!(1_152 - taken.len(), left);
            assert!(places.share().take().is_ok(), "there is room for one who asks for little");
        }
    }

    #[test]
    fn limits_few_places_are_for_whoever_comes() {
        for limit in 1..=3 {
            let share = Places::new(limit).share();
            let taken = all(&share);
            assert_eq!(taken.len(), limit);
            assert_eq!(share.take().err(), Some(NoPlace::AllTaken { limit }));
        }
    }

    #[test]
    fn limits_a_place_is_free_when_its_first_owner_is_done() {
        let share = Places::new(1).share();
        for first_is_done_first in [true, false] {
            let first = share.take().unwrap_or_else(|why| panic!("{why:?}"));
            let second = first.shared();
            assert!(share.take().is_err());
            let last = if first_is_done_first {
                drop(first);
                second
            } else {
                drop(second);
                first
            };
            let next = share.take().unwrap_or_else(|why| panic!("{why:?}"));
            drop(last);
            assert!(share.take().is_err(), "nothing is freed twice");
            drop(next);
        }
    }
}
