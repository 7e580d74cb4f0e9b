//! Follows the listeners of a scope from sample to sample, and tells whoever has asked for it: `watch` and `record`.

pub(crate) mod event;
pub(crate) mod summary;

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use accept_queue_core::Error;
use accept_queue_core::outside::observer::{CensusScope, Observer};
use accept_queue_core::rules::detector::Settings;

use crate::args::ScopeOptions;
use crate::interrupt::on_interrupt;
use crate::pace::Pace;
use event::{Event, Teller};
use summary::Summary;

/// Whom it is told.
pub(crate) trait Audience {
    /// All that a sample brought, or that is to be told because there is none.
    fn told(&mut self, told: &Told) -> Result<Next, String>;

    /// Whether nobody would hear the next.
    fn has_left(&self) -> bool {
        false
    }
}

/// What there is to tell at one time.
pub(crate) struct Told<'a> {
    /// Since the first sample was due.
    pub(crate) at: Duration,
    pub(crate) outcome: Outcome,
    pub(crate) events: &'a [Event<'a>],
}

/// Whether there is a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Read,
    Failed,
    /// There will be none: the process has ended.
    Ended,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    GoOn,
    End,
}

/// What is followed, and for how long.
pub(crate) struct Follow<'a> {
    pub(crate) scope: &'a ScopeOptions,
    pub(crate) interval: Duration,
    pub(crate) lasting: Option<Duration>,
    /// So many samples.
    pub(crate) count: Option<u64>,
    /// Every sample is told, not only what changes.
    pub(crate) wants_samples: bool,
}

impl Follow<'_> {
    /// Until whoever is told, or who is watched, has ended; or Ctrl-C. What it came to is a sentence.
    pub(crate) fn run(&self, audience: &mut impl Audience) -> Result<String, String> {
        let (interrupt, interrupted) = channel();
        on_interrupt(move || {
            // Nobody listens where this has ended by itself.
            let _ = interrupt.send(());
        })?;
        let mut following = Following {
            follow: self,
            observer: Observer::new(self.scope.scope(), Settings { interval: self.interval, ..Settings::default() }),
            pace: Pace::new(self.interval),
            teller: Teller::new(self.wants_samples),
            summary: Summary::default(),
            audience,
        };
        following.run(&interrupted)?;
        Ok(following.summary.sentence(following.pace.elapsed()))
    }
}

struct Following<'a, A> {
    follow: &'a Follow<'a>,
    observer: Observer,
    pace: Pace,
    teller: Teller,
    summary: Summary,
    audience: &'a mut A,
}

impl<A: Audience> Following<'_, A> {
    fn run(&mut self, interrupted: &Receiver<()>) -> Result<(), String> {
        loop {
            if self.sample()? == Next::End || self.audience.has_left() {
                return Ok(());
            }
            let left = self.follow.lasting.map(|lasting| lasting.saturating_sub(self.pace.elapsed()));
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
        match (self.observer.sample(now, CensusScope::Wanted), self.follow.scope.pid) {
            (Ok(sample), _) => {
                self.summary.add(&sample);
                let events = self.teller.events(&sample);
                self.summary.told(&events);
                if is_first && sample.readings.is_empty() {
                    eprintln!("accept-queue: nobody listens there yet; waiting.");
                }
                let next = self.audience.told(&Told { at, outcome: Outcome::Read, events: &events })?;
                let has_enough = self.follow.count.is_some_and(|count| self.summary.samples >= count);
                Ok(if has_enough { Next::End } else { next })
            }
            (Err(Error::NotFound), Some(pid)) if is_first => Err(format!("there is no process {pid}")),
            (Err(Error::NotFound), Some(pid)) => {
                let gone = self.observer.forget(now);
                let mut events = Vec::new();
                gone.iter().for_each(|gone| event::removed(gone, &mut events));
                self.audience.told(&Told { at, outcome: Outcome::Ended, events: &events })?;
                // Its number will be another's: there is nothing to wait for.
                eprintln!("accept-queue: process {pid} has ended.");
                Ok(Next::End)
            }
            (Err(error), _) => {
                let reason = format!("the kernel's sockets could not be read: {error}");
                if is_first {
                    return Err(reason);
                }
                self.summary.failed();
                let events = self.teller.failure(reason);
                self.audience.told(&Told { at, outcome: Outcome::Failed, events: &events })
            }
        }
    }
}
