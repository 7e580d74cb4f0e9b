//! One datagram of a dump of the ends of connections.

use accept_queue_core::linux::diag::EndRequest;

use crate::datagram;

pub(crate) fn fuzz(bytes: &[u8]) {
    datagram::rows::<EndRequest>(bytes, |row| {
        // Which end it is depends on its addresses only.
        assert!(EndRequest::Server(row.local).wants(&row) && EndRequest::Client(row.peer).wants(&row));
    });
}
