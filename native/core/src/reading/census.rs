//! Takes a census: asks the kernel for every connection in front of its listeners, until the figures have settled.
//!
//! A walk over the kernel's table takes milliseconds, and clients come and go meanwhile. What the rows of one walk say is
//! counted in [`crate::reading::tally`]; here the walk is repeated where its figures need a second one.

use crate::Error;
use crate::linux::diag::{DiagSocket, Family, Request, States, UnixRequest};
use crate::reading::tally::Tally;
use crate::reading::unix_tally::UnixTally;

/// The TCP connections of one family, of one port or of all, in the namespace of the netlink socket. One walk; up to four
/// where connections seem to have been reset.
pub fn tcp(diag: &mut DiagSocket, family: Family, port: Option<u16>) -> Result<Tally, Error> {
    settled(|states| {
        let mut tally = Tally::default();
        diag.dump(&Request { family, states, port }, |row| tally.add(&row)).map(|()| tally)
    })
}

/// The Unix stream sockets in these states, in the namespace of the netlink socket. One walk.
pub(crate) fn unix(diag: &mut DiagSocket, states: States) -> Result<UnixTally, Error> {
    let mut tally = UnixTally::default();
    diag.dump(&UnixRequest { states }, |row| tally.add(row))?;
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
