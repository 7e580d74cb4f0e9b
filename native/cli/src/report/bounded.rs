//! Lists that keep their first entries, or their worst, and count the others. Pure.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::output::printable;

/// Conditions of one listener, runs, holes and sentences that are kept.
pub(super) const MOST_ENTRIES: usize = 500;

/// Characters of a name that are kept. Erlang allows a node 255.
pub(super) const LONGEST_NAME: usize = 300;
/// Characters of a sentence that are kept.
pub(super) const LONGEST_SENTENCE: usize = 2000;

/// Printable, and of no more than these characters; what is cut has a `…`.
pub(super) fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => printable(&text[..end]) + "…",
        None => printable(text),
    }
}

/// The first of them, and how many more there were.
#[derive(Debug, Serialize)]
pub(super) struct Bounded<T, const MOST: usize = MOST_ENTRIES> {
    pub(super) first: Vec<T>,
    pub(super) more: u64,
}

impl<T, const MOST: usize> Default for Bounded<T, MOST> {
    fn default() -> Self {
        Bounded { first: Vec::new(), more: 0 }
    }
}

impl<T, const MOST: usize> Bounded<T, MOST> {
    pub(super) fn push(&mut self, one: T) {
        self.push_with(|| one);
    }

    /// Makes only what is kept.
    pub(super) fn push_with(&mut self, one: impl FnOnce() -> T) {
        if self.first.len() < MOST { self.first.push(one()) } else { self.more += 1 }
    }

    /// Takes what it has beyond `free` from what all may have, and counts what it does not get.
    pub(super) fn share(&mut self, free: usize, in_all: &mut usize) {
        let beyond = self.first.len().saturating_sub(free);
        let taken = beyond.min(*in_all);
        *in_all -= taken;
        self.first.truncate(self.first.len() - beyond + taken);
        self.more += (beyond - taken) as u64;
    }
}

/// From a list; the entries beyond are passed over unread.
impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Bounded<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(List(PhantomData))
    }
}

struct List<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
    type Value = Bounded<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bounded<T, MOST>, A::Error> {
        let mut kept = Bounded::default();
        while kept.first.len() < MOST {
            let Some(one) = list.next_element()? else { return Ok(kept) };
            kept.first.push(one);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            kept.more += 1;
        }
        Ok(kept)
    }
}

/// Entries of which some matter more.
pub(super) trait Ranked {
    /// What has the lesser rank is kept.
    fn rank(&self) -> impl Ord;
}

/// The worst of a list, the very worst first, and how many more there were.
#[derive(Debug)]
pub(super) struct Worst<T, const MOST: usize = MOST_ENTRIES> {
    pub(super) kept: Vec<T>,
    pub(super) more: u64,
}

impl<T, const MOST: usize> Default for Worst<T, MOST> {
    fn default() -> Self {
        Worst { kept: Vec::new(), more: 0 }
    }
}

impl<T: Ranked, const MOST: usize> Worst<T, MOST> {
    /// The very worst first, however few there are.
    pub(super) fn ranked(mut self) -> Self {
        self.cut();
        self
    }

    fn add(&mut self, one: T) {
        self.kept.push(one);
        if self.kept.len() >= 2 * MOST {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.kept.sort_by(|one, other| one.rank().cmp(&other.rank()));
        self.more += self.kept.len().saturating_sub(MOST) as u64;
        self.kept.truncate(MOST);
    }
}

/// Each entry is read, and twice as many as are kept are held at a time.
impl<'de, T: Deserialize<'de> + Ranked, const MOST: usize> Deserialize<'de> for Worst<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(WorstOf(PhantomData))
    }
}

struct WorstOf<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Ranked, const MOST: usize> Visitor<'de> for WorstOf<T, MOST> {
    type Value = Worst<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Worst<T, MOST>, A::Error> {
        let mut worst = Worst::default();
        while let Some(one) = list.next_element()? {
            worst.add(one);
        }
        if worst.kept.len() > MOST {
            worst.cut();
        }
        Ok(worst)
    }
}
