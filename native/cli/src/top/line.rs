//! One listener over time, as the screen needs it. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::Reading;
use accept_queue_core::rules::check::{Severity, Trouble};
use accept_queue_core::rules::detector::{Condition, Time};
use accept_queue_core::rules::history::Status;
use accept_queue_core::vm::pollset::Accepting;
use accept_queue_core::{Counts, Depth, Endpoint};

use super::accepting::Stand;
use super::words;
use crate::{condition, figures};

/// What tells a listener from every other.
pub(crate) type Place = (Namespace, Endpoint);

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) place: Place,
    /// Printable.
    pub(crate) address: String,
    /// Each printable.
    pub(crate) owners: Vec<String>,
    /// The first of the owners that runs a BEAM, or of all; `None`: nobody looked whose it is.
    pub(crate) process: Option<i32>,
    pub(crate) depth: Depth,
    pub(crate) status: Status,
    pub(crate) stands: Vec<Stand>,
    /// The newest last.
    pub(crate) history: VecDeque<Moment>,
}

/// The queue at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) at: Time,
    pub(crate) queued: u32,
    pub(crate) limit: u32,
    /// Since the listener was opened.
    drops: Option<u64>,
}

/// As many as a wide terminal has columns.
const REMEMBERED: usize = 512;
/// A rate over less than this would jump.
const RATE_OVER: Duration = Duration::from_secs(1);

impl Moment {
    /// From 0, empty, to 1, full: `limit + 1` fit.
    pub(crate) fn fill(&self) -> f64 {
        (f64::from(self.queued) / (f64::from(self.limit) + 1.0)).min(1.0)
    }
}

impl Line {
    /// What has been read now of a listener that was perhaps known before.
    pub(crate) fn follow(before: Option<Line>, at: Time, reading: Reading, stands: Vec<Stand>) -> Line {
        let mut history = before.filter(|_| !reading.is_new).map(|line| line.history).unwrap_or_default();
        if history.len() == REMEMBERED {
            history.pop_front();
        }
        let Depth { queued, limit, .. } = reading.depth_reading.depth;
        history.push_back(Moment { at, queued, limit, drops: reading.depth_reading.drops });
        Line {
            address: reading.endpoint.to_string(),
            owners: figures::owners(&reading.owners).iter().map(figures::Process::shown).collect(),
            process: {
                let owners = || reading.owners.iter().map(|owner| &owner.process);
                owners().find(|process| process.is_beam).or_else(|| owners().next()).map(|process| process.pid)
            },
            place: (reading.namespace, reading.endpoint),
            depth: reading.depth_reading.depth,
            status: reading.status,
            stands,
            history,
        }
    }

    /// From 0, empty, to 1, full.
    pub(crate) fn fill(&self) -> f64 {
        self.history.back().map_or(0.0, Moment::fill)
    }

    /// Who stands in the queue now; what does not stand in it is as of the last look, some seconds ago at most.
    pub(crate) fn counts(&self) -> Option<Counts> {
        let (counts, _) = self.status.counts?;
        let empty = Counts { queued: 0, queued_alive: 0, queued_closed: 0, oldest_wait: None, ..counts };
        Some(match self.depth.queued {
            0 => Counts { queued_bytes: counts.queued_bytes.map(|_| 0), ..empty },
            _ => counts,
        })
    }

    /// Over the last second or more; `None`: the kernel does not count them here, or there was one reading only.
    pub(crate) fn drops_per_second(&self) -> Option<f64> {
        let last = self.history.back()?;
        let is_far = |moment: &&Moment| last.at.saturating_sub(moment.at) >= RATE_OVER;
        let then = self.history.iter().rev().find(is_far).or_else(|| self.history.front())?;
        let elapsed = last.at.saturating_sub(then.at).as_secs_f64();
        let dropped = last.drops?.saturating_sub(then.drops?);
        (elapsed > 0.0).then(|| dropped as f64 / elapsed)
    }

    /// How long it has waited who has waited longest.
    pub(crate) fn oldest_wait(&self) -> Option<Duration> {
        self.counts()?.oldest_wait
    }

    /// Of several sockets, that of the one for which it looks worst.
    pub(crate) fn accepting(&self) -> Option<Accepting> {
        self.stands
            .iter()
            .map(|stand| stand.accepting)
            .max_by_key(|&accepting| words::accepting_rank(accepting))
            .flatten()
    }

    /// The conditions that hold, worst first.
    pub(crate) fn conditions(&self) -> Vec<Condition> {
        let mut conditions: Vec<_> = self.status.conditions.iter().map(|&(condition, _)| condition).collect();
        conditions.sort_by_key(|&condition| std::cmp::Reverse(Trouble::Condition(condition).severity()));
        conditions
    }

    /// Of the worst of them.
    pub(crate) fn severity(&self) -> Severity {
        let severities = self.status.conditions.iter().map(|&(condition, _)| Trouble::Condition(condition).severity());
        severities.max().unwrap_or(Severity::Ok)
    }

