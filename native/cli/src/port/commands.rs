//! The commands of the protocol: a table of contents. Arguments are terms, core answers, results are terms.

use std::time::Duration;

use accept_queue_core::linux::counters;
use accept_queue_core::outside::remote::Remote;
use accept_queue_core::outside::remote_waits::RemoteWaits;
use accept_queue_core::outside::remote_watch::Watches;
use accept_queue_core::reading::survey;
use accept_queue_core::rules::advice::{Facts, advise};
use accept_queue_core::rules::detector::{Settings, Time, on_clock};
use accept_queue_core::rules::history::{DepthReading, REOPEN};
use accept_queue_core::rules::verdict::{ListenerState, verdict};

use super::answers::answer;
use super::arguments::Argument;
use super::etf::Term;
use super::term::{atom, tuple, word};

#[derive(Debug)]
pub(crate) struct Dispatcher {
    remote: Remote,
    watches: Watches,
    waits: RemoteWaits,
}

impl Dispatcher {
    /// For the VM of this pid.
    pub(crate) fn new(vm: i32) -> Dispatcher {
        Dispatcher { remote: Remote::new(vm), watches: Watches::default(), waits: RemoteWaits::default() }
    }

    /// The result of a command; `{error, unsupported}` for one that this release does not have, `{error, badarg}` for arguments
    /// that do not fit it.
    pub(crate) fn run(&mut self, command: &str, arguments: &[Term]) -> Term {
        if !COMMANDS.contains(&command) {
            return Err::<Term, _>(atom("unsupported")).into();
        }
        self.dispatch(command, arguments).unwrap_or_else(|| Err::<Term, _>(atom("badarg")).into())
    }

    fn dispatch(&mut self, command: &str, arguments: &[Term]) -> Option<Term> {
        let Dispatcher { remote, watches, waits } = self;
        Some(match (command, arguments) {
            ("open", [fd]) => remote.open(argument(fd)?).into(),
            ("depth", [sockets]) => remote.depth(&argument::<Vec<_>>(sockets)?).into(),
            ("counts", [sockets]) => remote.census(&argument::<Vec<_>>(sockets)?).map(|census| census.counts).into(),
            ("are_open", [handles]) => {
                let handles = argument::<Vec<Vec<_>>>(handles)?;
                handles.iter().map(|sockets| remote.is_open(sockets)).collect::<Result<Vec<_>, _>>().into()
            }
            ("held", [sockets]) => remote.held(&argument::<Vec<_>>(sockets)?).into(),
            ("resize", [sockets, backlog]) => remote.resize(&argument::<Vec<_>>(sockets)?, argument(backlog)?).into(),
            ("listening", []) => remote.listening().into(),
            ("listening_cookies", []) => remote.listening().map(survey::cookies).into(),
            ("own", []) => remote.own().into(),
            ("waited", [fd]) => remote.waited(argument(fd)?).into(),
            ("peer_closed", [fd]) => remote.peer_closed(argument(fd)?).into(),
            ("accepted", [fd]) => remote.accepted(argument(fd)?).into(),
            ("add_wait", [sockets, ms]) => waits.add(remote, &argument::<Vec<_>>(sockets)?, argument(ms)?).into(),
            ("waits", [sockets]) => ok(waits.of(&argument::<Vec<_>>(sockets)?)),
            ("inode", [fd]) => remote.inode(argument(fd)?).into(),
            ("kernel", []) => counters::read().into(),
            ("verdict", [state]) => ok(verdict(&argument::<ListenerState>(state)?, &Settings::default())),
            ("advise", [facts]) => ok(advise(&argument::<Facts>(facts)?)),
            ("default_settings", []) => ok(Settings::default()),
            ("reopen_ms", []) => ok(REOPEN),
            ("watch", [id, sockets, settings, at]) => {
                watches.begin(argument(id)?, argument(sockets)?, argument(settings)?, time(at)?);
                atom("ok")
            }
            ("watch_sockets", [id, sockets]) => {
                watches.replace_sockets(argument(id)?, argument(sockets)?);
                atom("ok")
            }
            ("unwatch", [id]) => {
                watches.end(argument(id)?);
                atom("ok")
            }
            ("read", [ids, at, wanted]) => {
                ok(readings(watches, remote, &argument::<Vec<_>>(ids)?, time(at)?, argument(wanted)?))
            }
            ("census", [ids, at]) => {
                let taken = watches.census(remote, &argument::<Vec<_>>(ids)?, time(at)?);
                ok(taken.into_iter().map(answer).collect::<Vec<_>>())
            }
            ("status", [id, at]) => {
                let id = argument(id)?;
                let counted = watches.sockets_of(id).map(|sockets| waits.of(sockets));
                watches.status(id, time(at)?).and_then(|status| Ok((status, counted?))).into()
            }
            _ => return None,
        })
    }
}

const COMMANDS: &[&str] = &[
    "open",
    "depth",
    "counts",
    "are_open",
    "held",
    "resize",
    "listening",
    "listening_cookies",
    "own",
    "waited",
    "peer_closed",
    "accepted",
    "add_wait",
    "waits",
    "inode",
    "kernel",
    "verdict",
    "advise",
    "default_settings",
    "reopen_ms",
    "watch",
    "watch_sockets",
    "unwatch",
    "read",
    "census",
    "status",
];

fn argument<T: Argument>(term: &Term) -> Option<T> {
    T::from_term(term)
}

fn ok(value: impl Into<Term>) -> Term {
    tuple([atom("ok"), value.into()])
}

/// Milliseconds since the VM started, by its clock.
fn time(at: &Term) -> Option<Time> {
    argument(at).map(on_clock)
}

/// Which readings are answered. One that fails, or wants a census, always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    News,
    Samples,
    All,
}

impl Argument for Wanted {
    fn from_term(term: &Term) -> Option<Self> {
        match word(term)? {
            "news" => Some(Wanted::News),
            "samples" => Some(Wanted::Samples),
            "all" => Some(Wanted::All),
            _ => None,
        }
    }
}

impl Wanted {
    fn has(self, reading: &DepthReading) -> bool {
        let is_sample = self == Wanted::Samples && reading.is_sample;
        reading.is_news() || reading.wants_census || is_sample || self == Wanted::All
    }
}

/// Each reading with the place of its watch in `ids`, counted from 1.
fn readings(watches: &mut Watches, remote: &mut Remote, ids: &[u64], at: Duration, wanted: Wanted) -> Vec<Term> {
    let readings = watches.read(remote, ids, at).into_iter().enumerate();
    let reported = readings.filter(|(_, reading)| match reading {
        Ok(Ok(reading)) => wanted.has(reading),
        _ => true,
    });
    reported.map(|(index, reading)| tuple([(index + 1).into(), answer(reading)])).collect()
}
