//! Takes a census: asks the kernel for every connection in front of its listeners, until the figures have settled.
//!
//! A walk over the kernel's table takes milliseconds, and clients come and go meanwhile. What the rows of one walk say is
//! counted in [`crate::reading::tally`]; here the walk is repeated where its figures need a second one.

use crate::linux::diag::{DiagSocket, Family, Request, States, UnixRequest, WithoutAges};
use crate::reading::tally::{Group, Tally};
use crate::reading::unix_tally::UnixTally;
use crate::{Cookie, Error};

/// The TCP connections of one family, of one port or of all, in the namespace of the netlink socket. One walk; up to four
/// where connections seem to have been reset.
pub fn tcp(diag: &mut DiagSocket, family: Family, port: Option<u16>) -> Result<Tally, Error> {
    settled(|states| {
        let mut tally = Tally::default();
        diag.dump(&Request { family, states, port }, |row| tally.add(&row)).map(|()| tally)
    })
}

/// The TCP connections in these states in front of those listeners at which none waits: one walk, for without a queue there are no ages to ask
/// for and no resets to tell apart. Without ages it takes two thirds of the time, and without what is established a tenth.
pub(crate) fn tcp_at_rest(
    diag: &mut DiagSocket,
    family: Family,
    port: Option<u16>,
    states: States,
) -> Result<Vec<Group>, Error> {
    let mut tally = Tally::default();
    diag.dump(&WithoutAges(Request { family, states, port }), |row| tally.add(&row))?;
    Ok(tally.into_groups().into_iter().filter(Group::is_at_rest).collect())
}

/// The Unix stream sockets in the namespace of the netlink socket: one walk, a question about each listener on which a client
/// waits, and another walk where more wait than an answer to that has room for.
pub(crate) fn unix(diag: &mut DiagSocket) -> Result<UnixTally, Error> {
    unix_some(diag, |_| true)
}

/// The same of some listeners.
pub(crate) fn unix_some(diag: &mut DiagSocket, is_wanted: impl Fn(Cookie) -> bool) -> Result<UnixTally, Error> {
    let mut tally = UnixTally::default();
    let all = UnixRequest { states: States::LISTENERS_AND_CHILDREN, clients: false };
    diag.dump(&all, |row| tally.add(row))?;
    tally.keep(is_wanted);
    if tally.has_many_clients() {
        // It may end early: what it does not list stays unknown, or is asked for below.
        let clients = UnixRequest { states: States::LISTENERS, clients: true };
        diag.dump(&clients, |row| tally.add_clients(row))?;
    }
    for request in tally.unknown_clients() {
        diag.one(&request, |row| tally.add_clients(row))?;
    }
    Ok(tally)
}

/// A tally whose resets are resets. `dump` returns the rows in the states it is given.
pub(crate) fn settled(mut dump: impl FnMut(States) -> Result<Tally, Error>) -> Result<Tally, Error> {
    let mut walk = || -> Result<Tally, Error> {
        let mut tally = dump(States::LISTENERS_AND_CHILDREN)?;
        if tally.has_resets() {
            tally.settle(&dump(States::LISTENERS)?);
        }
        Ok(tally)
    };
    let mut tally = walk()?;
    if tally.has_resets() {
        tally.keep_lasting_resets(walk()?);
    }
    Ok(tally)
}
