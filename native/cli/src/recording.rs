//! What `record` writes and `report` reads, as bytes: docs/record.md says it byte by byte. Pure, but for the reading.
//!
//! A file is eight bytes that name it, and entries, each in a frame with its length and its checksum. Whatever is behind the
//! last frame that holds is no part of it.

use std::io::{self, Read};

use accept_queue_core::rules::detector::Condition;

/// The first bytes of every file; the last of them is the version of the format. The first is no character of any text.
pub(crate) const MAGIC: [u8; 8] = *b"\x89AQREC\n\x01";
/// The largest payload of a frame. What does not fit goes on in the next.
pub(crate) const LARGEST: usize = 1 << 16;
/// Before the payload: its length and its checksum.
pub(crate) const HEAD: usize = 8;
/// Where nothing has changed, so long is nothing written.
pub(crate) const SILENCE_MS: u64 = 10_000;

/// What is recorded of a queue, in the order of the bits of its mask.
pub(crate) const FIGURES: [&str; 12] = [
    "queued",
    "limit",
    "drops",
    "syn_recv",
    "queued_alive",
    "queued_closed",
    "queued_reset",
    "queued_bytes",
    "oldest_wait_ms",
    "established",
    "close_wait",
    "sockets",
];

/// By the order of [`FIGURES`]; `None` where the kernel does not have it, or nobody has looked.
pub(crate) type Figures = [Option<u64>; FIGURES.len()];

/// No figure is greater.
pub(crate) const GREATEST: u64 = u64::MAX - 1;

/// By the numbers under which they are recorded.
const CONDITIONS: [Condition; 5] =
    [Condition::Behind, Condition::Overflowing, Condition::Stuck, Condition::Abandoned, Condition::Leaking];

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The program has begun. Numbers of listeners that came before mean nothing from here on.
    Begun {
        /// Milliseconds since the epoch, at 0 ms of this run.
        epoch_ms: u64,
        interval_ms: u64,
        version: String,
        host: String,
        /// Whose listeners, in words.
        scope: String,
    },
    Sample(Sample),
    /// The program has ended. Where this is missing, it has been killed, or goes on.
    Ended {
        at_ms: u64,
        why: String,
    },
}

/// What a sample brought that was not known before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sample {
    /// Since the run has begun.
    pub(crate) at_ms: u64,
    /// So many samples have brought nothing since the entry before this.
    pub(crate) quiet: u64,
    pub(crate) items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// Who is meant by a number from here on. Told again where its owners have changed.
    Listener {
        number: u64,
        namespace: u64,
        address: String,
        owners: Vec<Process>,
    },
    /// Those figures that are not what they were.
    Figures {
        number: u64,
        changed: Vec<(Figure, Option<u64>)>,
    },
    /// This sample does not have it, though it is there: nothing is known of it until its next figures.
    Unread {
        number: u64,
    },
    Raised {
        number: u64,
        condition: Condition,
        held_ms: u64,
    },
    Cleared {
        number: u64,
        condition: Condition,
        lasted_ms: u64,
    },
    /// It has been closed.
    Gone {
        number: u64,
    },
    /// What could not be read, in words.
    Unreadable(String),
    /// The clock of the machine has been set, or it has slept: 0 ms of this run stands for another time.
    Clock {
        epoch_ms: u64,
    },
}

/// Where a figure stands among the [`FIGURES`].
pub(crate) type Figure = usize;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u64,
    pub(crate) name: String,
}

/// Why these bytes are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Whether so long between two samples is too long for the recorder to have been at work.
pub(crate) fn is_hole(interval_ms: u64, passed_ms: u64) -> bool {
    passed_ms > interval_ms.saturating_mul(3).max(1000)
}

impl Entry {
    /// Adds its frames; several where it does not fit into one.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        let mut payload = Payload::default();
        match self {
            Entry::Begun { epoch_ms, interval_ms, version, host, scope } => {
                payload.byte(1);
                payload.number(*epoch_ms);
                payload.number(*interval_ms);
                [version, host, scope].into_iter().for_each(|text| payload.text(text));
            }
            Entry::Sample(sample) => return sample.write(to),
            Entry::Ended { at_ms, why } => {
                payload.byte(3);
                payload.number(*at_ms);
                payload.text(why);
            }
        }
        payload.frame(to);
    }

    /// Of the payload of a frame, all of it.
    pub(crate) fn read(payload: &[u8]) -> Result<Entry, Malformed> {
        let mut rest = Rest(payload);
        let entry = match rest.byte()? {
            1 => Entry::Begun {
                epoch_ms: rest.number()?,
                interval_ms: rest.number()?,
                version: rest.text()?,
                host: rest.text()?,
                scope: rest.text()?,
            },
            2 => {
                let (at_ms, quiet) = (rest.number()?, rest.number()?);
                let mut items = Vec::new();
                while !rest.0.is_empty() {
                    items.push(rest.item()?);
                }
                Entry::Sample(Sample { at_ms, quiet, items })
            }
            3 => Entry::Ended { at_ms: rest.number()?, why: rest.text()? },
            _ => return Err(Malformed),
        };
        if rest.0.is_empty() { Ok(entry) } else { Err(Malformed) }
    }
}

