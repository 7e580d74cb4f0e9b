//! The recent past of one listener, wherever its readings come from: its detector, its last minute. Pure.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::rules::detector::{Change, Condition, Detector, Outlook, Settings, Time, is_another};
use crate::rules::overflows::{Dropped, Overflowed};
use crate::{Census, Counts, Depth, Members};

/// An address that is closed and opened again within this time is the same listener: a restart takes less. What is raised stays.
pub const REOPEN: Duration = Duration::from_secs(2);

/// What is remembered of a listener that is read again and again.
#[derive(Debug)]
pub struct History {
    begun: Time,
    detector: Detector,
    window: Window,
    read_at: Option<Time>,
    /// When the last sample of each tier was.
    sample: Option<Time>,
    census_sample: Option<Time>,
    /// The queue is empty, and the kernel is to say when a connection waits.
    is_waited_for: bool,
    /// In the place of the last census that was due it was seen that there are no more in CLOSE_WAIT than allowed.
    spared: Option<Time>,
}

/// While no connection waits and nothing is raised, one census in so many counts what is established: that is most of what it costs, and
/// no rule asks for it.
const WHOLE_EACH: u32 = 6;

/// A reading of the first tier, and what it changed.
#[derive(Debug, Clone, PartialEq)]
pub struct DepthReading {
    /// The queue: the sum over the sockets that share the address.
    pub depth: Depth,
    /// Its drops, widened to 64 bits: they do not wrap while it is watched.
    pub drops: Option<u64>,
    /// The conditions that began or ended.
    pub changes: Vec<Change>,
    /// It is time for a census.
    pub wants_census: bool,
    /// The reading before this one failed, or there was none.
    pub resumed: bool,
    /// It is time for a sample ([`Settings::sample`]).
    pub is_sample: bool,
    /// What to expect of it.
    pub outlook: Outlook,
}

impl DepthReading {
    /// Something has changed.
    pub fn is_news(&self) -> bool {
        !self.changes.is_empty() || self.resumed
    }
}

/// A census, and what it changed.
#[derive(Debug, Clone, PartialEq)]
pub struct CensusTaken {
    /// What was counted.
    pub counts: Counts,
    /// The conditions that began or ended.
    pub changes: Vec<Change>,
    /// It is time for a sample: censuses have a pace of their own.
    pub is_sample: bool,
    /// What to expect of it.
    pub outlook: Outlook,
}

/// What is known without asking the kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What holds, and for how long it has been raised.
    pub conditions: Vec<(Condition, Duration)>,
    /// The last reading; `None`: it failed, or there was none.
    pub depth: Option<Depth>,
    /// Its drops, widened to 64 bits.
    pub drops: Option<u64>,
    /// The last census, and how old it is.
    pub counts: Option<(Counts, Duration)>,
    /// How often one is taken while nothing is suspicious: at the configured interval, or less often where one costs much.
    pub census_every: Duration,
    /// The last minute.
    pub window: Option<Span>,
    /// Since the watch began.
    pub watched_for: Duration,
    /// Since the last reading; `None`: there was none.
    pub read_ago: Option<Duration>,
}

/// The depth over a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// The least.
    pub min: u32,
    /// The greatest.
    pub max: u32,
    /// The mean of the readings.
    pub mean: f64,
    /// How many there were.
    pub readings: u32,
    /// How long ago it was deepest.
    pub peak_ago: Duration,
}

impl History {
    /// Begins now.
    pub fn new(settings: impl Into<Arc<Settings>>, at: Time) -> History {
        History {
            begun: at,
            detector: Detector::new(settings),
            window: Window::default(),
            read_at: None,
            sample: None,
            census_sample: None,
            is_waited_for: false,
            spared: None,
        }
    }

    /// As configured.
    pub fn settings(&self) -> &Settings {
        self.detector.settings()
    }

    /// A reading failed.
    pub fn reading_failed(&mut self) {
        self.detector.reading_failed();
    }

