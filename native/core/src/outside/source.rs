//! Where the queues of a network namespace are read from, over and over: sock_diag, or, where that is refused, the files of `/proc`,
//! which say less. Chosen when it is opened; who asks does not see which it is, and what is missing is a [`Missing`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::linux::diag::DiagSocket;
use crate::outside::holdings::Place;
use crate::outside::scope::{Gap, Missing, Owner};
use crate::reading::survey::{has_tcp, listening_on, listening_through, survey_some};
use crate::reading::tcp_table::TcpTables;
use crate::rules::detector::Time;
use crate::vm::find;
use crate::{Endpoint, Error, Listening, Queue};

/// What a namespace is read from.
pub(crate) enum Source {
    /// sock_diag.
    Diag(DiagSocket),
    /// `/proc/PID/net/tcp` and `tcp6`.
    Files {
        /// With what they said before.
        tables: TcpTables,
        /// What they do not say, and why they are read.
        missing: Missing,
    },
}

impl Source {
    /// The best that there is in this place. An error where nothing can be read there.
    pub(crate) fn open(place: &Place) -> Result<Source, Error> {
        let asked = place.inside(DiagSocket::open).and_then(|mut diag| has_tcp(&mut diag).map(|()| diag));
        let refusal = match asked {
            Ok(diag) => return Ok(Source::Diag(diag)),
            Err(refusal) => refusal,
        };
        let missing = match refusal {
            Error::Unsupported => Missing::Diag,
            _ if place.is_own()? => return Err(refusal),
            _ => Missing::Part(refusal),
        };
        // Of the two reasons the first says what would help.
        place.in_files(|pid| TcpTables::default().listening(pid, Time::ZERO)).map_err(|_| refusal)?;
        Ok(Source::Files { tables: TcpTables::default(), missing })
    }

    /// Less than all is known there; more may be, for a module may have been loaded since.
    pub(crate) fn is_partial(&self) -> bool {
        matches!(self, Source::Files { .. })
    }

    /// Every socket that listens there now, or every one on the port that the scope is.
    pub(crate) fn listening(&mut self, place: &Place, at: Time) -> Result<Vec<Listening>, Error> {
        match self {
            Source::Diag(diag) => match place.only_port() {
                Some(port) => listening_on(diag, port),
                None => listening_through(diag),
            },
            Source::Files { tables, .. } => place.in_files(|pid| tables.listening(pid, at)),
        }
    }

    /// The queues of some endpoints, and maybe others, after their listeners have been read. The ages of the kernel are those of some
    /// moment of the dump, those of the files of when the listeners were read.
    pub(crate) fn survey(&mut self, place: &Place, wanted: &[&Endpoint]) -> Result<Vec<Queue>, Error> {
        match self {
            Source::Diag(diag) => {
                let begun = Instant::now();
                let mut queues = survey_some(diag, wanted)?;
                let took = begun.elapsed();
                queues.iter_mut().for_each(|queue| queue.census.took = took);
                Ok(queues)
            }
            Source::Files { .. } if wanted.is_empty() => Ok(Vec::new()),
            Source::Files { tables, .. } => place.in_files(|pid| tables.queues(pid)),
        }
    }

    /// What it does not say, and of which processes: the owners of the queues that were read, or every process of the scope there where
    /// the namespace could not be entered.
    pub(crate) fn missing<'a>(
        &self,
        place: &Place,
        owners: impl Iterator<Item = &'a Owner>,
    ) -> Result<Vec<Gap>, Error> {
        match self {
            Source::Diag(diag) if diag.lacks_unix() => place.unread_unix(),
            Source::Diag(_) => Ok(Vec::new()),
            Source::Files { missing: missing @ Missing::Part(_), .. } => Ok(place.gaps(*missing)),
            Source::Files { missing, .. } => {
                let mut of: BTreeMap<_, _> =
                    owners.map(|owner| (owner.process.pid, Arc::clone(&owner.process))).collect();
                if of.is_empty() {
                    let own = find::by_pid(std::process::id() as i32)?;
                    of.insert(own.pid, Arc::new(own));
                }
                Ok(of.into_values().map(|process| Gap { process, missing: *missing }).collect())
            }
        }
    }
}
