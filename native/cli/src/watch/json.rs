//! An event -> a line with one JSON object.

use std::time::Duration;

use accept_queue_core::outside::observer::Reading;
use accept_queue_core::rules::detector::SocketEvidence;
use accept_queue_core::{Counts, Depth};
use serde::Serialize;

use crate::condition;
use crate::figures::{self, Figures, Process, SCHEMA};
use crate::follow::event::{Event, ListenerRef};

#[derive(Serialize)]
struct Line {
    schema: u32,
    /// Milliseconds since the epoch.
    at: u64,
    #[serde(flatten)]
    what: What,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum What {
    Added {
        #[serde(flatten)]
        place: Place,
        #[serde(flatten)]
        read: Read,
    },
    Sample {
        #[serde(flatten)]
        place: Place,
        #[serde(flatten)]
        read: Read,
        conditions: Vec<&'static str>,
    },
    Raised {
        #[serde(flatten)]
        place: Place,
        condition: &'static str,
        held_ms: u64,
        dropped: u64,
        dropped_otherwise: u64,
        /// Of `overflowing` and `stuck`.
        socket: Option<Socket>,
        #[serde(flatten)]
        read: Read,
    },
    Cleared {
        #[serde(flatten)]
        place: Place,
        condition: &'static str,
        duration_ms: u64,
        #[serde(flatten)]
        read: Option<Read>,
    },
    Removed {
        #[serde(flatten)]
        place: Place,
    },
    Unreadable {
        #[serde(flatten)]
        process: Option<Process>,
        reason: String,
    },
}

#[derive(Serialize)]
struct Place {
    address: String,
    namespace: u64,
    owners: Vec<Process>,
}

/// Which of the sockets that share the address, with its own queue.
#[derive(Serialize)]
struct Socket {
    cookie: u64,
    inode: Option<u32>,
    queued: u32,
    limit: Option<u32>,
    drops: Option<u32>,
}

/// The depth, and the counts of the last census where there was one.
#[derive(Serialize)]
#[serde(untagged)]
enum Read {
    Census {
        #[serde(flatten)]
        figures: Figures,
        looked_ms_ago: u64,
    },
    Depth {
        queued: u32,
        limit: Option<u32>,
        drops: Option<u64>,
    },
}

pub(super) fn line(at: u64, event: &Event) -> Result<String, String> {
    let line = Line { schema: SCHEMA, at, what: What::from(event) };
    crate::json::line(&line).map(|text| text + "\n").map_err(|error| format!("an event is no JSON: {error}"))
}

impl From<&Event<'_>> for What {
    fn from(event: &Event) -> What {
        match event {
            Event::Added(reading) => What::Added { place: Place::from(*reading), read: Read::depth(reading) },
            Event::Sample(reading) => What::Sample {
                place: Place::from(*reading),
                // The counts are part of the sample that took the census, and of no later one.
                read: if reading.census.is_some() { Read::all(reading) } else { Read::depth(reading) },
                conditions: reading.status.conditions.iter().map(|held| condition::name(held.0)).collect(),
            },
            Event::Raised { reading, condition, evidence } => What::Raised {
                place: Place::from(*reading),
                condition: condition::name(*condition),
                held_ms: millis(evidence.held_for),
                dropped: evidence.dropped,
                dropped_otherwise: evidence.dropped_otherwise,
                socket: evidence.socket.map(|socket| Socket::of(&socket, reading)),
                read: Read::all(reading),
            },
            Event::Cleared { reading, condition, lasted } => What::Cleared {
                place: Place::from(*reading),
                condition: condition::name(*condition),
                duration_ms: millis(*lasted),
                read: Some(Read::all(reading)),
            },
            Event::Ended { gone, condition, lasted } => What::Cleared {
                place: Place::from(*gone),
                condition: condition::name(*condition),
                duration_ms: millis(*lasted),
                read: None,
            },
            Event::Removed(gone) => What::Removed { place: Place::from(*gone) },
            Event::Unreadable { process, reason } => {
                What::Unreadable { process: process.map(Process::from), reason: reason.clone() }
            }
        }
    }
}

impl<'a, T: Into<ListenerRef<'a>>> From<T> for Place {
    fn from(listener: T) -> Place {
        let ListenerRef { namespace, endpoint, owners } = listener.into();
        Place { address: endpoint.to_string(), namespace: namespace.0, owners: figures::owners(owners) }
    }
}

impl Socket {
    fn of(SocketEvidence { cookie, depth }: &SocketEvidence, reading: &Reading) -> Socket {
        let inode = reading.sockets.iter().find_map(|(known, inode)| (known == cookie).then_some(inode.0));
        Socket { cookie: cookie.0, inode, queued: depth.queued, limit: depth.known_limit(), drops: depth.drops }
    }
}

impl Read {
    fn depth(Reading { depth_reading, .. }: &Reading) -> Read {
        let depth = depth_reading.depth;
        Read::Depth { queued: depth.queued, limit: depth.known_limit(), drops: depth_reading.drops }
    }

    fn all(reading: &Reading) -> Read {
        let Some((counts, ago)) = &reading.status.counts else { return Read::depth(reading) };
        let Depth { queued, limit, .. } = reading.depth_reading.depth;
        let now = Counts { queued, limit, ..*counts };
        let figures = Figures { drops: reading.depth_reading.drops, ..Figures::from(&now) };
        Read::Census { figures, looked_ms_ago: millis(*ago) }
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}
