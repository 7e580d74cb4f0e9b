//! One listener over the whole recording: its curves, its worst moment, the conditions that held. Pure.

use accept_queue_core::rules::detector::Condition;
use serde::Serialize;

use super::bins::{Series, Sums};
use super::bounded::Bounded;
use super::timeline::MOST_OWNERS;
use crate::condition;
use crate::recording::{
    CLOSE_WAIT, DROPS, FIGURES, FigureIndex, FigureValues, LIMIT, OLDEST_WAIT_MS, QUEUED, QUEUED_CLOSED, QUEUED_RESET,
};

/// One listener over all of it.
#[derive(Debug, Serialize)]
pub(super) struct Track {
    address: String,
    namespace: u64,
    pub(super) owners: Bounded<TrackOwner, MOST_OWNERS>,
    worst: Option<Worst>,
    longest_wait_ms: Option<u64>,
    most_close_wait: Option<u64>,
    dropped_in_all: u64,
    pub(super) conditions: Bounded<HeldCondition>,
    queued: Series,
    limit: Series,
    /// Queued connections whose client has closed or reset.
    left: Series,
    oldest_wait_ms: Series,
    close_wait: Series,
    dropped: Sums,
    #[serde(skip)]
    now: FigureValues,
    #[serde(skip)]
    pub(super) is_read: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct TrackOwner {
    pub(super) pid: u64,
    pub(super) name: String,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Worst {
    at: u64,
    queued: u64,
    limit: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct HeldCondition {
    condition: &'static str,
    from: u64,
    /// `None`: it held when the recording ended.
    to: Option<u64>,
    #[serde(skip)]
    is_open: bool,
}

impl Track {
    pub(super) fn new(namespace: u64, address: String) -> Track {
        Track {
            address,
            namespace,
            owners: Bounded::default(),
            worst: None,
            longest_wait_ms: None,
            most_close_wait: None,
            dropped_in_all: 0,
            conditions: Bounded::default(),
            queued: Series::default(),
            limit: Series::default(),
            left: Series::default(),
            oldest_wait_ms: Series::default(),
            close_wait: Series::default(),
            dropped: Sums::default(),
            now: FigureValues::default(),
            is_read: false,
        }
    }

    pub(super) fn changed(&mut self, at: u64, step: u64, changed: &[(FigureIndex, Option<u64>)]) {
        let drops_before = self.now[DROPS];
        for (figure, value) in changed.iter().filter(|(figure, _)| *figure < FIGURES.len()) {
            self.now[*figure] = *value;
        }
        self.is_read = true;
        self.show(step);
        self.extremes(at);
        if let (Some(before), Some(after)) = (drops_before, self.now[DROPS]) {
            let dropped = after.saturating_sub(before);
            self.dropped.add(step, dropped);
            self.dropped_in_all = self.dropped_in_all.saturating_add(dropped);
        }
    }

    /// What is drawn begins with what is known now.
    pub(super) fn begin(&mut self, at: u64) {
        self.series().into_iter().for_each(Series::begin);
        (self.dropped, self.dropped_in_all) = (Sums::default(), 0);
        (self.worst, self.longest_wait_ms, self.most_close_wait) = (None, None, None);
        if self.is_read {
            self.extremes(at);
        }
        self.forget();
    }

    /// Conditions that do not hold any more.
    pub(super) fn forget(&mut self) {
        self.conditions.first.retain(|held| held.is_open);
        self.conditions.more = 0;
    }

    fn extremes(&mut self, at: u64) {
        let [queued, limit, oldest, close_wait] =
            [QUEUED, LIMIT, OLDEST_WAIT_MS, CLOSE_WAIT].map(|figure| self.now[figure]);
        if let (Some(queued), Some(limit)) = (queued, limit)
            && queued > 0
        {
            let now = Worst { at, queued, limit };
            if self.worst.is_none_or(|worst| worst.fill() < now.fill()) {
                self.worst = Some(now);
            }
        }
        self.longest_wait_ms = self.longest_wait_ms.max(oldest);
        self.most_close_wait = self.most_close_wait.max(close_wait);
    }

    /// The last figures hold from here on.
    pub(super) fn show(&mut self, step: u64) {
        self.queued.set(step, self.now[QUEUED]);
        self.limit.set(step, self.now[LIMIT]);
        let left =
            self.now[QUEUED_CLOSED].zip(self.now[QUEUED_RESET]).map(|(closed, reset)| closed.saturating_add(reset));
        self.left.set(step, left);
        self.oldest_wait_ms.set(step, self.now[OLDEST_WAIT_MS]);
        self.close_wait.set(step, self.now[CLOSE_WAIT]);
    }

    pub(super) fn hide(&mut self, step: u64) {
        for series in self.series() {
            series.set(step, None);
        }
    }

    pub(super) fn unread(&mut self, step: u64) {
        self.is_read = false;
        self.hide(step);
    }

    /// A later listener at this address starts without figures.
    pub(super) fn gone(&mut self, at: u64, step: u64) {
        self.unread(step);
        self.now = FigureValues::default();
        self.close(at, false);
    }

    /// The run ends: nothing is known of it any more.
    pub(super) fn end(&mut self, at: u64, step: u64) {
        self.unread(step);
        self.now = FigureValues::default();
        self.close(at, true);
    }

    pub(super) fn raised(&mut self, at: u64, condition: Condition) {
        self.conditions.push(HeldCondition {
            condition: condition::name(condition),
            from: at,
            to: None,
            is_open: true,
        });
    }

    pub(super) fn cleared(&mut self, at: u64, condition: Condition) {
        let name = condition::name(condition);
        for held in self.conditions.first.iter_mut().filter(|held| held.is_open && held.condition == name) {
            (held.to, held.is_open) = (Some(at), false);
        }
    }

    /// Conditions that hold end here, or it is unknown when they ended.
    fn close(&mut self, at: u64, is_unknown: bool) {
        for held in self.conditions.first.iter_mut().filter(|held| held.is_open) {
            held.to = Some(at).filter(|_| !is_unknown);
            held.is_open = false;
        }
    }

    pub(super) fn halve(&mut self) {
        self.series().into_iter().for_each(Series::halve);
        self.dropped.halve();
    }

    pub(super) fn points(&self) -> usize {
        let series = [&self.queued, &self.limit, &self.left, &self.oldest_wait_ms, &self.close_wait];
        series.into_iter().map(Series::points).sum::<usize>() + self.dropped.points()
    }

    fn series(&mut self) -> [&mut Series; 5] {
        [&mut self.queued, &mut self.limit, &mut self.left, &mut self.oldest_wait_ms, &mut self.close_wait]
    }
}

impl Worst {
    fn fill(&self) -> f64 {
        self.queued as f64 / (self.limit as f64 + 1.0)
    }
}
