//! Frames around entries: length, checksum, payload.

use std::io::{self, Read};

use super::payload::Payload;
use super::{Entry, MAGIC, SampleEntry};

/// The largest payload of a frame. An entry that does not fit continues in the next.
pub(crate) const LARGEST: usize = 1 << 16;
/// Bytes before the payload: its length and its checksum.
pub(crate) const HEAD: usize = 8;

impl Entry {
    /// Appends its frames; several where it does not fit into one.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        match self {
            Entry::Begun { epoch_ms, interval_ms, version, host, scope } => {
                append(&Payload::begun(*epoch_ms, *interval_ms, [version, host, scope]), to);
            }
            Entry::Sample(sample) => sample.write(to),
            Entry::Ended { at_ms, why } => append(&Payload::ended(*at_ms, why), to),
        }
    }
}

impl SampleEntry {
    fn write(&self, to: &mut Vec<u8>) {
        let mut payload = Payload::sample(self.at_ms, self.quiet);
        for item in &self.items {
            let before = payload.0.len();
            payload.item(item);
            if payload.0.len() > LARGEST {
                let item = payload.0.split_off(before);
                append(&payload, to);
                payload = Payload::sample(self.at_ms, 0);
                payload.0.extend(item);
            }
        }
        append(&payload, to);
    }
}

fn append(Payload(payload): &Payload, to: &mut Vec<u8>) {
    debug_assert!(payload.len() <= LARGEST);
    to.extend((payload.len() as u32).to_le_bytes());
    to.extend(crc32fast::hash(payload).to_le_bytes());
    to.extend(payload);
}

/// Reads entries up to the first frame that is not intact.
pub(crate) struct EntryReader<R> {
    from: R,
    whole: u64,
    buffer: Vec<u8>,
}

impl<R: Read> EntryReader<R> {
    /// `from`: the input behind [`MAGIC`].
    pub(crate) fn new(from: R) -> EntryReader<R> {
        EntryReader { from, whole: MAGIC.len() as u64, buffer: Vec::new() }
    }

    /// The next; `None` behind the last intact one.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut head = [0; HEAD];
        if fill(&mut self.from, &mut head)? < HEAD {
            return Ok(None);
        }
        let Some((length, checksum)) = frame_head(head) else { return Ok(None) };
        self.buffer.resize(length, 0);
        if fill(&mut self.from, &mut self.buffer)? < length || crc32fast::hash(&self.buffer) != checksum {
            return Ok(None);
        }
        let Ok(entry) = Entry::read(&self.buffer) else { return Ok(None) };
        self.whole += (HEAD + length) as u64;
        Ok(Some(entry))
    }

    /// Length of the file up to the end of the last intact frame.
    pub(crate) fn whole(&self) -> u64 {
        self.whole
    }
}

/// Length and checksum. Blocks that were never written read as zeros, so an empty payload is invalid.
fn frame_head(head: [u8; HEAD]) -> Option<(usize, u32)> {
    let [a, b, c, d, e, f, g, h] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    (1..=LARGEST).contains(&length).then_some((length, u32::from_le_bytes([e, f, g, h])))
}

/// Whether an interrupted write can have left these bytes: less than a frame, or only zeros. With an intact frame among them
/// they are data.
pub(crate) fn is_torn(tail: &[u8]) -> bool {
    let is_intact = |frame: &[u8]| {
        let Some((head, rest)) = frame.split_first_chunk() else { return false };
        let Some((length, checksum)) = frame_head(*head) else { return false };
        rest.get(..length).is_some_and(|payload| crc32fast::hash(payload) == checksum && Entry::read(payload).is_ok())
    };
    tail.iter().all(|byte| *byte == 0)
        || tail.len() < HEAD + LARGEST && !(0..tail.len()).any(|begin| is_intact(&tail[begin..]))
}

/// Reads until `buffer` is full or the input ends.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
