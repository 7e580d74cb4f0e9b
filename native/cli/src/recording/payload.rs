//! An entry as the payload of a frame, both ways.

use accept_queue_core::rules::detector::Condition;

use super::{Entry, FIGURES, GREATEST, InvalidEntry, Item, RecordedOwner, SampleEntry};

/// A condition is recorded as its place in this list.
const CONDITIONS: [Condition; 5] =
    [Condition::Behind, Condition::Overflowing, Condition::Stuck, Condition::Abandoned, Condition::Leaking];

impl Entry {
    /// From a whole payload.
    pub(crate) fn read(payload: &[u8]) -> Result<Entry, InvalidEntry> {
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
                Entry::Sample(SampleEntry { at_ms, quiet, items })
            }
            3 => Entry::Ended { at_ms: rest.number()?, why: rest.text()? },
            _ => return Err(InvalidEntry),
        };
        if rest.0.is_empty() { Ok(entry) } else { Err(InvalidEntry) }
    }
}

/// A payload in the making.
#[derive(Default)]
pub(super) struct Payload(pub(super) Vec<u8>);

impl Payload {
    pub(super) fn begun(epoch_ms: u64, interval_ms: u64, texts: [&str; 3]) -> Payload {
        let mut payload = Payload::default();
        payload.byte(1);
        payload.number(epoch_ms);
        payload.number(interval_ms);
        texts.into_iter().for_each(|text| payload.text(text));
        payload
    }

    /// Without its items.
    pub(super) fn sample(at_ms: u64, quiet: u64) -> Payload {
        let mut payload = Payload::default();
        payload.byte(2);
        payload.number(at_ms);
        payload.number(quiet);
        payload
    }

    pub(super) fn ended(at_ms: u64, why: &str) -> Payload {
        let mut payload = Payload::default();
        payload.byte(3);
        payload.number(at_ms);
        payload.text(why);
        payload
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

    pub(super) fn item(&mut self, item: &Item) {
        match item {
            Item::Listener { number, namespace, address, owners } => {
                self.byte(1);
                self.number(*number);
                self.number(*namespace);
                self.text(address);
                self.number(owners.len() as u64);
                for RecordedOwner { pid, name } in owners {
                    self.number(*pid);
                    self.text(name);
                }
            }
            Item::Figures { number, changed } => {
                self.byte(2);
                self.number(*number);
                self.number(changed.iter().fold(0, |mask, (figure, _)| mask | 1 << figure));
                for (_, figure) in changed {
                    // Plus one: 0 means unknown.
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

/// The part of a payload that is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn byte(&mut self) -> Result<u8, InvalidEntry> {
        let (byte, rest) = self.0.split_first().ok_or(InvalidEntry)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u64, InvalidEntry> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(InvalidEntry);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(InvalidEntry)
    }

    fn text(&mut self) -> Result<String, InvalidEntry> {
        let length = usize::try_from(self.number()?).map_err(|_| InvalidEntry)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(InvalidEntry)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| InvalidEntry)
    }

    fn condition(&mut self) -> Result<Condition, InvalidEntry> {
        CONDITIONS.get(usize::from(self.byte()?)).copied().ok_or(InvalidEntry)
    }

    fn item(&mut self) -> Result<Item, InvalidEntry> {
        Ok(match self.byte()? {
            1 => Item::Listener {
                number: self.number()?,
                namespace: self.number()?,
                address: self.text()?,
                // Collected one by one: a claimed number allocates nothing.
                owners: (0..self.number()?)
                    .map(|_| Ok(RecordedOwner { pid: self.number()?, name: self.text()? }))
                    .collect::<Result<_, _>>()?,
            },
            2 => {
                let (number, mask) = (self.number()?, self.number()?);
                if mask >> FIGURES.len() != 0 {
                    return Err(InvalidEntry);
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
            _ => return Err(InvalidEntry),
        })
    }
}
