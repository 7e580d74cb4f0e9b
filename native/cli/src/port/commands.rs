//! The commands of the protocol: a table of contents. Terms come in, core answers, terms go out.

use std::time::Duration;

use accept_queue_core::linux::counters;
use accept_queue_core::outside::remote::Remote;
use accept_queue_core::outside::remote_watch::Watches;
use accept_queue_core::reading::survey;
use accept_queue_core::rules::advice::{Facts, advise};
use accept_queue_core::rules::detector::{Settings, Time, on_clock};
use accept_queue_core::rules::verdict::{ListenerState, verdict};

use super::etf::Term;
use super::words::{Asked, answer, atom, tuple};

/// What is read, and what is remembered.
#[derive(Debug)]
pub(crate) struct Desk {
    remote: Remote,
    watches: Watches,
}

impl Desk {
    /// For the VM of this pid.
    pub(crate) fn new(vm: i32) -> Desk {
        Desk { remote: Remote::new(vm), watches: Watches::default() }
    }

    /// The result of a command; `{error, unsupported}` for one that this release does not know, `{error, badarg}` for arguments
    /// that are none.
    pub(crate) fn result(&mut self, command: &str, arguments: &[Term]) -> Term {
        if !COMMANDS.contains(&command) {
            return Err::<Term, _>(atom("unsupported")).into();
        }
        self.known(command, arguments).unwrap_or_else(|| Err::<Term, _>(atom("badarg")).into())
    }

    fn known(&mut self, command: &str, arguments: &[Term]) -> Option<Term> {
        let Desk { remote, watches } = self;
        Some(match (command, arguments) {
            ("open", [fd]) => remote.open(asked(fd)?).into(),
            ("depth", [sockets]) => remote.depth(&asked::<Vec<_>>(sockets)?).into(),
            ("counts", [sockets]) => remote.census(&asked::<Vec<_>>(sockets)?).map(|census| census.counts).into(),
            ("are_open", [handles]) => {
                let handles = asked::<Vec<Vec<_>>>(handles)?;
                handles.iter().map(|sockets| remote.is_open(sockets)).collect::<Result<Vec<_>, _>>().into()
            }
            ("held", [sockets]) => remote.held(&asked::<Vec<_>>(sockets)?).into(),
            ("resize", [sockets, backlog]) => remote.resize(&asked::<Vec<_>>(sockets)?, asked(backlog)?).into(),
            ("listening", []) => remote.listening().into(),
            ("listening_cookies", []) => remote.listening().map(survey::cookies).into(),
            ("own", []) => remote.own().into(),
            ("waited", [fd]) => remote.waited(asked(fd)?).into(),
            ("peer_closed", [fd]) => remote.peer_closed(asked(fd)?).into(),
            ("inode", [fd]) => remote.inode(asked(fd)?).into(),
            ("kernel", []) => counters::read().into(),
            ("verdict", [standing]) => ok(verdict(&asked::<ListenerState>(standing)?, &Settings::default())),
            ("advise", [facts]) => ok(advise(&asked::<Facts>(facts)?)),
            ("default_settings", []) => ok(Settings::default()),
            ("watch", [id, sockets, settings, at]) => {
                watches.begin(asked(id)?, asked(sockets)?, asked(settings)?, time(at)?);
                atom("ok")
            }
            ("unwatch", [id]) => {
                watches.end(asked(id)?);
                atom("ok")
            }
            ("tick", [ids, at, all]) => ok(ticks(watches, remote, &asked::<Vec<_>>(ids)?, time(at)?, asked(all)?)),
            ("look", [ids, at]) => {
                let looks = watches.census(remote, &asked::<Vec<_>>(ids)?, time(at)?);
                ok(looks.into_iter().map(answer).collect::<Vec<_>>())
            }
            ("status", [id, at]) => watches.status(asked(id)?, time(at)?).into(),
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
    "inode",
    "kernel",
    "verdict",
    "advise",
    "default_settings",
    "watch",
    "unwatch",
    "tick",
    "look",
    "status",
];

fn asked<T: Asked>(term: &Term) -> Option<T> {
    T::asked(term)
}

fn ok(value: impl Into<Term>) -> Term {
    tuple([atom("ok"), value.into()])
}

/// By the clock of the VM, in milliseconds since it started.
fn time(at: &Term) -> Option<Time> {
    asked(at).map(on_clock)
}

/// What there is to say, with the place of the watch it is about, counted from 1. A tick that changed nothing and wants nothing
/// is left out, unless all are asked for.
fn ticks(watches: &mut Watches, remote: &mut Remote, ids: &[u64], at: Duration, all: bool) -> Vec<Term> {
    let ticks = watches.read(remote, ids, at).into_iter().enumerate();
    let told = ticks.filter(|(_, tick)| all || !matches!(tick, Ok(Ok(tick)) if tick.is_quiet()));
    told.map(|(index, tick)| tuple([(index + 1).into(), answer(tick)])).collect()
}