    /// A census failed.
    pub fn census_failed(&mut self, at: Time) {
        self.detector.census_failed(at);
    }

    /// What has been dropped since the last reading: what [`crate::rules::overflows`] asks for.
    pub fn dropped(&self, members: &Members<Depth>) -> Dropped {
        self.detector.dropped(members)
    }

    /// Whether it is time for a census.
    pub fn wants_census(&self, at: Time) -> bool {
        self.detector.wants_census(at, self.spared.filter(|_| self.is_well()))
    }

    /// Whether a census may be left out if there are no more in CLOSE_WAIT than this.
    pub fn spares(&self, at: Time) -> Option<u32> {
        self.may_be_spared(at).then_some(self.settings().close_wait_max)
    }

    /// One was.
    pub fn census_spared(&mut self, at: Time) {
        self.spared = Some(at);
    }

    fn may_be_spared(&self, at: Time) -> bool {
        let is_young = |(then, _): (Time, Counts)| !is_another(self.whole_each(), then, at);
        self.is_at_rest() && self.is_well() && self.detector.counts().is_some_and(is_young)
    }

    fn is_well(&self) -> bool {
        self.detector.conditions().next().is_none() && !self.detector.has_census_failed()
    }

    fn whole_each(&self) -> Duration {
        self.settings().census.saturating_mul(WHOLE_EACH)
    }

    /// A reading of the first tier: the depth of each socket that shares the address, and how many of its drops were overflows.
    pub fn depth_read(&mut self, at: Time, members: &Members<Depth>, overflowed: Overflowed) -> DepthReading {
        if std::mem::take(&mut self.is_waited_for) {
            self.was_empty_until(at);
        }
        let depth = members.sum();
        let resumed = self.detector.depth().is_none();
        self.read_at = Some(at);
        self.window.add(at, depth.queued);
        let changes = self.detector.depth_read(at, members, overflowed);
        let drops = self.detector.total_drops();
        let (wants_census, outlook) = (self.wants_census(at), self.detector.outlook(at));
        let is_sample = is_due(&mut self.sample, self.detector.settings(), at);
        DepthReading { depth, drops, changes, wants_census, resumed, is_sample, outlook }
    }

    /// A census, after a reading of the first tier at the same time, or of a listener that is waited for.
    pub fn census_taken(&mut self, at: Time, census: &Census) -> CensusTaken {
        if self.is_waited_for {
            self.was_empty_until(at);
        }
        let changes = self.detector.census_taken(at, census);
        let counts = self.detector.counts().map_or(census.counts, |(_, counts)| counts);
        let is_sample = is_due(&mut self.census_sample, self.detector.settings(), at);
        CensusTaken { counts, changes, is_sample, outlook: self.detector.outlook(at) }
    }

    /// No connection waits, as far as is known.
    pub fn is_at_rest(&self) -> bool {
        self.is_waited_for || self.detector.depth().is_some_and(|depth| depth.queued == 0)
    }

    /// It is not read again before a connection waits: the kernel says when. Until then its queue is empty.
    pub fn wait_for_a_connection(&mut self) {
        self.is_waited_for = true;
    }

    fn was_empty_until(&mut self, at: Time) {
        self.window.fill(self.read_at.unwrap_or(at), at, self.detector.settings().interval);
        self.detector.was_empty_until(at);
        self.read_at = Some(at);
    }

    /// What is known.
    pub fn status(&self, at: Time) -> Status {
        let since = |then: Time| at.saturating_sub(then);
        let read_at = if self.is_waited_for { Some(at) } else { self.read_at };
        let mut window = Cow::Borrowed(&self.window);
        if self.is_waited_for {
            window.to_mut().fill(self.read_at.unwrap_or(at), at, self.settings().interval);
        }
        Status {
            conditions: self.detector.conditions().map(|(condition, raised)| (condition, since(raised))).collect(),
            depth: self.detector.depth(),
            drops: self.detector.total_drops(),
            counts: self.detector.counts().map(|(then, counts)| (counts, since(then))),
            census_every: if self.spared.is_some_and(|then| since(then) < self.whole_each()) {
                self.whole_each()
            } else {
                self.settings().census
            },
            window: window.span(at),
            watched_for: since(self.begun),
            read_ago: read_at.map(since),
        }
    }
}

