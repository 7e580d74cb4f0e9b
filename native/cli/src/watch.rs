//! `accept-queue watch`: an event for each change, as text or JSON.

mod json;
mod text;

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::args::WatchOptions;
use crate::follow::{Batch, Follow, Next, Sink};
use crate::output::{self, Reader};

pub(crate) fn run(options: &WatchOptions) -> Result<(), String> {
    let follow =
        Follow { options: &options.follow, count: options.count, wants_samples: options.samples || options.json };
    let mut printer = Printer {
        is_json: options.json,
        // anstream removes escape sequences where there are no colours; JSON is written as it is.
        out: if options.json { Box::new(io::stdout()) } else { Box::new(anstream::stdout()) },
    };
    let summary = follow.run(&mut printer)?;
    eprintln!("accept-queue: {summary}");
    Ok(())
}

struct Printer {
    is_json: bool,
    out: Box<dyn Write>,
}

impl Sink for Printer {
    /// One write for the whole sample.
    fn publish(&mut self, batch: &Batch) -> Result<Next, String> {
        let now = SystemTime::now();
        let mut lines = String::new();
        for event in batch.events {
            lines += &if self.is_json { json::line(since_epoch(now), event)? } else { text::line(now, event) };
        }
        let is_gone = !lines.is_empty() && output::write(&mut self.out, lines.as_bytes())? == Reader::Gone;
        Ok(if is_gone { Next::End } else { Next::GoOn })
    }

    fn is_closed(&self) -> bool {
        output::reader() == Reader::Gone
    }
}

fn since_epoch(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}
