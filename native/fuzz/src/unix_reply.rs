//! One datagram of a dump of Unix sockets.

use accept_queue_core::linux::diag::{UnixRequest, UnixRow};

use crate::datagram;

pub(crate) fn fuzz(bytes: &[u8]) {
    datagram::rows::<UnixRequest>(bytes, |row| match row {
        UnixRow::Listener { name, clients, .. } => {
            let clients = clients.map_or(0, |clients| clients.inodes().count());
            assert!(name.name.len() + 4 * clients < bytes.len());
        }
        UnixRow::Child { name, .. } => assert!(name.name.len() < bytes.len()),
    });
}