/// Whether it is time for a sample: they are as near to what is configured as readings of this interval come. Then this is the last.
fn is_due(last: &mut Option<Time>, settings: &Settings, at: Time) -> bool {
    let apart = settings.sample.saturating_sub(settings.interval / 2);
    let is_due = last.is_none_or(|last| at.saturating_sub(last) >= apart);
    if is_due {
        *last = Some(at);
    }
    is_due
}

/// A minute in six parts: what is kept does not grow with how often the queue is read.
#[derive(Debug, Clone, Default)]
struct Window(VecDeque<Part>);

#[derive(Debug, Clone, Copy)]
struct Part {
    begun: Time,
    min: u32,
    max: u32,
    peak_at: Time,
    sum: u64,
    readings: u32,
}

const PARTS: usize = 6;
const PART: Duration = Duration::from_secs(10);

impl Window {
    fn add(&mut self, at: Time, queued: u32) {
        match self.0.back_mut() {
            Some(part) if at.saturating_sub(part.begun) < PART => {
                part.min = part.min.min(queued);
                if queued > part.max {
                    part.max = queued;
                    part.peak_at = at;
                }
                part.sum += u64::from(queued);
                part.readings += 1;
            }
            _ => {
                if self.0.len() == PARTS {
                    self.0.pop_front();
                }
                // Of an idle listener there is one.
                self.0.reserve_exact(1);
                let sum = queued.into();
                self.0.push_back(Part { begun: at, min: queued, max: queued, peak_at: at, sum, readings: 1 });
            }
        }
    }

    /// The queue was empty between the two: as many readings as there would have been.
    fn fill(&mut self, from: Time, to: Time, interval: Duration) {
        let mut at = from.max(to.saturating_sub(PART * PARTS as u32));
        while at < to {
            let end = (at + PART).min(to);
            self.add((at + interval).min(end), 0);
            if let Some(part) = self.0.back_mut() {
                let readings = (end - at).as_nanos() / interval.as_nanos().max(1);
                part.readings =
                    part.readings.saturating_add(u32::try_from(readings).unwrap_or(u32::MAX).saturating_sub(1));
            }
            at = end;
        }
    }

