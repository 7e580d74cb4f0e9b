//! One datagram of a dump of TCP sockets, as far as the counts.

use accept_queue_core::linux::diag::Request;
use accept_queue_core::reading::tally::Tally;

use crate::datagram;

pub(crate) fn fuzz(bytes: &[u8]) {
    let mut tally = Tally::default();
    let rows = datagram::rows::<Request>(bytes, |row| tally.add(&row));
    let groups = tally.into_groups();
    assert!(groups.len() <= rows);
    for group in groups {
        let look = group.census();
        let waits = look.waits.expect("TCP has ages");
        assert_eq!(waits.len() as u32, look.counts.queued_alive + look.counts.queued_closed);
        assert_eq!(waits.into_iter().max(), look.counts.oldest_wait);
        assert!(look.counts.queued_reset() <= look.counts.queued);
        assert_eq!(group.sockets.len() as u32, look.counts.sockets);
    }
}
