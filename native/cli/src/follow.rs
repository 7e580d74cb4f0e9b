//! Samples the listeners of a scope at an interval and publishes the events of each sample: the loop of `watch` and `record`.

pub(crate) mod event;
pub(crate) mod summary;

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use accept_queue_core::Error;
use accept_queue_core::outside::observer::{CensusScope, Observer};
use accept_queue_core::rules::detector::Settings;

use crate::args::FollowOptions;
use crate::figures::nothing_read;
use crate::interrupt::on_interrupt;
use crate::pace::Pace;
use event::{Event, EventBuilder};
use summary::Summary;

/// Where events go.
pub(crate) trait Sink {
    /// Once a sample, also a failed one.
    fn publish(&mut self, batch: &Batch) -> Result<Next, String>;

    /// Whether the next batch would have no reader.
    fn is_closed(&self) -> bool {
        false
    }
}

/// The events of one sample.
pub(crate) struct Batch<'a> {
    /// Since the first sample was due.
    pub(crate) at: Duration,
    pub(crate) outcome: Outcome,
    pub(crate) events: &'a [Event<'a>],
}

/// What became of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Read,
    Failed,
    /// There is no other: the process has ended.
    Ended,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    GoOn,
    End,
}

pub(crate) struct Follow<'a> {
    pub(crate) options: &'a FollowOptions,
    /// Number of samples.
    pub(crate) count: Option<u64>,
    /// An event for every reading, not only for changes.
    pub(crate) wants_samples: bool,
}

impl Follow<'_> {
    /// Runs until the time or the number of samples is reached, the process or the sink ends, or Ctrl-C. Returns the summary.
    pub(crate) fn run(&self, sink: &mut impl Sink) -> Result<String, String> {
        let (interrupt, interrupted) = channel();
        on_interrupt(move || {
            // The loop may have ended.
            let _ = interrupt.send(());
        })?;
        let FollowOptions { scope, interval, .. } = self.options;
        let mut following = Following {
            follow: self,
            observer: Observer::new(scope.scope(), Settings { interval: *interval, ..Settings::default() }),
            pace: Pace::new(*interval),
            event_builder: EventBuilder::new(self.wants_samples),
            summary: Summary::default(),
            sink,
        };
        following.run(&interrupted)?;
        match following.summary.has_read() {
            true => Ok(following.summary.sentence(following.pace.elapsed())),
            false => Err("nothing could be read".to_owned()),
        }
    }
}

struct Following<'a, S> {
    follow: &'a Follow<'a>,
    observer: Observer,
    pace: Pace,
    event_builder: EventBuilder,
    summary: Summary,
    sink: &'a mut S,
}

impl<S: Sink> Following<'_, S> {
    fn run(&mut self, interrupted: &Receiver<()>) -> Result<(), String> {
        loop {
            if self.sample()? == Next::End || self.sink.is_closed() {
                return Ok(());
            }
            let left = self.follow.options.lasting.map(|lasting| lasting.saturating_sub(self.pace.elapsed()));
            let wait = left.map_or(self.pace.remaining(), |left| left.min(self.pace.remaining()));
            match interrupted.recv_timeout(wait) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if left == Some(wait) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => self.pace.advance(),
            }
        }
    }

    fn sample(&mut self) -> Result<Next, String> {
        let (now, at) = (self.pace.now(), self.pace.elapsed());
        let is_first = self.summary.samples == 0;
        match (self.observer.sample(now, CensusScope::Wanted), self.follow.options.scope.pid) {
            (Ok(sample), _) => {
                self.summary.add(&sample);
                let events = self.event_builder.events(&sample);
                self.summary.add_events(&events);
                if is_first && sample.is_blind() {
                    eprintln!("accept-queue: {}. It is tried again.", nothing_read(&sample.gaps));
                } else if is_first && sample.readings.is_empty() {
                    eprintln!("accept-queue: no listener there yet; waiting.");
                }
                let next = self.sink.publish(&Batch { at, outcome: Outcome::Read, events: &events })?;
                let has_enough = self.follow.count.is_some_and(|count| self.summary.samples >= count);
                Ok(if has_enough { Next::End } else { next })
            }
            (Err(Error::NotFound), Some(pid)) if is_first => Err(format!("there is no process {pid}")),
            (Err(Error::NotFound), Some(pid)) => {
                let gone = self.observer.forget(now);
                let mut events = Vec::new();
                gone.iter().for_each(|gone| event::removed(gone, &mut events));
                self.sink.publish(&Batch { at, outcome: Outcome::Ended, events: &events })?;
                // The pid will be another process's: there is nothing to wait for.
                eprintln!("accept-queue: process {pid} has ended.");
                Ok(Next::End)
            }
            (Err(error), _) => {
                let reason = format!("the kernel's sockets could not be read: {error}");
                if is_first {
                    return Err(reason);
                }
                self.summary.failed();
                let events = self.event_builder.failure(reason);
                self.sink.publish(&Batch { at, outcome: Outcome::Failed, events: &events })
            }
        }
    }
}
