//! One listener over time, as a row of the screen. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::Reading;
use accept_queue_core::rules::check::{Severity, Trouble};
use accept_queue_core::rules::detector::{Condition, Time};
use accept_queue_core::rules::history::Status;
use accept_queue_core::vm::pollset::Accepting;
use accept_queue_core::{Counts, Depth, Endpoint};

use super::epoll::EpollState;
use super::words;
use crate::{accepting, condition, figures};

/// What identifies a listener.
pub(crate) type ListenerId = (Namespace, Endpoint);

/// One listener.
#[derive(Debug, Clone)]
pub(crate) struct ListenerRow {
    pub(crate) id: ListenerId,
    /// Printable.
    pub(crate) address: String,
    /// Each printable.
    pub(crate) owners: Vec<String>,
    /// The first of the owners that runs a BEAM, or of all; `None`: the owners were not looked up.
    pub(crate) process: Option<i32>,
    pub(crate) depth: Depth,
    pub(crate) status: Status,
    /// One for each of its sockets.
    pub(crate) epoll: Vec<EpollState>,
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

impl ListenerRow {
    /// What has been read now of a listener that was perhaps known before.
    pub(crate) fn follow(
        before: Option<ListenerRow>,
        at: Time,
        reading: Reading,
        epoll: Vec<EpollState>,
    ) -> ListenerRow {
        let mut history = before.filter(|_| !reading.is_new).map(|row| row.history).unwrap_or_default();
        if history.len() == REMEMBERED {
            history.pop_front();
        }
        let Depth { queued, limit, .. } = reading.depth_reading.depth;
        history.push_back(Moment { at, queued, limit, drops: reading.depth_reading.drops });
        ListenerRow {
            address: reading.endpoint.to_string(),
            owners: figures::owners(&reading.owners).iter().map(figures::Process::shown).collect(),
            process: {
                let owners = || reading.owners.iter().map(|owner| &owner.process);
                owners().find(|process| process.is_beam).or_else(|| owners().next()).map(|process| process.pid)
            },
            id: (reading.namespace, reading.endpoint),
            depth: reading.depth_reading.depth,
            status: reading.status,
            epoll,
            history,
        }
    }

    /// From 0, empty, to 1, full.
    pub(crate) fn fill(&self) -> f64 {
        self.history.back().map_or(0.0, Moment::fill)
    }

    /// The connections in the queue are as of now; accepted ones are as of the last census, some seconds ago at most.
    pub(crate) fn counts(&self) -> Option<Counts> {
        let (counts, _) = self.status.counts?;
        let none = Some(0);
        let empty = Counts { queued: 0, queued_alive: none, queued_closed: none, oldest_wait: None, ..counts };
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

    /// Of the connection that has waited longest.
    pub(crate) fn oldest_wait(&self) -> Option<Duration> {
        self.counts()?.oldest_wait
    }

    /// Of several sockets, the worst.
    pub(crate) fn accepting(&self) -> Option<Accepting> {
        accepting::worst(&self.epoll)
    }

    /// The conditions that hold, worst first.
    pub(crate) fn conditions(&self) -> Vec<Condition> {
        let mut conditions: Vec<_> = self.status.conditions.iter().map(|&(condition, _)| condition).collect();
        conditions.sort_by_key(|&condition| std::cmp::Reverse(Trouble::Condition(condition).severity()));
        conditions
    }

    /// Of the worst of them.
    pub(crate) fn severity(&self) -> Severity {
        Severity::of(self.status.conditions.iter().map(|&(condition, _)| condition))
    }

    /// Whether a text typed as a filter names it.
    pub(crate) fn is_named(&self, text: &str) -> bool {
        let has = |name: &str| name.to_lowercase().contains(&text.to_lowercase());
        has(&self.address)
            || self.owners.iter().any(|owner| has(owner))
            || self.conditions().into_iter().any(|condition| has(condition::name(condition)))
            || self.accepting().is_some_and(|accepting| has(words::accepting(accepting)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::app::App;
    use super::super::fixtures::{MadeUp, app, observation};
    use super::*;

    fn with(app: &mut App, at: u64, rows: &[MadeUp]) {
        app.observed(observation(Duration::from_secs(at), rows));
    }

    #[test]
    fn drops_are_shown_per_second() {
        let mut app = app();
        for (at, drops) in [(0, 100), (1, 100), (2, 130)] {
            with(&mut app, at, &[MadeUp::new(8001, 6, 5).dropped(drops)]);
        }
        assert_eq!(app.rows()[0].drops_per_second(), Some(30.0));
        with(&mut app, 4, &[MadeUp::new(8001, 6, 5).dropped(130)]);
        assert_eq!(app.rows()[0].drops_per_second(), Some(0.0));
    }

    #[test]
    fn one_reading_gives_no_rate_and_a_reopened_listener_starts_again() {
        let mut app = app();
        with(&mut app, 0, &[MadeUp::new(8001, 6, 5).dropped(100)]);
        assert_eq!(app.rows()[0].drops_per_second(), None);
        with(&mut app, 1, &[MadeUp::new(8001, 6, 5).dropped(3).reopened()]);
        assert_eq!(app.rows()[0].drops_per_second(), None);
        assert_eq!(app.rows()[0].history.len(), 1);
    }

    #[test]
    fn an_empty_queue_has_no_clients_whatever_the_last_census_said() {
        let mut app = app();
        with(&mut app, 0, &[MadeUp::new(8001, 3, 5).waiting(Duration::from_secs(1), 2).holding(7).since_emptied()]);
        let rows = app.rows();
        let counts = rows[0].counts().expect("a census");
        assert_eq!((counts.queued_alive, counts.queued_closed, counts.queued_reset()), (Some(0), Some(0), Some(0)));
        assert_eq!((counts.oldest_wait, counts.close_wait), (None, 7));
    }
}
