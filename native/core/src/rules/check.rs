//! How bad is it: what a monitoring system reports of a listener after one reading, or after a few. Pure.
//!
//! The rules are those of [`crate::rules::detector`] and [`crate::rules::verdict`]; here they are fitted to the time that a
//! check has, which is a second rather than a day, and graded. What is added is how full a queue may be: ages say more, but a
//! Unix socket has none.

use std::time::Duration;

use crate::Counts;
use crate::rules::detector::{Condition, Settings};
use crate::rules::history::Status;
use crate::rules::verdict::{ListenerState, Symptom, verdict};

/// How much a check tolerates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// No connection should wait longer than this.
    pub max_wait: Duration,
    /// No more of the limit should be taken than this part.
    pub max_fill: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_wait: Settings::default().max_wait, max_fill: 0.5 }
    }
}

/// How bad it is; the worse is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// All is well.
    Ok,
    /// Clients wait too long, or the application forgets them.
    Warning,
    /// Clients are turned away, or none is served.
    Critical,
}

impl Severity {
    /// Of what holds, the worst.
    pub fn of(conditions: impl IntoIterator<Item = Condition>) -> Severity {
        let severities = conditions.into_iter().map(|condition| Trouble::Condition(condition).severity());
        severities.max().unwrap_or(Severity::Ok)
    }
}

/// What is wrong with a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// This holds.
    Condition(Condition),
    /// More of the limit is taken than should be.
    Filled,
}

impl Trouble {
    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Trouble::Condition(Condition::Overflowing | Condition::Stuck) => Severity::Critical,
            Trouble::Condition(Condition::Behind | Condition::Abandoned | Condition::Leaking) | Trouble::Filled => {
                Severity::Warning
            }
        }
    }
}

/// Within a shorter time than this, a slow server and a stuck one are the same.
const STUCK_AT_LEAST: Duration = Duration::from_secs(1);

impl Limits {
    /// What the detector needs to come to a conclusion within this time: what lasted throughout it has lasted long enough.
    pub fn settings(&self, span: Duration) -> Settings {
        let usual = Settings::default();
        Settings {
            max_wait: self.max_wait,
            hold_for: usual.hold_for.min(span),
            stuck: usual.stuck.min(span).max(STUCK_AT_LEAST),
            ..usual
        }
    }

    /// The depth beyond which a queue with this limit is too full; more than all of it is never asked for.
    pub fn most_queued(&self, limit: u32) -> u32 {
        (f64::from(limit) * self.max_fill).clamp(0.0, limit.into()) as u32
    }

    /// What is wrong after several readings. A burst that drained meanwhile is not.
    pub fn over_time(&self, status: &Status) -> Vec<Trouble> {
        let held = status.conditions.iter().map(|&(condition, _)| condition).collect();
        let (least, limit) = (status.window.map(|window| window.min), status.depth.map(|depth| depth.limit));
        self.troubles(held, least.unwrap_or(0), limit.unwrap_or(0))
    }

    /// What is wrong by one reading, which distinguishes a burst from a queue that does not drain by the ages alone.
    pub fn at_once(&self, counts: &Counts) -> Vec<Trouble> {
        let standing = ListenerState {
            queued: counts.queued,
            limit: counts.limit,
            is_full: counts.is_full(),
            left: counts.left(),
            oldest_wait: counts.oldest_wait,
            close_wait: counts.close_wait,
            waiting_acceptors: None,
        };
        let settings = Settings { max_wait: self.max_wait, ..Settings::default() };
        let held = verdict(&standing, &settings).into_iter().map(condition).collect();
        self.troubles(held, counts.queued, counts.limit)
    }

    fn troubles(&self, held: Vec<Condition>, queued: u32, limit: u32) -> Vec<Trouble> {
        // What overflows need not be called filled.
        let is_filled = queued > self.most_queued(limit) && !held.contains(&Condition::Overflowing);
        held.into_iter().map(Trouble::Condition).chain(is_filled.then_some(Trouble::Filled)).collect()
    }
}

