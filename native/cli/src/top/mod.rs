//! `accept-queue top`: the accept queues as a live screen, one row a listener.
//!
//! [`sampler`] reads, on a thread of its own; [`app`] holds what is known and what the keys have asked for; [`screen`] draws
//! it. [`lookout`] looks at the threads of one process, for as long as somebody wants to see them. [`terminal`] and [`plain`] join them, where there is a terminal and where there is none.

mod accepting;
mod app;
mod column;
mod detail;
mod examined;
mod line;
mod lookout;
mod page;
mod plain;
mod sampler;
mod screen;
mod terminal;
mod words;

use std::io::IsTerminal;

use accept_queue_core::Error;
use accept_queue_core::outside::snapshot::Scope;

use crate::args::TopOptions;
use app::App;
use sampler::Sampler;

pub(crate) fn run(options: &TopOptions) -> Result<(), String> {
    let mut sampler = Sampler::new(options.scope.scope(), options.interval);
    let mut app = App::new(options.scope.clone(), options.interval);
    // What cannot be read at all is said before the screen is touched.
    app.observed(sampler.observe().map_err(|error| options.scope.refused(error))?);
    if is_screen() { terminal::run(app, sampler) } else { plain::run(app, sampler) }
}

fn is_screen() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// Whether an error means that there is nothing to wait for: the only process has ended, and its number will be another's.
fn has_ended(error: Error, scope: &Scope) -> bool {
    matches!((error, scope), (Error::NotFound, Scope::Process(_)))
}
