//! How bad is it: what a monitoring system reports of a listener after one reading, or after a few. Pure.
//!
//! The rules are those of [`crate::rules::detector`] and [`crate::rules::verdict`]; here they are fitted to the time that a
//! check has, which is a second rather than a day, and graded. What is added is how full a queue may be, as a [`Range`] of percent
//! of its limit: ages say more, but a Unix socket has none.

mod range;

use std::cmp::Ordering;
use std::time::Duration;

pub use range::{BadRange, Breach, Range};

use crate::rules::detector::{Condition, Settings};
use crate::rules::history::Status;
use crate::rules::verdict::{ListenerState, Symptom, verdict};
use crate::{Counts, Depth};

/// How much a check tolerates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// No connection should wait longer than this.
    pub max_wait: Duration,
    /// A warning: how many percent of the limit are taken.
    pub warning: Range,
    /// Critical: the same. A queue that is full is critical without it.
    pub critical: Option<Range>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_wait: Settings::default().max_wait, warning: Range::up_to(50.0), critical: None }
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
    Filled(Severity),
    /// Less of it.
    Underfilled(Severity),
}

impl Trouble {
    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Trouble::Condition(Condition::Overflowing | Condition::Stuck) => Severity::Critical,
            Trouble::Condition(Condition::Behind | Condition::Abandoned | Condition::Leaking) => Severity::Warning,
            Trouble::Filled(severity) | Trouble::Underfilled(severity) => severity,
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

    /// The range that is broken where it is this bad; `None`: fullness has no part in it.
    pub fn range(&self, severity: Severity) -> Option<Range> {
        match severity {
            Severity::Ok => None,
            Severity::Warning => Some(self.warning),
            Severity::Critical => self.critical,
        }
    }

    /// What is wrong after several readings. A burst that drained meanwhile is not, nor what some of the readings do not show.
    pub fn over_time(&self, status: &Status, readings: &[Depth]) -> Vec<Trouble> {
        let held = status.conditions.iter().map(|&(condition, _)| condition).collect();
        let severities = readings.iter().map(|depth| self.filled(depth).map_or(Severity::Ok, |(severity, _)| severity));
        let throughout = severities.min().filter(|severity| *severity > Severity::Ok);
        let last = readings.last().and_then(|depth| self.filled(depth));
        self.troubles(held, throughout.zip(last).map(|(severity, (_, breach))| (severity, breach)))
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
        self.troubles(held, self.filled(&counts.depth()))
    }

    /// The worse of the two ranges that this depth breaks.
    fn filled(&self, depth: &Depth) -> Option<(Severity, Breach)> {
        let fill = fill_percent(depth)?;
        let by = |severity, range: Range| range.breach(fill).map(|breach| (severity, breach));
        let critical = self.critical.and_then(|range| by(Severity::Critical, range));
        critical.or_else(|| by(Severity::Warning, self.warning))
    }

    fn troubles(&self, held: Vec<Condition>, filled: Option<(Severity, Breach)>) -> Vec<Trouble> {
        // What overflows need not be called filled.
        let is_full = held.contains(&Condition::Overflowing);
        let filled = match filled {
            Some((_, Breach::Above)) if is_full => None,
            Some((severity, Breach::Above)) => Some(Trouble::Filled(severity)),
            Some((severity, Breach::Below)) => Some(Trouble::Underfilled(severity)),
            None => None,
        };
        held.into_iter().map(Trouble::Condition).chain(filled).collect()
    }
}

/// How many percent of the limit are taken: more than 100 where it is full. An empty queue is at 0 and one without a place at
/// infinity. `None`: the limit is not known.
pub fn fill_percent(depth: &Depth) -> Option<f64> {
    let limit = depth.known_limit()?;
    Some(if depth.queued == 0 { 0.0 } else { f64::from(depth.queued) * 100.0 / f64::from(limit) })
}

