//! `accept-queue top`: the accept queues as a live screen, one row a listener.
//!
//! [`sampler`] reads, on a thread of its own; [`examiner`] examines the threads of one process, on another. [`app`] is the
//! state: [`view`] what was read, [`row`] one listener of it, and what [`keys`] have asked for. [`column`], [`detail`],
//! [`threads`] and [`page`] make text of it; [`screen`] draws it. [`terminal`] and [`plain`] join them, with a terminal and
//! without.

mod app;
mod column;
mod detail;
mod examiner;
#[cfg(test)]
mod fixtures;
mod keys;
mod page;
mod plain;
mod row;
mod sampler;
mod screen;
mod terminal;
mod threads;
mod traffic;
mod view;
mod words;
mod wrap;

use std::io::IsTerminal;

use crate::accepting::epoll;
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
