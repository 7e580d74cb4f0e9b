//! `accept-queue watch`: what changes, as it changes.

mod event;
mod json;
mod summary;
mod text;

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use accept_queue_core::Error;
use accept_queue_core::detector::Settings;
use accept_queue_core::observer::{Looks, Observer};

use crate::args::WatchOptions;
use crate::interrupt::on_interrupt;
use crate::output::{self, Reader};
use crate::pace::Pace;
use event::{Event, Teller};
use summary::Summary;

pub(crate) fn run(options: &WatchOptions) -> Result<(), String> {
    let (interrupt, interrupted) = channel();
    on_interrupt(move || {
        // Nobody listens where the watch has ended by itself.
        let _ = interrupt.send(());
    })?;
    let pace = Pace::new(options.interval);
    let mut watch = Watch {
        options,
        observer: Observer::new(options.scope.scope(), Settings { interval: options.interval, ..Settings::default() }),
        pace,
        teller: Teller::new(options.samples || options.json),
        summary: Summary::default(),
        // JSON has no colours, and nothing that could be taken for one is to be cut out of it.
        out: if options.json { Box::new(io::stdout()) } else { Box::new(anstream::stdout()) },
    };
    watch.follow(&interrupted)?;
    eprintln!("accept-queue: {}", watch.summary.sentence(watch.pace.elapsed()));
    Ok(())
}

struct Watch<'a> {
    options: &'a WatchOptions,
    observer: Observer,
    pace: Pace,
    teller: Teller,
    summary: Summary,
    out: Box<dyn Write>,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

impl Watch<'_> {
    /// Until whoever watches, or who is watched, has ended.
    fn follow(&mut self, interrupted: &Receiver<()>) -> Result<(), String> {
        loop {
            if self.sample()? == Next::End || output::reader() == Reader::Gone {
                return Ok(());
            }
            let left = self.options.lasting.map(|lasting| lasting.saturating_sub(self.pace.elapsed()));
            let wait = left.map_or(self.pace.remaining(), |left| left.min(self.pace.remaining()));
            match interrupted.recv_timeout(wait) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if left == Some(wait) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => self.pace.advance(),
            }
        }
    }

    fn sample(&mut self) -> Result<Next, String> {
        let at = self.pace.now();
        let is_first = self.summary.samples == 0;
        match (self.observer.sample(at, Looks::Wanted), self.options.scope.pid) {
            (Ok(sample), _) => {
                self.summary.add(&sample);
                let events = self.teller.events(&sample);
                self.summary.told(&events);
                if is_first && sample.readings.is_empty() {
                    eprintln!("accept-queue: nobody listens there yet; waiting.");
                }
                self.tell(&events)
            }
            (Err(Error::NotFound), Some(pid)) if is_first => Err(format!("there is no process {pid}")),
            (Err(Error::NotFound), Some(pid)) => {
                let gone = self.observer.let_go(at);
                let mut events = Vec::new();
                gone.iter().for_each(|gone| event::removed(gone, &mut events));
                self.tell(&events)?;
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
                self.tell(&events)
            }
        }
    }

    /// All of a sample at once.
    fn tell(&mut self, events: &[Event]) -> Result<Next, String> {
        let now = SystemTime::now();
        let mut lines = String::new();
        for event in events {
            lines += &if self.options.json { json::line(since_epoch(now), event)? } else { text::line(now, event) };
        }
        let has_enough = self.options.count.is_some_and(|count| self.summary.samples >= count);
        let is_gone = !lines.is_empty() && output::write(&mut self.out, lines.as_bytes())? == Reader::Gone;
        Ok(if has_enough || is_gone { Next::End } else { Next::GoOn })
    }
}

fn since_epoch(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}
