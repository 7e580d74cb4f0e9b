//! What `record` writes and `report` reads: docs/proof/formats.md describes the format byte by byte.
//!
//! A file is [`MAGIC`] and entries, each in a frame with its length and its checksum. Bytes behind the last intact frame are no
//! part of it. `payload` is one entry as bytes, `frame` the frames around them.

mod frame;
mod payload;
#[cfg(test)]
pub(crate) mod tests;

use accept_queue_core::rules::detector::Condition;

pub(crate) use frame::{EntryReader, HEAD, LARGEST, is_torn};

/// The first bytes of every file; the last of them is the version of the format. The first byte occurs in no text.
pub(crate) const MAGIC: [u8; 8] = *b"\x89AQREC\n\x01";
/// While nothing changes, an entry is written this often.
pub(crate) const SILENCE_MS: u64 = 10_000;

/// What is recorded of a queue, in the order of the bits of the mask.
pub(crate) const FIGURES: [&str; 12] = [
    "queued",
    "limit",
    "drops",
    "syn_recv",
    "queued_alive",
    "queued_closed",
    "queued_reset",
    "queued_bytes",
    "oldest_wait_ms",
    "established",
    "close_wait",
    "sockets",
];

/// In the order of [`FIGURES`]; `None` where the kernel does not have it, or it has not been read.
pub(crate) type FigureValues = [Option<u64>; FIGURES.len()];

/// An index of [`FIGURES`].
pub(crate) type FigureIndex = usize;

pub(crate) const QUEUED: FigureIndex = 0;
pub(crate) const LIMIT: FigureIndex = 1;
pub(crate) const DROPS: FigureIndex = 2;
pub(crate) const QUEUED_ALIVE: FigureIndex = 4;
pub(crate) const QUEUED_CLOSED: FigureIndex = 5;
pub(crate) const QUEUED_RESET: FigureIndex = 6;
pub(crate) const QUEUED_BYTES: FigureIndex = 7;
pub(crate) const OLDEST_WAIT_MS: FigureIndex = 8;
pub(crate) const CLOSE_WAIT: FigureIndex = 10;

/// A greater figure is recorded as this one.
pub(crate) const GREATEST: u64 = u64::MAX - 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A run begins. Numbers of listeners of earlier runs have no meaning in it.
    Begun {
        /// Milliseconds from the epoch to 0 ms of this run.
        epoch_ms: u64,
        interval_ms: u64,
        version: String,
        host: String,
        /// Whose listeners, as text.
        scope: String,
    },
    Sample(SampleEntry),
    /// The run has ended. Without this entry the program was killed, or still runs.
    Ended {
        at_ms: u64,
        why: String,
    },
}

/// What a sample changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SampleEntry {
    /// Since the run began.
    pub(crate) at_ms: u64,
    /// Samples without a change since the previous entry.
    pub(crate) quiet: u64,
    pub(crate) items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// The listener that a number stands for from here on. Again where its owners change.
    Listener {
        number: u64,
        namespace: u64,
        address: String,
        owners: Vec<RecordedOwner>,
    },
    /// The figures that have changed.
    Figures {
        number: u64,
        changed: Vec<(FigureIndex, Option<u64>)>,
    },
    /// It exists, and this sample could not read it: nothing is known of it until its next figures.
    Unread {
        number: u64,
    },
    Raised {
        number: u64,
        condition: Condition,
        held_ms: u64,
    },
    Cleared {
        number: u64,
        condition: Condition,
        lasted_ms: u64,
    },
    /// It has been closed.
    Gone {
        number: u64,
    },
    /// What could not be read, as text.
    Unreadable(String),
    /// The clock was set, or the machine was suspended: 0 ms of this run is another time now.
    Clock {
        epoch_ms: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordedOwner {
    pub(crate) pid: u64,
    pub(crate) name: String,
}

/// The payload is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidEntry;

/// Whether the time between two samples means that the recorder did not run in between.
pub(crate) fn is_hole(interval_ms: u64, passed_ms: u64) -> bool {
    passed_ms > interval_ms.saturating_mul(3).max(1000)
}
