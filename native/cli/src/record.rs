//! `accept-queue record`: the readings of the queues, in a file for `report`.

mod delta;
mod file;

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::args::RecordOptions;
use crate::condition::many;
use crate::follow::{Batch, Follow, Next, Outcome, Sink};
use crate::recording::Entry;
use delta::DeltaEncoder;
use file::{RecordingFile, Room};

pub(crate) fn run(options: &RecordOptions) -> Result<(), String> {
    let mut recorder = Recorder {
        options,
        file: RecordingFile::open(&options.file, options.max_size)?,
        encoder: DeltaEncoder::new(millis(options.follow.interval)),
        at_ms: 0,
        why: "ended as asked",
    };
    let follow = Follow { options: &options.follow, count: None, wants_samples: true };
    match follow.run(&mut recorder) {
        Ok(summary) => {
            let bytes = recorder.finish()?;
            eprintln!("accept-queue: {summary} {} recorded.", many(bytes, "byte"));
            Ok(())
        }
        Err(reason) => {
            recorder.file.remove_if_empty();
            Err(reason)
        }
    }
}

struct Recorder<'a> {
    options: &'a RecordOptions,
    file: RecordingFile,
    encoder: DeltaEncoder,
    /// Of the last sample.
    at_ms: u64,
    why: &'static str,
}

impl Sink for Recorder<'_> {
    fn publish(&mut self, batch: &Batch) -> Result<Next, String> {
        let began_ms = since_epoch().saturating_sub(millis(batch.at));
        self.at_ms = millis(batch.at);
        let mut entries = Vec::new();
        if !self.encoder.has_begun() {
            entries.push(self.begun(began_ms));
        }
        entries.extend(self.encoder.entries(self.at_ms, began_ms, batch));
        if batch.outcome == Outcome::Ended {
            self.why = "the process has ended";
        }
        match self.file.write(&entries)? {
            Room::Left => Ok(Next::GoOn),
            Room::Unread => Ok(Next::End),
            Room::None => {
                self.why = "the file has reached --max-size";
                let most = self.options.max_size;
                eprintln!("accept-queue: {} has reached its largest size, {most} bytes.", self.file.shown());
                Ok(Next::End)
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.file.is_closed()
    }
}

impl Recorder<'_> {
    fn begun(&self, began_ms: u64) -> Entry {
        // Only shown: a recording without it is complete.
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Entry::Begun {
            epoch_ms: began_ms,
            interval_ms: millis(self.options.follow.interval),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: host.trim().to_owned(),
            scope: self.options.follow.scope.subject(),
        }
    }

    /// Bytes that this run has written.
    fn finish(mut self) -> Result<u64, String> {
        let end = self.encoder.finish(self.at_ms, self.why);
        self.file.finish(&end)
    }
}

fn since_epoch() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}
