//! Frames from the VM: `{packet, 4}`, bounded. When the VM ends, however it ends, so does this process.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use super::etf::Term;
use super::outbox::Outbox;
use super::term::word;
use super::watchdog::Heartbeats;

/// The largest request is to read as many listeners as are watched at most.
const FRAME_BYTES: usize = 1 << 20;
/// Frames that may wait here; the VM's own queue is behind them.
const WAITING: usize = 16;

/// Reads on a thread of its own, so that the end of the VM, and its heartbeats, are noticed while a command runs.
pub(crate) fn open(
    from: impl Read + Send + 'static,
    outbox: Outbox,
    heartbeats: Option<Heartbeats>,
) -> io::Result<Receiver<Vec<u8>>> {
    let (frames, read) = sync_channel(WAITING);
    thread::Builder::new().name("reader".into()).spawn(move || {
        let mut from = from;
        loop {
            match (frame(&mut from), &heartbeats) {
                (Ok(Some(frame)), Some(heartbeats)) if is_heartbeat(&frame) => heartbeats.put(),
                (Ok(Some(frame)), _) => {
                    if frames.send(frame).is_err() {
                        return;
                    }
                }
                (Ok(None), _) => std::process::exit(0),
                (Err(error), _) => outbox.event_and_exit(1, "malformed", &error.to_string()),
            }
        }
    })?;
    Ok(read)
}

/// The atom, in either of the two encodings that releases of OTP use.
fn is_heartbeat(frame: &[u8]) -> bool {
    const LONGEST: usize = "heartbeat".len() + 4;
    frame.len() <= LONGEST && Term::decode(frame).is_ok_and(|term| word(&term) == Some("heartbeat"))
}

/// `None`: the VM has closed its end.
fn frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES {
        let sentence = format!("a frame of {length} bytes was announced; allowed are {FRAME_BYTES}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, sentence));
    }
    let mut frame = vec![0; length];
    match from.read_exact(&mut frame) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|()| Some(frame)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_recognised_in_the_encoding_of_every_release() {
        assert!(is_heartbeat(b"\x83\x64\x00\x09heartbeat") && is_heartbeat(b"\x83\x77\x09heartbeat"));
        for other in
            [&b"\x83\x77\x09heartbeaT"[..], b"\x83\x77\x09heartbeat ", b"\x83\x6d\x00\x00\x00\x09heartbeat", b""]
        {
            assert!(!is_heartbeat(other), "{other:?}");
        }
    }

    #[test]
    fn a_frame_is_read_whole_or_not_at_all() {
        let read = |bytes: &[u8]| frame(&mut &bytes[..]);
        assert_eq!(read(&[0, 0, 0, 2, 7, 8, 9]).ok(), Some(Some(vec![7, 8])));
        assert_eq!(read(&[0, 0, 0, 0]).ok(), Some(Some(vec![])));
        for end in [&[][..], &[0, 0], &[0, 0, 0, 2, 7]] {
            assert_eq!(read(end).ok(), Some(None), "{end:?}");
        }
        assert!(read(&[255; 4]).is_err(), "a frame of four gigabytes");
    }
}