impl Sample {
    fn write(&self, to: &mut Vec<u8>) {
        let begin = |quiet| {
            let mut payload = Payload::default();
            payload.byte(2);
            payload.number(self.at_ms);
            payload.number(quiet);
            payload
        };
        let mut payload = begin(self.quiet);
        for item in &self.items {
            let before = payload.0.len();
            payload.item(item);
            if payload.0.len() > LARGEST {
                let item = payload.0.split_off(before);
                payload.frame(to);
                payload = begin(0);
                payload.0.extend(item);
            }
        }
        payload.frame(to);
    }
}

/// Bytes of a frame that is being made.
#[derive(Default)]
struct Payload(Vec<u8>);

impl Payload {
    fn frame(&self, to: &mut Vec<u8>) {
        debug_assert!(self.0.len() <= LARGEST);
        to.extend((self.0.len() as u32).to_le_bytes());
        to.extend(crc32fast::hash(&self.0).to_le_bytes());
        to.extend(&self.0);
    }

    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Seven bits a byte, the lowest first; all but the last with the high bit (LEB128).
    fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend(text.as_bytes());
    }

    fn condition(&mut self, condition: Condition) {
        let number = CONDITIONS.iter().position(|known| *known == condition);
        self.byte(number.unwrap_or(CONDITIONS.len()) as u8);
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Listener { number, namespace, address, owners } => {
                self.byte(1);
                self.number(*number);
                self.number(*namespace);
                self.text(address);
                self.number(owners.len() as u64);
                for Process { pid, name } in owners {
                    self.number(*pid);
                    self.text(name);
                }
            }
            Item::Figures { number, changed } => {
                self.byte(2);
                self.number(*number);
                self.number(changed.iter().fold(0, |mask, (figure, _)| mask | 1 << figure));
                for (_, figure) in changed {
                    // One more than it is, for 0 is what is not known.
                    self.number(figure.map_or(0, |figure| figure.min(GREATEST) + 1));
                }
            }
            Item::Unread { number } => {
                self.byte(3);
                self.number(*number);
            }
            Item::Raised { number, condition, held_ms: time } => {
                self.byte(4);
                self.number(*number);
                self.condition(*condition);
                self.number(*time);
            }
            Item::Cleared { number, condition, lasted_ms: time } => {
                self.byte(5);
                self.number(*number);
                self.condition(*condition);
                self.number(*time);
            }
            Item::Gone { number } => {
                self.byte(6);
                self.number(*number);
            }
            Item::Unreadable(what) => {
                self.byte(7);
                self.text(what);
            }
            Item::Clock { epoch_ms } => {
                self.byte(8);
                self.number(*epoch_ms);
            }
        }
    }
}

/// Bytes of a frame that have not been read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| Malformed)
    }

    fn condition(&mut self) -> Result<Condition, Malformed> {
        CONDITIONS.get(usize::from(self.byte()?)).copied().ok_or(Malformed)
    }

    fn item(&mut self) -> Result<Item, Malformed> {
        Ok(match self.byte()? {
            1 => Item::Listener {
                number: self.number()?,
                namespace: self.number()?,
                address: self.text()?,
                // As many as follow: what they claim is not allocated.
                owners: (0..self.number()?)
                    .map(|_| Ok(Process { pid: self.number()?, name: self.text()? }))
                    .collect::<Result<_, _>>()?,
            },
            2 => {
                let (number, mask) = (self.number()?, self.number()?);
                if mask >> FIGURES.len() != 0 {
                    return Err(Malformed);
                }
                let figures = (0..FIGURES.len()).filter(|figure| mask >> figure & 1 == 1);
                let changed =
                    figures.map(|figure| Ok((figure, self.number()?.checked_sub(1)))).collect::<Result<_, _>>()?;
                Item::Figures { number, changed }
            }
            3 => Item::Unread { number: self.number()? },
            4 => Item::Raised { number: self.number()?, condition: self.condition()?, held_ms: self.number()? },
            5 => Item::Cleared { number: self.number()?, condition: self.condition()?, lasted_ms: self.number()? },
            6 => Item::Gone { number: self.number()? },
            7 => Item::Unreadable(self.text()?),
            8 => Item::Clock { epoch_ms: self.number()? },
            _ => return Err(Malformed),
        })
    }
}

