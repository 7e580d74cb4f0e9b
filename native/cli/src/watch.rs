//! `accept-queue watch`: what changes, as it changes.

mod json;
mod text;

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::args::WatchOptions;
use crate::follow::{Audience, Follow, Next, Told};
use crate::output::{self, Reader};

pub(crate) fn run(options: &WatchOptions) -> Result<(), String> {
    let follow = Follow {
        scope: &options.scope,
        interval: options.interval,
        lasting: options.lasting,
        count: options.count,
        wants_samples: options.samples || options.json,
    };
    let mut printer = Printer {
        is_json: options.json,
        // JSON has no colours, and nothing that could be taken for one is to be cut out of it.
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

impl Audience for Printer {
    /// All of a sample at once.
    fn told(&mut self, told: &Told) -> Result<Next, String> {
        let now = SystemTime::now();
        let mut lines = String::new();
        for event in told.events {
            lines += &if self.is_json { json::line(since_epoch(now), event)? } else { text::line(now, event) };
        }
        let is_gone = !lines.is_empty() && output::write(&mut self.out, lines.as_bytes())? == Reader::Gone;
        Ok(if is_gone { Next::End } else { Next::GoOn })
    }

    fn has_left(&self) -> bool {
        output::reader() == Reader::Gone
    }
}

fn since_epoch(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}
