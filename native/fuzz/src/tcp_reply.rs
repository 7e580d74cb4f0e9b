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
        let with_a_row = look.counts.queued_alive.zip(look.counts.queued_closed).map(|(alive, closed)| alive + closed);
        assert_eq!(look.waits.as_ref().map(|waits| waits.len() as u32), with_a_row);
        assert_eq!(look.waits.into_iter().flatten().max(), look.counts.oldest_wait);
        assert!(look.counts.queued_reset() <= Some(look.counts.queued));
        assert_eq!(group.sockets.len() as u32, look.counts.sockets);
    }
}
