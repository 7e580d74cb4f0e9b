//! The envelope: what every message of a dump has in common, whatever family it is about. Pure, and without trust in a
//! single length.

use zerocopy::byteorder::{NativeEndian, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Errno, Error};

/// A question that the kernel answers with a dump.
pub trait Question {
    /// What one message of the answer says.
    type Row<'a>;

    /// The bytes to be sent.
    fn message(&self, sequence: u32) -> impl IntoBytes + Immutable;

    /// The payload of one message; `None` for a socket that was not asked for.
    fn row(payload: &[u8]) -> Result<Option<Self::Row<'_>>, Error>;
}

/// One netlink message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<R> {
    /// A socket; `None` for one that was not asked for.
    Row(Option<R>),
    /// The end of the dump.
    Done,
}

/// `struct nlmsghdr`, include/uapi/linux/netlink.h.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    length: U32<NativeEndian>,
    kind: U16<NativeEndian>,
    flags: U16<NativeEndian>,
    sequence: U32<NativeEndian>,
    port: U32<NativeEndian>,
}

/// A whole question: the envelope, and what a family asks.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Envelope<B> {
    header: Header,
    body: B,
}

/// `SOCK_DIAG_BY_FAMILY`, include/uapi/linux/sock_diag.h.
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// netlink pads every message and attribute to four bytes (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const ALIGNMENT: usize = 4;
/// `struct nlattr`: length and type, two bytes each.
const ATTRIBUTE_HEADER: usize = 4;
/// The upper two bits of an attribute's type are flags (`NLA_TYPE_MASK`).
const ATTRIBUTE_KIND: u16 = 0x3fff;

pub(super) const MALFORMED: Error = Error::Errno(Errno::BAD_MESSAGE);

impl<B> Envelope<B> {
    /// A request for a dump.
    pub(super) fn dump(sequence: u32, body: B) -> Envelope<B> {
        Envelope::new(sequence, libc::NLM_F_REQUEST | libc::NLM_F_DUMP, body)
    }

    /// A request for one socket.
    pub(super) fn one(sequence: u32, body: B) -> Envelope<B> {
        Envelope::new(sequence, libc::NLM_F_REQUEST, body)
    }

    fn new(sequence: u32, flags: i32, body: B) -> Envelope<B> {
        let header = Header {
            length: U32::new(size_of::<Envelope<B>>() as u32),
            kind: U16::new(SOCK_DIAG_BY_FAMILY),
            flags: U16::new(flags as u16),
            sequence: U32::new(sequence),
            port: U32::new(0),
        };
        Envelope { header, body }
    }
}

/// The messages of one datagram, in order, whichever question they answer; the first error ends it.
pub fn messages<Q: Question>(datagram: &[u8]) -> impl Iterator<Item = Result<Message<Q::Row<'_>>, Error>> {
    walk::<Q>(datagram, None)
}

/// The same. What answers a question of another number was not asked for.
pub(super) fn answers<Q: Question>(
    datagram: &[u8],
    sequence: u32,
) -> impl Iterator<Item = Result<Message<Q::Row<'_>>, Error>> {
    walk::<Q>(datagram, Some(sequence))
}

fn walk<Q: Question>(
    datagram: &[u8],
    sequence: Option<u32>,
) -> impl Iterator<Item = Result<Message<Q::Row<'_>>, Error>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            match split_message::<Q>(rest, sequence) {
                Ok((message, after)) => {
                    rest = after;
                    if message.is_some() {
                        return message.map(Ok);
                    }
                }
                Err(error) => {
                    rest = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    })
}

/// `None`: it answers another question.
type Split<'a, Q> = Option<Message<<Q as Question>::Row<'a>>>;

/// The first message, and what is behind it.
fn split_message<Q: Question>(bytes: &[u8], sequence: Option<u32>) -> Result<(Split<'_, Q>, &[u8]), Error> {
    let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| MALFORMED)?;
    let length = header.length.get() as usize;
    let payload = bytes.get(size_of::<Header>()..length).ok_or(MALFORMED)?;
    let rest = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or(&[]);
    if sequence.is_some_and(|sequence| sequence != header.sequence.get()) {
        return Ok((None, rest));
    }
    if i32::from(header.flags.get()) & libc::NLM_F_DUMP_INTR != 0 {
        return Err(Error::Interrupted);
    }
    let message = match i32::from(header.kind.get()) {
        libc::NLMSG_DONE => match status(payload) {
            // A dump that failed half-way says so in its last message.
            Some(negative) if negative < 0 => return Err(refused(negative.wrapping_neg())),
            _ => Message::Done,
        },
        libc::NLMSG_ERROR => return Err(status(payload).map_or(MALFORMED, |status| refused(status.wrapping_neg()))),
        libc::NLMSG_OVERRUN => return Err(Error::Truncated),
        kind if kind == i32::from(SOCK_DIAG_BY_FAMILY) => Message::Row(Q::row(payload)?),
        _ => return Err(MALFORMED),
    };
    Ok((Some(message), rest))
}