/// The entries behind the name of the file, up to the first frame that does not hold.
pub(crate) struct Entries<R> {
    from: R,
    whole: u64,
    buffer: Vec<u8>,
}

impl<R: Read> Entries<R> {
    /// `from` stands behind [`MAGIC`].
    pub(crate) fn new(from: R) -> Entries<R> {
        Entries { from, whole: MAGIC.len() as u64, buffer: Vec::new() }
    }

    /// The next; `None` behind the last that holds.
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

    /// Where the last frame that holds has its end.
    pub(crate) fn whole(&self) -> u64 {
        self.whole
    }
}

/// Length and checksum. What was never written reads as zeros, and an empty payload is none.
fn frame_head(head: [u8; HEAD]) -> Option<(usize, u32)> {
    let [a, b, c, d, e, f, g, h] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    (1..=LARGEST).contains(&length).then_some((length, u32::from_le_bytes([e, f, g, h])))
}

/// Whether a write that was cut off can have left these bytes: less than a frame, or nothing but zeros. Where a frame holds
/// among them, they are worth something to somebody.
pub(crate) fn is_torn(tail: &[u8]) -> bool {
    let holds = |frame: &[u8]| {
        let Some((head, rest)) = frame.split_first_chunk() else { return false };
        let Some((length, checksum)) = frame_head(*head) else { return false };
        rest.get(..length).is_some_and(|payload| crc32fast::hash(payload) == checksum && Entry::read(payload).is_ok())
    };
    tail.iter().all(|byte| *byte == 0)
        || tail.len() < HEAD + LARGEST && !(0..tail.len()).any(|begin| holds(&tail[begin..]))
}

/// As much as there is, up to the length of `buffer`.
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

