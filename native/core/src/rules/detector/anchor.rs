//! Whether anything was accepted between two censuses, by the head of the queue.
//!
//! A queue that does not get shorter may be stuck, or refilled as fast as it is accepted from. The depth does not distinguish
//! these; the head does. As long as nothing is accepted, the connections of an earlier census are all still there, or have been
//! reset and left their place, and none is before the head. So one census is kept as an anchor, and each later one is compared:
//!
//! | later census | [`Comparison`] | means |
//! |---|---|---|
//! | fewer than then remain of those connections, resets counted in | `Fresh` | something was accepted: a new anchor |
//! | they remain, the head is the same, and the walk was shorter | `Sharper` | nothing was accepted; the later census is the better anchor |
//! | they remain, and the head is the same | `Same` | nothing was accepted since the anchor |
//! | the head is another, and there are more resets | `MaybeReset` | the head itself may have been reset: its row is gone, its place is not. The anchor stays |
//! | the head is another, and there are no more resets | `Fresh` | something was accepted: a new anchor |
//!
//! The rows of a shared address belong to one of several queues, and the kernel does not say which. Each is first in, first out, so a
//! connection that remains has the head of its own queue before it, and that remains too. So of those connections the
//! ones that were accepted are taken off, and the rest stays the anchor: as long as it does not get smaller, nothing was accepted
//! from the queue that has them.

use std::time::Duration;

use super::time::Time;

/// The kernel gives ages in jiffies of up to 10 ms. How long a dump took comes on top: on a busy machine that is a tenth of a
/// second now and then.
const AGE_TOLERANCE: Duration = Duration::from_millis(30);

/// The head of a queue and its places, in one census.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    at: Time,
    /// The ages are those of some moment between `at` and so much later.
    took: Duration,
    head_arrived: Option<Time>,
    /// Connections with a row, and places without one.
    places: u32,
    resets: u32,
    /// So many of the places may be in the queues of other processes.
    foreign: u32,
    /// So many connections have gone since with the sockets at which they were queued.
    gone: u32,
}

/// The census that later ones are compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anchor {
    sighting: Sighting,
    /// Nothing has been accepted since.
    idle_since: Time,
}

/// How a later census compares with the anchor: see the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Same,
    Sharper,
    MaybeReset,
    Fresh,
    /// The queue is one of several, something was accepted, and so many remain.
    Fewer(u32),
    /// So many remain, and those that do not may have gone with their sockets.
    Gone(u32),
}

impl Sighting {
    /// Of a census at this time, with the age of each queued connection that has a row.
    pub(super) fn new(at: Time, took: Duration, waits: &[Duration], oldest: Option<Duration>, resets: u32) -> Sighting {
        let head_arrived = oldest.map(|waited| at.saturating_sub(waited));
        Sighting { at, took, head_arrived, places: waits.len() as u32 + resets, resets, foreign: 0, gone: 0 }
    }

    /// The same of an address that several queues share: its head is that of any of them.
    pub(super) fn shared(self, foreign: u32) -> Sighting {
        Sighting { head_arrived: None, foreign, ..self }
    }
}

impl Anchor {
    /// The first census of a queue in which something was accepted, or which was empty, at `progress_at`.
    pub(super) fn first(now: Sighting, progress_at: Time) -> Anchor {
        let arrived_at_the_latest =
            now.head_arrived.map(|arrived| (arrived + now.took).min(now.at)).unwrap_or_default();
        Anchor { sighting: now, idle_since: progress_at.max(arrived_at_the_latest) }
    }

    /// The first census of an address that several queues share: it does not say since when one of them has been idle.
    pub(super) fn first_shared(now: Sighting) -> Anchor {
        Anchor { sighting: now, idle_since: now.at }
    }

    /// The anchor after a later census.
    pub(super) fn after(self, now: Sighting, waits: &[Duration]) -> Anchor {
        self.changed(self.compare(&now, waits), now)
    }

    /// The same of an address that several queues share.
    pub(super) fn after_shared(self, now: Sighting, waits: &[Duration]) -> Anchor {
        let sighting = Sighting { foreign: now.foreign, head_arrived: None, ..self.sighting };
        let remaining = self.remaining(&now, waits);
        let comparison = match remaining {
            0 => Comparison::Fresh,
            _ if remaining >= self.sighting.places => Comparison::Same,
            _ if self.may_have_gone(remaining) => Comparison::Gone(remaining),
            _ => Comparison::Fewer(remaining),
        };
        Anchor { sighting, ..self }.changed(comparison, now)
    }