fn status(payload: &[u8]) -> Option<i32> {
    payload.first_chunk().copied().map(i32::from_ne_bytes)
}

/// `sock_diag_rcv_msg` answers ENOENT where the module for the family is missing, EOPNOTSUPP or EINVAL where it is too
/// old for the request.
fn refused(errno: i32) -> Error {
    match errno {
        libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL | libc::EPROTONOSUPPORT => Error::Unsupported,
        libc::ENOBUFS => Error::Truncated,
        errno => Error::Errno(Errno(errno)),
    }
}

/// The value of the attribute `kind`; `None` where the kernel sent none.
pub(super) fn attribute(mut attributes: &[u8], kind: u16) -> Result<Option<&[u8]>, Error> {
    while !attributes.is_empty() {
        let header: [u8; ATTRIBUTE_HEADER] = *attributes.first_chunk().ok_or(MALFORMED)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = attributes.get(ATTRIBUTE_HEADER..length).ok_or(MALFORMED)?;
        if u16::from_ne_bytes([header[2], header[3]]) & ATTRIBUTE_KIND == kind {
            return Ok(Some(value));
        }
        attributes = attributes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or(&[]);
    }
    Ok(None)
}

/// The 32-bit word at `offset` of an attribute; `None` where it is shorter.
pub(super) fn word(value: &[u8], offset: usize) -> Option<u32> {
    value.get(offset..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// The two halves of a cookie, as sock_diag carries it.
pub(super) fn cookie(halves: [U32<NativeEndian>; 2]) -> crate::Cookie {
    crate::Cookie(u64::from(halves[0].get()) | u64::from(halves[1].get()) << 32)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const HEADER: usize = size_of::<Header>();

    pub(crate) fn message(kind: i32, flags: i32, payload: &[u8]) -> Vec<u8> {
        let length = (HEADER + payload.len()) as u32;
        let mut bytes = Vec::from(length.to_ne_bytes());
        bytes.extend((kind as u16).to_ne_bytes());
        bytes.extend((flags as u16).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(payload);
        bytes
    }

    /// Takes any payload for a row.
    struct Anything;

    impl Question for Anything {
        type Row<'a> = &'a [u8];

        fn message(&self, sequence: u32) -> impl IntoBytes + Immutable {
            sequence
        }

        fn row(payload: &[u8]) -> Result<Option<&[u8]>, Error> {
            Ok(Some(payload))
        }
    }

    #[test]
    fn messages_come_in_order_until_done() {
        let mut datagram = message(i32::from(SOCK_DIAG_BY_FAMILY), 0, &[1, 2, 3, 4]);
        datagram.extend(message(libc::NLMSG_DONE, 0, &[0; 4]));
        let found: Vec<_> = messages::<Anything>(&datagram).collect();
        assert_eq!(found, [Ok(Message::Row(Some(&[1, 2, 3, 4][..]))), Ok(Message::Done)]);
        assert_eq!(messages::<Anything>(&[]).count(), 0);
    }

    #[test]
    fn refusals_are_named() {
        let refusal = |errno: i32| message(libc::NLMSG_ERROR, 0, &(-errno).to_ne_bytes());
        for (datagram, error) in [
            (refusal(libc::ENOENT), Error::Unsupported),
            (refusal(libc::EOPNOTSUPP), Error::Unsupported),
            (refusal(libc::EPERM), Error::Errno(Errno(libc::EPERM))),
            (refusal(libc::ENOBUFS), Error::Truncated),
            (message(libc::NLMSG_ERROR, 0, &[]), MALFORMED),
            (message(libc::NLMSG_OVERRUN, 0, &[]), Error::Truncated),
            (message(libc::NLMSG_DONE, 0, &(-libc::ENOMEM).to_ne_bytes()), Error::Errno(Errno(libc::ENOMEM))),
            (message(libc::NLMSG_DONE, libc::NLM_F_DUMP_INTR, &[0; 4]), Error::Interrupted),
            (message(0x7777, 0, &[]), MALFORMED),
        ] {
            assert_eq!(messages::<Anything>(&datagram).collect::<Vec<_>>(), [Err(error)], "{datagram:?}");
        }
    }

    #[test]
    fn an_attribute_is_found_behind_others_and_its_flags_do_not_hide_it() {
        let bytes = [5, 0, 1, 0, 9, 0, 0, 0, 8, 0, 2, 0x80, 1, 0, 0, 0];
        assert_eq!(attribute(&bytes, 1), Ok(Some(&[9][..])));
        assert_eq!(
            attribute(&bytes, 2).map(|value| value.and_then(|value| word(value, 0))),
            Ok(Some(u32::from_ne_bytes([1, 0, 0, 0])))
        );
        assert_eq!(attribute(&bytes, 3), Ok(None));
        assert_eq!(attribute(&[3, 0, 1, 0], 1), Err(MALFORMED), "shorter than its own header");
        assert_eq!(attribute(&[9, 0, 1, 0, 0], 1), Err(MALFORMED), "longer than what came");
    }
}