    /// Whether a text that somebody typed names it.
    pub(crate) fn is_named(&self, text: &str) -> bool {
        let has = |name: &str| name.to_lowercase().contains(&text.to_lowercase());
        has(&self.address)
            || self.owners.iter().any(|owner| has(owner))
            || self.conditions().into_iter().any(|condition| has(condition::name(condition)))
            || self.accepting().is_some_and(|accepting| has(words::accepting(accepting)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use accept_queue_core::outside::observer::Sample;
    use accept_queue_core::outside::snapshot::{Gap, Missing, Owner};
    use accept_queue_core::rules::history::{DepthReading, Span};
    use accept_queue_core::vm::find::Candidate;
    use accept_queue_core::vm::pollset::{Events, Registration, Set};
    use accept_queue_core::{Address, Cookie, Errno, Error, Inode};

    use super::super::sampler::Observation;
    use super::*;

    /// A reading that a test makes up.
    #[derive(Clone)]
    pub(crate) struct Made {
        port: u16,
        queued: u32,
        limit: u32,
        drops: Option<u32>,
        owner: String,
        conditions: Vec<(Condition, Duration)>,
        oldest: Option<Duration>,
        closed: u32,
        close_wait: u32,
        is_new: bool,
        mask: Option<u32>,
        is_emptied: bool,
        has_owner: bool,
    }

    impl Made {
        pub(crate) fn new(port: u16, queued: u32, limit: u32) -> Made {
            Made {
                port,
                queued,
                limit,
                drops: Some(0),
                owner: "shop@host".to_owned(),
                conditions: Vec::new(),
                oldest: None,
                closed: 0,
                close_wait: 0,
                is_new: false,
                mask: Some(0x4000_0019),
                is_emptied: false,
                has_owner: true,
            }
        }

        pub(crate) fn raising(mut self, condition: Condition) -> Made {
            self.conditions.push((condition, Duration::from_secs(12)));
            self
        }

        pub(crate) fn owned_by(self, owner: &str) -> Made {
            Made { owner: owner.to_owned(), ..self }
        }

        /// As with `--port`.
        pub(crate) fn owned_by_nobody_known(self) -> Made {
            Made { has_owner: false, ..self }
        }

        pub(crate) fn dropped(self, drops: u32) -> Made {
            Made { drops: Some(drops), ..self }
        }

        pub(crate) fn made_anew(self) -> Made {
            Made { is_new: true, ..self }
        }

        pub(crate) fn waiting(self, oldest: Duration, closed: u32) -> Made {
            Made { oldest: Some(oldest), closed, ..self }
        }

        pub(crate) fn holding(self, close_wait: u32) -> Made {
            Made { close_wait, ..self }
        }

        /// As its descriptor stands in the poll thread's set; `None`: not in it.
        pub(crate) fn polled(self, mask: Option<u32>) -> Made {
            Made { mask, ..self }
        }

        /// Since the last look.
        pub(crate) fn since_emptied(self) -> Made {
            Made { is_emptied: true, ..self }
        }

        fn owners(&self) -> Vec<Owner> {
            let owner = || Owner { process: Arc::new(beam(&self.owner)), fd: 18 };
            self.has_owner.then(owner).into_iter().collect()
        }

        fn stand(&self) -> Stand {
            let registration = |mask| Registration { set: Set::PollThread, epoll: 4, events: Events(mask) };
            let found: Vec<_> = self.mask.into_iter().map(registration).collect();
            Stand {
                socket: Inode(self.port.into()),
                accepting: Some(Accepting::of(&found)),
                found: found.into_iter().map(|found| (Arc::new(beam(&self.owner)), found)).collect(),
            }
        }

        fn reading(&self) -> Reading {
            let queued = if self.is_emptied { 0 } else { self.queued };
            let depth = Depth { queued, limit: self.limit, drops: self.drops };
            let counts = Counts {
                queued: self.queued,
                limit: self.limit,
                drops: self.drops,
                syn_recv: Some(0),
                queued_alive: self.queued - self.closed,
                queued_closed: self.closed,
                queued_bytes: Some(0),
                oldest_wait: self.oldest,
                established: 7,
                close_wait: self.close_wait,
                sockets: 1,
            };
            Reading {
                namespace: Namespace(1),
                endpoint: Endpoint::Tcp(Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], self.port)))),
                owners: self.owners(),
                sockets: vec![(Cookie(self.port.into()), Inode(self.port.into()))],
                is_new: self.is_new,
                depth_reading: DepthReading {
                    depth,
                    drops: self.drops.map(u64::from),
                    changes: Vec::new(),
                    wants_census: false,
                    resumed: false,
                },
                census: None,
                status: Status {
                    conditions: self.conditions.clone(),
                    depth: Some(depth),
                    drops: self.drops.map(u64::from),
                    counts: Some((counts, Duration::ZERO)),
                    window: Some(Span {
                        min: 0,
                        max: self.queued,
                        mean: f64::from(self.queued) / 2.0,
                        readings: 1,
                        peak_ago: Duration::from_millis(2500),
                    }),
                    watched_for: Duration::from_secs(90),
                    read_ago: Some(Duration::ZERO),
                },
            }
        }
    }

    fn beam(name: &str) -> Candidate {
        Candidate { pid: 4711, name: name.to_owned(), is_beam: true, is_named: true }
    }

    pub(crate) fn observation(at: Time, lines: &[Made]) -> Observation {
        Observation {
            at,
            elapsed: at,
            took: Duration::from_millis(1),
            sample: Sample { readings: lines.iter().map(Made::reading).collect(), gone: Vec::new(), gaps: Vec::new() },
            stands: lines.iter().map(|line| vec![line.stand()]).collect(),
            kernel: None,
        }
    }

    /// A process that could not be looked at.
    pub(crate) fn gap(name: &str) -> Gap {
        Gap { process: Arc::new(beam(name)), missing: Missing::Sockets(Error::Errno(Errno(13))) }
    }
}