    fn changed(self, comparison: Comparison, now: Sighting) -> Anchor {
        match comparison {
            Comparison::Fewer(places) => {
                Anchor { sighting: Sighting { places, gone: 0, ..self.sighting }, idle_since: now.at }
            }
            Comparison::Gone(places) => Anchor { sighting: Sighting { places, gone: 0, ..self.sighting }, ..self },
            Comparison::Fresh => Anchor { sighting: now, idle_since: now.at },
            Comparison::Sharper => Anchor { sighting: now, ..self },
            // Two that came almost together are distinguished at once, or never: not by how their ages are rounded. An age that
            // was read late makes its connection come early, so the latest arrival is the best.
            Comparison::Same => {
                let head_arrived = now.head_arrived.max(self.sighting.head_arrived);
                Anchor { sighting: Sighting { head_arrived, gone: 0, ..self.sighting }, ..self }
            }
            Comparison::MaybeReset => Anchor { sighting: Sighting { gone: 0, ..self.sighting }, ..self },
        }
    }

    /// How many of the connections of the anchor are there, with the places of those that were reset.
    fn remaining(&self, now: &Sighting, waits: &[Duration]) -> u32 {
        let then = &self.sighting;
        // A connection that is older than this was there at the anchor.
        let age_then = now.at.saturating_sub(then.at + then.took + AGE_TOLERANCE);
        waits.iter().filter(|&&waited| waited >= age_then).count() as u32 + now.resets
    }

    /// A queue that shared the address has gone with so many connections.
    pub(super) fn without(self, gone: u32) -> Anchor {
        let gone = self.sighting.gone.saturating_add(gone);
        Anchor { sighting: Sighting { gone, head_arrived: None, ..self.sighting }, ..self }
    }

    fn may_have_gone(&self, remaining: u32) -> bool {
        remaining > 0 && remaining.saturating_add(self.sighting.gone) >= self.sighting.places
    }

    fn compare(&self, now: &Sighting, waits: &[Duration]) -> Comparison {
        let then = &self.sighting;
        let remaining = self.remaining(now, waits);
        if remaining < then.places {
            return if self.may_have_gone(remaining) { Comparison::Gone(remaining) } else { Comparison::Fresh };
        }
        let is_same_head = match (now.head_arrived, then.head_arrived) {
            // None steps in before the head: one that seems to have come earlier was read late.
            (Some(now), Some(before)) => now <= before + AGE_TOLERANCE + then.took,
            (_, None) => true,
            (None, Some(_)) => false,
        };
        match is_same_head {
            true if now.took < then.took && now.head_arrived.is_some() => Comparison::Sharper,
            true => Comparison::Same,
            false if now.resets > then.resets => Comparison::MaybeReset,
            false => Comparison::Fresh,
        }
    }

    /// Nothing has been accepted since.
    pub(super) fn idle_since(&self) -> Time {
        self.idle_since
    }

    /// Some of its connections are in a queue of ours.
    pub(super) fn has_ours(&self) -> bool {
        self.sighting.places > self.sighting.foreign
    }

    /// When the head of the queue came. It may have been reset since: then no row gives its age any more, and others wait
    /// behind its place.
    pub(super) fn head_arrived(&self) -> Option<Time> {
        self.sighting.head_arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A census at this second, of connections that came at these milliseconds.
    fn census(second: u64, took_ms: u64, arrived_ms: &[u64], resets: u32) -> (Sighting, Vec<Duration>) {
        let at = ms(second * 1000);
        let waits: Vec<_> = arrived_ms.iter().map(|&arrived| at - ms(arrived)).collect();
        (Sighting::new(at, ms(took_ms), &waits, waits.iter().max().copied(), resets), waits)
    }

    #[test]
    fn a_later_census_is_the_same_sharper_maybe_a_reset_or_fresh() {
        use Comparison::{Fresh, MaybeReset, Same, Sharper};
        let (then, _) = census(10, 20, &[9000, 9500], 0);
        let anchor = Anchor::first(then, ms(0));
        for (sentence, (now, waits), expected) in [
            ("nothing has changed", census(11, 20, &[9000, 9500], 0), Same),
            ("another has come", census(11, 20, &[9000, 9500, 10_500], 0), Same),
            ("the ages are rounded otherwise", census(11, 20, &[9030, 9530], 0), Same),
            ("the walk was shorter", census(11, 5, &[9000, 9500], 0), Sharper),
            ("the second was reset", census(11, 20, &[9000], 1), Same),
            ("the first was reset", census(11, 20, &[9500], 1), MaybeReset),
            ("all were reset", census(11, 20, &[], 2), MaybeReset),
            ("the first was accepted", census(11, 20, &[9500], 0), Fresh),
            ("the first was accepted, and another came", census(11, 20, &[9500, 10_500], 0), Fresh),
        ] {
            assert_eq!(anchor.compare(&now, &waits), expected, "{sentence}");
        }
    }
}
