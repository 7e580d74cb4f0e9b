//! Frames on their way to the VM. A VM that does not read blocks the writing thread and no other: a frame that finds no room is
//! dropped, and its caller in the VM has a time-out of its own.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::etf::Term;
use super::term::{atom, tuple};

/// Bytes that may wait for a VM that does not read. A list of 50,000 listeners fits.
const ROOM_BYTES: usize = 16 << 20;
/// How long a program that ends waits for its last event to be written.
const FLUSH_WAIT: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    frames: Sender<Vec<u8>>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Outbox {
    /// Writes on a thread of its own; a VM that has closed its end ends this process.
    pub(crate) fn open(to: impl Write + Send + 'static) -> io::Result<Outbox> {
        let (frames, written) = channel::<Vec<u8>>();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let outbox = Outbox { frames, waiting_bytes: Arc::clone(&waiting_bytes) };
        thread::Builder::new().name("writer".into()).spawn(move || {
            let mut to = to;
            for frame in written {
                if write(&mut to, &frame).is_err() {
                    std::process::exit(0);
                }
                waiting_bytes.fetch_sub(frame.len(), Ordering::SeqCst);
            }
        })?;
        Ok(outbox)
    }

    /// Whether there was room for it.
    pub(crate) fn put(&self, term: &Term) -> bool {
        let frame = term.encode();
        let length = frame.len();
        let has_room = self.waiting_bytes.fetch_add(length, Ordering::SeqCst) + length <= ROOM_BYTES;
        if has_room && self.frames.send(frame).is_ok() {
            return true;
        }
        self.waiting_bytes.fetch_sub(length, Ordering::SeqCst);
        false
    }

    /// An event: `{event, Name, Details}`.
    pub(crate) fn event(&self, name: &str, details: &str) {
        let details = Term::Binary(details.as_bytes().to_vec());
        // Without room it is dropped, as a reply is.
        self.put(&tuple([atom("event"), atom(name), details]));
    }

    /// Publishes why this process ends, and ends it.
    pub(crate) fn event_and_exit(&self, status: i32, name: &str, details: &str) -> ! {
        self.event(name, details);
        let deadline = Instant::now() + FLUSH_WAIT;
        while self.waiting_bytes.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        std::process::exit(status)
    }
}

fn write(to: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    // In one piece, so that a small one is one system call.
    let mut bytes = Vec::with_capacity(frame.len() + 4);
    bytes.extend((frame.len() as u32).to_be_bytes());
    bytes.extend(frame);
    to.write_all(&bytes)?;
    to.flush()
}