    fn span(&self, at: Time) -> Option<Span> {
        let recent = || self.0.iter().filter(|part| at.saturating_sub(part.begun) <= PART * PARTS as u32);
        let peak = recent().max_by_key(|part| part.max)?;
        let readings: u32 = recent().map(|part| part.readings).sum();
        let sum: u64 = recent().map(|part| part.sum).sum();
        Some(Span {
            min: recent().map(|part| part.min).min()?,
            max: peak.max,
            mean: sum as f64 / f64::from(readings),
            readings,
            peak_ago: at.saturating_sub(peak.peak_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cookie, Error};

    fn seconds(seconds: u64) -> Time {
        Duration::from_secs(seconds)
    }

    fn read(history: &mut History, at: Time, queued: u32, drops: u32) -> DepthReading {
        let depth = Depth { queued, limit: 8, drops: Some(drops) };
        let members = Members::read([(Cookie(1), Ok::<_, Error>(depth))]).expect("one is open");
        history.depth_read(at, &members, Overflowed::default())
    }

    fn raised(reading: &DepthReading) -> Vec<Condition> {
        let raised = |change: &Change| match *change {
            Change::Raised { condition, .. } => Some(condition),
            Change::Cleared { .. } => None,
        };
        reading.changes.iter().filter_map(raised).collect()
    }

    /// An hour without a reading is no gap, and no time for which the first connection has waited.
    #[test]
    fn one_that_was_waited_for_is_judged_from_its_first_connection_on() {
        for hours in [0, 1, 24] {
            let mut history = History::new(Settings::default(), seconds(1));
            assert!(read(&mut history, seconds(1), 0, 3).outlook.is_quiet);
            history.wait_for_a_connection();
            let arrived = seconds(2 + 3600 * hours);
            let status = history.status(arrived);
            assert_eq!((status.read_ago, status.window.map(|span| span.max)), (Some(Duration::ZERO), Some(0)));
            let reading = read(&mut history, arrived, 1, 3);
            assert_eq!(reading.outlook, Outlook { is_quiet: false, due_at: Some(arrived + seconds(5)) });
            for tenth in 1..50 {
                assert_eq!(raised(&read(&mut history, arrived + Duration::from_millis(100) * tenth, 2, 3)), []);
            }
            assert_eq!(raised(&read(&mut history, arrived + seconds(5), 2, 3)), [Condition::Stuck], "{hours} hours");
            assert_eq!(history.status(arrived + seconds(6)).read_ago, Some(seconds(1)), "it is read again");
        }
    }

    /// Of a queue in which no connection waits.
    fn census() -> Census {
        let counts = Counts { limit: 8, sockets: 1, ..Counts::EMPTY };
        Census { counts, waits: Some(Vec::new()), clients: None, took: Duration::ZERO, sockets: vec![(Cookie(1), 0)] }
    }

    #[test]
    fn one_that_was_spared_a_census_takes_none_for_a_connection_that_comes_soon_after() {
        let mut history = History::new(Settings::default(), seconds(100));
        let mut wanted_at = Vec::new();
        // Each seventh reading finds a connection.
        for tenth in 0..=100 {
            let at = seconds(100) + Duration::from_millis(100) * tenth;
            if read(&mut history, at, (tenth % 7 == 1).into(), 0).wants_census {
                wanted_at.push(tenth);
                if tenth == 0 { drop(history.census_taken(at, &census())) } else { history.census_spared(at) }
            }
        }
        assert_eq!(wanted_at, [0, 50, 100]);
    }

    /// One walk over the kernel's table counts for all that want it.
    #[test]
    fn those_that_are_watched_since_different_times_want_their_census_at_the_same_time() {
        let wants = |begun: Time| {
            let mut history = History::new(Settings::default(), begun);
            read(&mut history, begun, 0, 0);
            let mut wanted = Vec::new();
            for tenth in 0..120 {
                let at = begun + Duration::from_millis(100) * tenth;
                if read(&mut history, at, 0, 0).wants_census {
                    history.census_taken(at, &census());
                    wanted.push(at);
                }
            }
            wanted
        };
        let census_each = Settings::default().census;
        for begun in [census_each, census_each + seconds(1), census_each * 2 - Duration::from_millis(100)] {
            assert_eq!(wants(begun)[..3], [begun, census_each * 2, census_each * 3], "{begun:?}");
        }
    }

    /// Raised by what was dropped, it does not end before it would be raised for being full, however short the time of clearing is.
    #[test]
    fn a_queue_that_is_full_goes_on_overflowing() {
        let settings = Settings { clear: Duration::from_millis(700), ..Settings::default() };
        let mut history = History::new(settings, seconds(1));
        let mut turns = Vec::new();
        for tenth in 0..60 {
            let (queued, drops) = match tenth {
                0 => (0, 0),
                1..40 => (9, 4),
                _ => (0, 4),
            };
            let at = seconds(1) + Duration::from_millis(100) * tenth;
            let changes = read(&mut history, at, queued, drops).changes;
            turns.extend(changes.into_iter().filter_map(|change| match change {
                Change::Raised { condition: Condition::Overflowing, .. } => Some((tenth, "raised")),
                Change::Cleared { condition: Condition::Overflowing, .. } => Some((tenth, "cleared")),
                _ => None,
            }));
        }
        assert_eq!(turns, [(1, "raised"), (47, "cleared")]);
    }

    /// The kernel counts the overflow first, and then its two drops; the counter is read after the drops.
    #[test]
    fn the_second_drop_of_an_overflow_that_was_counted_before_it_is_no_drop_for_another_cause() {
        let mut history = History::new(Settings::default(), seconds(1));
        let mut turns = Vec::new();
        for tenth in 0..100 {
            let (drops, overflows) = match tenth {
                0 => (0, None),
                1 => (14, Some(14)),
                2 => (28, Some(0)),
                _ => (28, None),
            };
            let depth = Depth { queued: 0, limit: 5, drops: Some(drops) };
            let members = Members::read([(Cookie(1), Ok::<_, Error>(depth))]).expect("one is open");
            let at = seconds(1) + Duration::from_millis(100) * tenth;
            let changes = history.depth_read(at, &members, Overflowed { at_most: overflows, since: None }).changes;
            turns.extend(changes.into_iter().map(|change| match change {
                Change::Raised { evidence, .. } | Change::Cleared { evidence, .. } => {
                    (evidence.dropped, evidence.dropped_otherwise)
                }
            }));
        }
        assert_eq!(turns, [(14, 0), (14, 0)]);
    }

    #[test]
    fn what_was_dropped_meanwhile_is_not_forgotten() {
        let mut history = History::new(Settings::default(), seconds(1));
        read(&mut history, seconds(1), 0, u32::MAX);
        history.wait_for_a_connection();
        assert_eq!(read(&mut history, seconds(7200), 1, 4).drops, Some(u64::from(u32::MAX) + 5));
    }

    #[test]
    fn samples_keep_their_distance_on_the_grid_of_the_readings() {
        let ms = Duration::from_millis;
        let settings =
            |interval, sample| Settings { interval: ms(interval), sample: ms(sample), ..Settings::default() };
        let due = |settings, times: &[u64]| {
            let mut last = None;
            times.iter().map(|&at| is_due(&mut last, &settings, ms(at))).collect::<Vec<_>>()
        };
        // A reading comes a little late, and the next one does not.
        assert_eq!(
            due(settings(100, 300), &[1000, 1100, 1200, 1310, 1400, 1500, 1600]),
            [true, false, false, true, false, false, true]
        );
        assert_eq!(due(settings(1000, 300), &[1000, 2000, 3000]), [true; 3], "each reading");
    }

    #[test]
    fn a_window_covers_the_last_minute_and_no_more() {
        let mut window = Window::default();
        window.add(seconds(100), 90);
        for second in 160..220 {
            window.add(seconds(second), (second == 180).into());
        }
        let span = window.span(seconds(220)).expect("a minute");
        assert_eq!((span.min, span.max, span.peak_ago), (0, 1, seconds(40)));
        assert!((span.mean - 1.0 / 60.0).abs() < 1e-9);
        assert_eq!(window.span(seconds(1000)), None, "nothing has been read for a minute");
    }

    #[test]
    fn a_time_that_was_waited_through_counts_like_one_that_was_read() {
        let read = |window: &mut Window| (100..159).for_each(|second| window.add(seconds(second), 0));
        let wait = |window: &mut Window| window.fill(seconds(99), seconds(158), seconds(1));
        for through in [&read as &dyn Fn(&mut Window), &wait] {
            let mut window = Window::default();
            window.add(seconds(99), 30);
            through(&mut window);
            let span = window.span(seconds(158)).expect("a minute");
            assert_eq!((span.min, span.max), (0, 30));
            assert!((55..=61).contains(&span.readings) && span.mean < 1.0, "{span:?}");
        }
        let mut window = Window::default();
        window.add(seconds(100), 30);
        window.fill(seconds(100), seconds(100_000), seconds(1));
        assert_eq!(window.span(seconds(100_000)).map(|span| (span.min, span.max)), Some((0, 0)), "a night");
    }
}
