//! The connections of a listener whose peer has closed and which this application still holds.

use std::os::fd::RawFd;
use std::time::Duration;

use crate::address::{Address, Endpoint};
use crate::linux::diag::{ChildState, DiagSocket, Family, Request, Row, States};
use crate::reading::survey;
use crate::reading::tally::Tally;
use crate::{Cookie, Error, Inode, Listener, Listeners};

/// One socket in CLOSE_WAIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its descriptor in this process; `None` where another process holds it.
    pub fd: Option<RawFd>,
    /// As `/proc/PID/fd` shows it.
    pub inode: Inode,
    /// The end that has closed.
    pub peer: Address,
    /// Bytes that the application has not read.
    pub unread: u32,
    /// Since anything came from the peer: since its FIN, unless this side goes on sending.
    pub silent: Duration,
}

/// The longest held first: one walk over the kernel's table for each address, and one over the descriptors of this
/// process.
pub fn by(listeners: &Listeners) -> Result<Vec<Held>, Error> {
    let mut held = Vec::new();
    for listener in listeners.sockets() {
        held.append(&mut listener.vouched(read(listener))?);
    }
    longest_first(&mut held);
    let inodes: Vec<_> = held.iter().map(|held| held.inode).collect();
    let descriptors = survey::own_by_inode(&inodes)?;
    for held in &mut held {
        held.fd = descriptors.get(&held.inode).copied();
    }
    Ok(held)
}

/// Sockets that share an address see the same connections.
pub(crate) fn longest_first(held: &mut Vec<Held>) {
    held.sort_by_key(|held| (std::cmp::Reverse(held.silent), held.inode));
    held.dedup_by_key(|held| held.inode);
}

fn read(listener: &Listener) -> Result<Vec<Held>, Error> {
    listener.dump(|diag| before(diag, listener.endpoint(), listener.cookie()))
}

/// The connections of one listener, whichever process holds them, in the namespace of the netlink socket.
pub(crate) fn before(diag: &mut DiagSocket, endpoint: &Endpoint, cookie: Cookie) -> Result<Vec<Held>, Error> {
    // A Unix socket whose peer has closed stays connected, and no state of the kernel's says so.
    let Endpoint::Tcp(address) = endpoint else { return Err(Error::Unsupported) };
    let request =
        Request { family: Family::of(address.ip), states: States::LISTENERS_AND_CLOSE_WAIT, port: Some(address.port) };
    let mut tally = Tally::default();
    let mut held = Vec::new();
    diag.dump(&request, |row| {
        tally.add(&row);
        if let Row::Child { local, state: ChildState::CloseWait { peer, inode, bytes, silent }, .. } = row {
            held.push((local, Held { fd: None, inode, peer, unread: bytes, silent }));
        }
    })?;
    let own = tally.group_of(cookie).ok_or(Error::NotFound)?.address;
    held.retain(|(local, _)| tally.address_for(local) == Some(own));
    Ok(held.into_iter().map(|(_, held)| held).collect())
}
