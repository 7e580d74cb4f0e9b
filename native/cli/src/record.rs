//! `accept-queue record`: what is read of the queues, kept in a file for later.

mod journal;
mod log;

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::args::RecordOptions;
use crate::condition::many;
use crate::follow::{Audience, Follow, Next, Outcome, Told};
use crate::recording::Entry;
use journal::Journal;
use log::{Log, Room};

pub(crate) fn run(options: &RecordOptions) -> Result<(), String> {
    let mut recorder = Recorder {
        options,
        log: Log::open(&options.file, options.max_size)?,
        journal: Journal::new(millis(options.interval)),
        at_ms: 0,
        why: "it was to end",
    };
    let follow = Follow {
        scope: &options.scope,
        interval: options.interval,
        lasting: options.lasting,
        count: None,
        wants_samples: true,
    };
    match follow.run(&mut recorder) {
        Ok(summary) => {
            let bytes = recorder.finish()?;
            eprintln!("accept-queue: {summary} {} recorded.", many(bytes, "byte"));
            Ok(())
        }
        Err(reason) => {
            recorder.log.forget_if_new();
            Err(reason)
        }
    }
}

struct Recorder<'a> {
    options: &'a RecordOptions,
    log: Log,
    journal: Journal,
    /// Of the last sample.
    at_ms: u64,
    why: &'static str,
}

impl Audience for Recorder<'_> {
    fn told(&mut self, told: &Told) -> Result<Next, String> {
        let began_ms = since_epoch().saturating_sub(millis(told.at));
        self.at_ms = millis(told.at);
        let mut entries = Vec::new();
        if !self.journal.has_begun() {
            entries.push(self.begun(began_ms));
        }
        entries.extend(self.journal.told(self.at_ms, began_ms, told));
        if told.outcome == Outcome::Ended {
            self.why = "the process has ended";
        }
        match self.log.write(&entries)? {
            Room::Left => Ok(Next::GoOn),
            Room::None => {
                self.why = "the file has reached --max-size";
                let most = self.options.max_size;
                eprintln!("accept-queue: {} has reached its largest size, {most} bytes.", self.log.shown());
                Ok(Next::End)
            }
        }
    }
}

impl Recorder<'_> {
    fn begun(&self, began_ms: u64) -> Entry {
        // A name is for people; without one, it is a recording all the same.
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Entry::Begun {
            epoch_ms: began_ms,
            interval_ms: millis(self.options.interval),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: host.trim().to_owned(),
            scope: self.options.scope.subject(),
        }
    }

    /// How many bytes this run has brought.
    fn finish(mut self) -> Result<u64, String> {
        let end = self.journal.finish(self.at_ms, self.why);
        self.log.finish(&end)
    }
}

fn since_epoch() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}
