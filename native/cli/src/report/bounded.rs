//! Lists that keep their first entries and count the others. Pure.

use serde::Serialize;

/// Conditions of one listener, runs, holes and sentences that are kept.
pub(super) const MOST_ENTRIES: usize = 500;

/// The first of them, and how many more there were.
#[derive(Debug, Serialize)]
pub(super) struct Bounded<T> {
    pub(super) first: Vec<T>,
    pub(super) more: u64,
}

impl<T> Default for Bounded<T> {
    fn default() -> Bounded<T> {
        Bounded { first: Vec::new(), more: 0 }
    }
}

impl<T> Bounded<T> {
    pub(super) fn push(&mut self, one: T) {
        if self.first.len() < MOST_ENTRIES { self.first.push(one) } else { self.more += 1 }
    }
}