/// The condition that a symptom would be, had it lasted.
fn condition(symptom: Symptom) -> Condition {
    match symptom {
        Symptom::Full => Condition::Overflowing,
        Symptom::NoAcceptor => Condition::Stuck,
        Symptom::Behind => Condition::Behind,
        Symptom::Left(_) => Condition::Abandoned,
        Symptom::Leaking(_) => Condition::Leaking,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::history::History;
    use crate::rules::overflows::Overflowed;
    use crate::{Census, Cookie, Depth, Members};
    use Condition::{Abandoned, Behind, Leaking, Overflowing, Stuck};
    use Trouble::Filled;

    fn conditions(conditions: &[Condition]) -> Vec<Trouble> {
        conditions.iter().copied().map(Trouble::Condition).collect()
    }

    fn queue(queued: u32, limit: u32, oldest_ms: u64) -> Counts {
        let oldest_wait = (queued > 0).then_some(Duration::from_millis(oldest_ms));
        Counts {
            queued,
            limit,
            queued_alive: Some(queued),
            queued_closed: Some(0),
            oldest_wait,
            sockets: 1,
            ..Counts::default()
        }
    }

    #[test]
    fn one_reading_shows_what_is_wrong_now() {
        for (sentence, counts, troubles) in [
            ("an empty queue", queue(0, 10, 0), vec![]),
            ("half of the limit", queue(5, 10, 5), vec![]),
            ("more than half of it", queue(6, 10, 5), vec![Filled]),
            ("a full one is not called filled as well", queue(11, 10, 5), conditions(&[Overflowing])),
            ("one that waits where there is room for one", queue(1, 0, 5), conditions(&[Overflowing])),
            ("one that has waited too long", queue(1, 10, 251), conditions(&[Behind])),
            ("one that has not yet", queue(1, 10, 250), vec![]),
            (
                "five that have left",
                Counts { queued_alive: Some(0), queued_closed: Some(5), ..queue(5, 10, 5) },
                conditions(&[Abandoned]),
            ),
            ("a leak", Counts { close_wait: 1001, ..queue(0, 10, 0) }, conditions(&[Leaking])),
        ] {
            let limits = Limits { max_wait: Duration::from_millis(250), ..Limits::default() };
            assert_eq!(limits.at_once(&counts), troubles, "{sentence}");
        }
    }

    /// Reads every 250 ms, five times; the age of the head is given, and grows with time.
    fn after_a_second(samples: [(u32, u64); 5]) -> Vec<Trouble> {
        let limits = Limits::default();
        let span = Duration::from_secs(1);
        // Ages reach back before the first sample.
        let begun = Duration::from_secs(3600);
        let mut history = History::new(limits.settings(span), begun);
        for (sample, (queued, oldest_ms)) in samples.into_iter().enumerate() {
            let at = begun + Duration::from_millis(sample as u64 * 250);
            let counts = queue(queued, 10, oldest_ms);
            let depth = Depth { queued, limit: 10, drops: Some(0) };
            history.depth_read(at, &Members::one(Cookie(1), depth), Overflowed::default());
            let waits = counts.oldest_wait.map(|wait| vec![wait; queued as usize]).unwrap_or_default();
            let census =
                Census { counts, waits: Some(waits), clients: None, took: Duration::ZERO, sockets: Vec::new() };
            history.census_taken(at, &census);
        }
        limits.over_time(&history.status(begun + span))
    }

    #[test]
    fn several_readings_distinguish_a_burst_from_a_queue_that_does_not_drain() {
        for (sentence, samples, troubles) in [
            ("a burst to the brim", [(0, 0), (11, 20), (0, 0), (0, 0), (0, 0)], vec![]),
            ("a burst at the end", [(0, 0), (0, 0), (0, 0), (0, 0), (11, 20)], vec![]),
            ("many that are accepted at once", [(8, 20), (8, 20), (8, 20), (8, 20), (8, 20)], vec![Filled]),
            (
                "one that waits and is not accepted",
                [(1, 300), (1, 550), (1, 800), (1, 1050), (1, 1300)],
                conditions(&[Behind, Stuck]),
            ),
            ("a slow pool", [(4, 300), (4, 400), (4, 500), (4, 300), (4, 400)], conditions(&[Behind])),
            (
                "a full queue that is not accepted from",
                [(11, 300), (11, 550), (11, 800), (11, 1050), (11, 1300)],
                conditions(&[Behind, Overflowing, Stuck]),
            ),
        ] {
            assert_eq!(after_a_second(samples), troubles, "{sentence}");
        }
    }

    #[test]
    fn turning_clients_away_or_serving_none_is_critical() {
        let severity = |condition| Trouble::Condition(condition).severity();
        assert_eq!([Overflowing, Stuck].map(severity), [Severity::Critical; 2]);
        assert_eq!([Behind, Abandoned, Leaking].map(severity), [Severity::Warning; 3]);
        assert_eq!(Filled.severity(), Severity::Warning);
        assert!(Severity::Critical > Severity::Warning && Severity::Warning > Severity::Ok);
    }

    #[test]
    fn a_short_check_never_calls_a_listener_stuck() {
        let settings = |ms| Limits::default().settings(Duration::from_millis(ms));
        assert_eq!((settings(100).hold_for, settings(100).stuck), (Duration::from_millis(100), Duration::from_secs(1)));
        assert_eq!(
            (settings(60_000).hold_for, settings(60_000).stuck),
            (Duration::from_secs(1), Duration::from_secs(5))
        );
    }

    #[test]
    fn all_of_a_limit_is_the_most_that_may_be_asked_for() {
        let limits = |max_fill| Limits { max_fill, ..Limits::default() };
        assert_eq!((limits(0.5).most_queued(5), limits(1.0).most_queued(5), limits(7.0).most_queued(5)), (2, 5, 5));
        assert_eq!(limits(1.0).most_queued(u32::MAX), u32::MAX);
    }
}