#[cfg(test)]
pub(crate) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn conditions() -> impl Strategy<Value = Condition> {
        prop::sample::select(&Condition::ALL[..])
    }

    fn texts() -> impl Strategy<Value = String> {
        ".{0,20}"
    }

    fn items() -> impl Strategy<Value = Item> {
        let process = (any::<u64>(), texts()).prop_map(|(pid, name)| Process { pid, name });
        let figures = vec(prop::option::of(prop::option::of(0..=GREATEST)), FIGURES.len()).prop_map(|figures| {
            figures.into_iter().enumerate().filter_map(|(figure, changed)| Some((figure, changed?))).collect()
        });
        prop_oneof![
            (any::<u64>(), any::<u64>(), texts(), vec(process, 0..3))
                .prop_map(|(number, namespace, address, owners)| Item::Listener { number, namespace, address, owners }),
            (any::<u64>(), figures).prop_map(|(number, changed)| Item::Figures { number, changed }),
            any::<u64>().prop_map(|number| Item::Unread { number }),
            (any::<u64>(), conditions(), any::<u64>()).prop_map(|(number, condition, held_ms)| Item::Raised {
                number,
                condition,
                held_ms
            }),
            (any::<u64>(), conditions(), any::<u64>()).prop_map(|(number, condition, lasted_ms)| Item::Cleared {
                number,
                condition,
                lasted_ms
            }),
            any::<u64>().prop_map(|number| Item::Gone { number }),
            texts().prop_map(Item::Unreadable),
            any::<u64>().prop_map(|epoch_ms| Item::Clock { epoch_ms }),
        ]
    }

    pub(crate) fn entries() -> impl Strategy<Value = Entry> {
        prop_oneof![
            (any::<u64>(), any::<u64>(), texts(), texts(), texts()).prop_map(
                |(epoch_ms, interval_ms, version, host, scope)| Entry::Begun {
                    epoch_ms,
                    interval_ms,
                    version,
                    host,
                    scope
                }
            ),
            (any::<u64>(), any::<u64>(), vec(items(), 0..6)).prop_map(|(at_ms, quiet, items)| Entry::Sample(Sample {
                at_ms,
                quiet,
                items
            })),
            (any::<u64>(), texts()).prop_map(|(at_ms, why)| Entry::Ended { at_ms, why }),
        ]
    }

    fn written(entries: &[Entry]) -> Vec<u8> {
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| entry.write(&mut bytes));
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<Entry>, u64) {
        let mut reading = Entries::new(bytes);
        let entries = std::iter::from_fn(|| reading.next().expect("memory can be read")).collect();
        (entries, reading.whole() - MAGIC.len() as u64)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in vec(entries(), 0..5)) {
            let bytes = written(&entries);
            prop_assert_eq!(read(&bytes), (entries, bytes.len() as u64));
        }

        #[test]
        fn any_bytes_are_an_entry_or_malformed(bytes in vec(any::<u8>(), 0..200), kind in 0u8..5) {
            let _ = Entry::read(&bytes);
            let _ = Entry::read(&[&[kind][..], &bytes].concat());
        }

        #[test]
        fn a_bit_that_flips_is_noticed(entry in entries(), bit in any::<prop::sample::Index>()) {
            let mut bytes = written(&[entry]);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(read(&bytes), (vec![], 0));
        }
    }

    fn some() -> Vec<Entry> {
        let sample = |at_ms, items| Entry::Sample(Sample { at_ms, quiet: 3, items });
        vec![
            Entry::Begun {
                epoch_ms: 1_764_000_000_000,
                interval_ms: 100,
                version: "0.1.0".into(),
                host: "h".into(),
                scope: "every BEAM".into(),
            },
            sample(
                0,
                vec![Item::Listener {
                    number: 0,
                    namespace: 4_026_531_840,
                    address: "0.0.0.0:8080".into(),
                    owners: vec![Process { pid: 4711, name: "shop@host".into() }],
                }],
            ),
            sample(
                300,
                vec![Item::Figures { number: 0, changed: vec![(0, Some(31)), (8, None), (11, Some(GREATEST))] }],
            ),
            Entry::Ended { at_ms: 400, why: "interrupted".into() },
        ]
    }

    #[test]
    fn a_tail_that_is_torn_at_any_byte_loses_what_was_not_whole_and_no_more() {
        let entries = some();
        let ends: Vec<_> = (0..=entries.len()).map(|count| written(&entries[..count]).len()).collect();
        let bytes = written(&entries);
        for torn in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= torn).count() - 1;
            assert_eq!(read(&bytes[..torn]), (entries[..whole].to_vec(), ends[whole] as u64), "torn at {torn}");
            assert!(is_torn(&bytes[ends[whole]..torn]), "torn at {torn}");
            // What a file system had no time for.
            let zeros = [&bytes[..torn], &[0; 20]].concat();
            assert_eq!(read(&zeros).0.len(), whole, "zeros from {torn}");
        }
    }

    #[test]
    fn what_has_whole_frames_behind_the_damage_is_not_torn() {
        let mut bytes = written(&some());
        bytes[HEAD] ^= 1;
        assert!(!is_torn(&bytes));
        assert!(!is_torn(&[1; HEAD + LARGEST]), "more than a frame");
        assert!(is_torn(&[0; 4 * LARGEST]), "room that was never written to");
    }

    #[test]
    fn a_sample_that_is_too_large_for_a_frame_goes_on_in_the_next() {
        let items: Vec<_> = (0..3000)
            .map(|number| Item::Listener { number, namespace: 1, address: "x".repeat(50), owners: vec![] })
            .collect();
        let bytes = written(&[Entry::Sample(Sample { at_ms: 7, quiet: 2, items: items.clone() })]);
        let (entries, whole) = read(&bytes);
        assert_eq!(whole, bytes.len() as u64);
        let samples: Vec<_> = entries
            .into_iter()
            .map(|entry| match entry {
                Entry::Sample(sample) => sample,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(samples.len() > 1 && samples.iter().all(|sample| sample.at_ms == 7));
        assert_eq!(samples.iter().map(|sample| sample.quiet).sum::<u64>(), 2, "told once");
        assert_eq!(samples.into_iter().flat_map(|sample| sample.items).collect::<Vec<_>>(), items);
    }

    #[test]
    fn these_are_the_bytes_of_the_documentation() {
        let sample = Entry::Sample(Sample {
            at_ms: 300,
            quiet: 2,
            items: vec![Item::Figures { number: 0, changed: vec![(0, Some(31)), (8, None)] }],
        });
        let bytes = [10, 0, 0, 0, 0x7e, 0x5f, 0x78, 0xbe, 2, 0xac, 0x02, 2, 2, 0, 0x81, 0x02, 32, 0];
        assert_eq!(written(&[sample]), bytes);
    }
}
