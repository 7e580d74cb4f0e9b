//! Shared by the targets of sock_diag.

use accept_queue_core::linux::diag::netlink::{Message, Question, messages};

/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// Passes each row to `each`, and returns their number. There are never more messages than headers that fit, and none after
/// an error.
pub(crate) fn rows<Q: Question>(bytes: &[u8], mut each: impl FnMut(Q::Row<'_>)) -> usize {
    let mut rows = 0;
    let mut failed = false;
    for (index, message) in messages::<Q>(bytes).enumerate() {
        assert!(!failed, "a message after an error");
        assert!(index * HEADER < bytes.len(), "more messages than headers fit");
        match message {
            Ok(Message::Row(Some(row))) => {
                rows += 1;
                each(row);
            }
            Ok(Message::Row(None) | Message::Done) => {}
            Err(_) => failed = true,
        }
    }
    rows
}