/// Which of two listeners comes first, the worst before the others: by how bad it is, then how full, then how long the oldest waits,
/// then how many wait, then how many packets it has dropped.
pub fn worst_first(one: (Severity, &Counts), other: (Severity, &Counts)) -> Ordering {
    let fill = |(_, counts): (Severity, &Counts)| fill_percent(&counts.depth()).unwrap_or(0.0);
    let figures = |(_, counts): (Severity, &Counts)| (counts.oldest_wait, counts.queued, counts.drops);
    let by_severity = other.0.cmp(&one.0);
    by_severity.then(fill(other).total_cmp(&fill(one))).then(figures(other).cmp(&figures(one)))
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
    use crate::counts::UNKNOWN_LIMIT;
    use crate::rules::history::History;
    use crate::rules::overflows::Overflowed;
    use crate::{Census, Cookie, Members};
    use Condition::{Abandoned, Behind, Leaking, Overflowing, Stuck};
    use Severity::{Critical, Warning};
    use Trouble::{Filled, Underfilled};

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
            ("more than half of it", queue(6, 10, 5), vec![Filled(Warning)]),
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
        let mut readings = Vec::new();
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
            readings.push(depth);
        }
        limits.over_time(&history.status(begun + span), &readings)
    }

    #[test]
    fn several_readings_distinguish_a_burst_from_a_queue_that_does_not_drain() {
        for (sentence, samples, troubles) in [
            ("a burst to the brim", [(0, 0), (11, 20), (0, 0), (0, 0), (0, 0)], vec![]),
            ("a burst at the end", [(0, 0), (0, 0), (0, 0), (0, 0), (11, 20)], vec![]),
            ("many that are accepted at once", [(8, 20), (8, 20), (8, 20), (8, 20), (8, 20)], vec![Filled(Warning)]),
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
        assert_eq!(Filled(Critical).severity(), Severity::Critical);
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

    fn limits(warning: &str, critical: &str) -> Limits {
        let range = |text: &str| text.parse::<Range>().expect("a range");
        let critical = (!critical.is_empty()).then(|| range(critical));
        Limits { warning: range(warning), critical, max_wait: Duration::from_secs(3600) }
    }

    #[test]
    fn a_fill_is_judged_by_both_ranges_and_the_worse_is_what_it_is() {
        for (sentence, warning, critical, queued, troubles) in [
            ("as much as is allowed", "50", "80", 5, vec![]),
            ("more than that", "50", "80", 6, vec![Filled(Warning)]),
            ("as much as is not yet critical", "50", "80", 8, vec![Filled(Warning)]),
            ("more than that", "50", "80", 9, vec![Filled(Critical)]),
            ("a full one is critical by itself", "50", "80", 11, conditions(&[Overflowing])),
            ("also where the ranges allow it", "200", "200", 11, conditions(&[Overflowing])),
            ("less than there should be", "10:", "", 0, vec![Underfilled(Warning)]),
            ("not less", "10:", "", 1, vec![]),
            ("in a range where it should not be", "@10:20", "@20:30", 1, vec![Filled(Warning)]),
            ("in both", "@10:20", "@20:30", 2, vec![Filled(Critical)]),
            ("behind both", "@10:20", "@20:30", 4, vec![]),
            ("critical though no warning", "~:", "50", 6, vec![Filled(Critical)]),
        ] {
            let found = limits(warning, critical).at_once(&queue(queued, 10, 5));
            assert_eq!(found, troubles, "{sentence}: {queued} of 10 by {warning} and {critical}");
        }
        let unknown = Counts { limit: UNKNOWN_LIMIT, ..queue(9, 10, 5) };
        assert_eq!(limits("10:50", "10:50").at_once(&unknown), vec![], "of a limit that is not known nothing is said");
    }

    #[test]
    fn a_fill_counts_where_every_reading_shows_it_and_as_bad_as_the_best_of_them() {
        let status = History::new(Settings::default(), Duration::ZERO).status(Duration::ZERO);
        for (sentence, warning, critical, queued, troubles) in [
            ("never", "50", "80", &[0, 0, 0][..], vec![]),
            ("not in one", "50", "80", &[9, 5, 9], vec![]),
            ("critical in some, a warning in all", "50", "80", &[9, 6, 9], vec![Filled(Warning)]),
            ("critical in all", "50", "80", &[9, 9, 9], vec![Filled(Critical)]),
            ("on either side", "30:60", "", &[1, 9, 1], vec![Underfilled(Warning)]),
            ("inside", "@30:60", "", &[3, 4, 6], vec![Filled(Warning)]),
            ("inside but for one", "@30:60", "", &[3, 7, 6], vec![]),
            ("not read", "10:", "10:", &[], vec![]),
        ] {
            let readings: Vec<_> = queued.iter().map(|&queued| Depth { queued, limit: 10, drops: Some(0) }).collect();
            let found = limits(warning, critical).over_time(&status, &readings);
            assert_eq!(found, troubles, "{sentence}: {queued:?} of 10 by {warning} and {critical}");
        }
    }

    #[test]
    fn a_fill_is_in_percent_of_the_limit() {
        let fill = |queued, limit| fill_percent(&Depth { queued, limit, drops: None });
        assert_eq!((fill(0, 5), fill(2, 5), fill(6, 5)), (Some(0.0), Some(40.0), Some(120.0)));
        assert_eq!((fill(0, 0), fill(1, 0)), (Some(0.0), Some(f64::INFINITY)));
        assert_eq!(fill(1, UNKNOWN_LIMIT), None);
    }

    #[test]
    fn the_worst_listener_comes_first() {
        let dropped = Counts { drops: Some(7), ..queue(0, 10, 0) };
        let in_order = [
            ("critical", (Critical, queue(1, 10, 5))),
            ("a warning", (Warning, queue(1, 10, 5))),
            ("fuller", (Severity::Ok, queue(5, 10, 5))),
            ("waits longer", (Severity::Ok, queue(10, 100, 50))),
            ("more of them", (Severity::Ok, queue(10, 100, 5))),
            ("fewer", (Severity::Ok, queue(1, 10, 5))),
            ("has dropped", (Severity::Ok, dropped)),
            ("empty", (Severity::Ok, queue(0, 10, 0))),
        ];
        let mut shuffled = in_order;
        shuffled.rotate_left(3);
        shuffled.reverse();
        shuffled.sort_by(|(_, one), (_, other)| worst_first((one.0, &one.1), (other.0, &other.1)));
        assert_eq!(shuffled.map(|(sentence, _)| sentence), in_order.map(|(sentence, _)| sentence));
    }
}
