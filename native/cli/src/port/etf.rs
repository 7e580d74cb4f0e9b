//! Erlang's external term format (ERTS User's Guide), as far as the protocol uses it. Pure.
//!
//! Written here, because a frame is untrusted: eetf 0.12 and erlang-term 1.1 recurse as deep as a frame nests, into a stack
//! overflow that cannot be caught; eetf also allocates what a length claims, unpacks compressed terms without a bound and panics
//! on two tags.

/// An Erlang term of the kinds that the protocol uses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Term {
    /// Holds every u64, a cookie for example, and every i64.
    Integer(i128),
    Float(f64),
    Atom(String),
    Binary(Vec<u8>),
    Tuple(Vec<Term>),
    List(Vec<Term>),
    Map(Vec<(Term, Term)>),
}

/// The bytes are no term of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it is cut short")]
    Short,
    #[error("bytes follow the term")]
    Long,
    #[error("it is of another version of the format")]
    Version,
    #[error("it holds a term of a kind that the protocol does not use")]
    Kind,
    #[error("it is nested deeper than the protocol goes")]
    Deep,
}

/// The deepest request is a watch: request, arguments, handle, socket, address, octets.
const DEPTH: usize = 12;

const VERSION: u8 = 131;
const NEW_FLOAT: u8 = 70;
const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const ATOM: u8 = 100;
const SMALL_TUPLE: u8 = 104;
const LARGE_TUPLE: u8 = 105;
const NIL: u8 = 106;
const STRING: u8 = 107;
const LIST: u8 = 108;
const BINARY: u8 = 109;
const SMALL_BIG: u8 = 110;
const MAP: u8 = 116;
const ATOM_UTF8: u8 = 118;
const SMALL_ATOM_UTF8: u8 = 119;

impl Term {
    /// From all of the bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Term, Malformed> {
        let mut rest = Bytes(bytes);
        if rest.byte()? != VERSION {
            return Err(Malformed::Version);
        }
        let term = rest.term(DEPTH)?;
        if rest.0.is_empty() { Ok(term) } else { Err(Malformed::Long) }
    }

    /// For `binary_to_term/2`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        self.append(&mut bytes);
        bytes
    }

    fn append(&self, bytes: &mut Vec<u8>) {
        match self {
            Term::Integer(integer) => append_integer(*integer, bytes),
            Term::Float(float) => {
                bytes.push(NEW_FLOAT);
                bytes.extend(float.to_be_bytes());
            }
            Term::Atom(name) => {
                bytes.push(ATOM_UTF8);
                bytes.extend((name.len() as u16).to_be_bytes());
                bytes.extend(name.as_bytes());
            }
            Term::Binary(binary) => {
                bytes.push(BINARY);
                append_count(binary.len(), bytes);
                bytes.extend(binary);
            }
            Term::Tuple(elements) => {
                bytes.push(LARGE_TUPLE);
                append_count(elements.len(), bytes);
                elements.iter().for_each(|element| element.append(bytes));
            }
            Term::List(elements) if elements.is_empty() => bytes.push(NIL),
            Term::List(elements) => {
                bytes.push(LIST);
                append_count(elements.len(), bytes);
                elements.iter().for_each(|element| element.append(bytes));
                bytes.push(NIL);
            }
            Term::Map(pairs) => {
                bytes.push(MAP);
                append_count(pairs.len(), bytes);
                for (key, value) in pairs {
                    key.append(bytes);
                    value.append(bytes);
                }
            }
        }
    }
}

fn append_count(count: usize, bytes: &mut Vec<u8>) {
    bytes.extend((count as u32).to_be_bytes());
}

fn append_integer(integer: i128, bytes: &mut Vec<u8>) {
    if let Ok(small) = i32::try_from(integer) {
        bytes.push(INTEGER);
        bytes.extend(small.to_be_bytes());
    } else {
        let magnitude = integer.unsigned_abs().to_le_bytes();
        let digits = magnitude.iter().rposition(|&digit| digit != 0).map_or(0, |last| last + 1);
        bytes.extend([SMALL_BIG, digits as u8, u8::from(integer < 0)]);
        bytes.extend(&magnitude[..digits]);
    }
}

/// The bytes that are not read yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn term(&mut self, depth: usize) -> Result<Term, Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::Deep)?;
        match self.byte()? {
            SMALL_INTEGER => Ok(Term::Integer(self.byte()?.into())),
            INTEGER => Ok(Term::Integer(i32::from_be_bytes(self.array()?).into())),
            SMALL_BIG => self.big(),
            NEW_FLOAT => Ok(Term::Float(f64::from_be_bytes(self.array()?))),
            ATOM | ATOM_UTF8 => {
                let length = u16::from_be_bytes(self.array()?).into();
                self.atom(length)
            }
            SMALL_ATOM_UTF8 => {
                let length = self.byte()?.into();
                self.atom(length)
            }
            BINARY => {
                let length = self.count()?;
                Ok(Term::Binary(self.take(length)?.to_vec()))
            }
            SMALL_TUPLE => {
                let count = self.byte()?.into();
                self.terms(count, depth).map(Term::Tuple)
            }
            LARGE_TUPLE => {
                let count = self.count()?;
                self.terms(count, depth).map(Term::Tuple)
            }
            NIL => Ok(Term::List(Vec::new())),
            STRING => {
                let length = u16::from_be_bytes(self.array()?).into();
                Ok(Term::List(self.take(length)?.iter().map(|&byte| Term::Integer(byte.into())).collect()))
            }
            LIST => {
                let count = self.count()?;
                let elements = self.terms(count, depth)?;
                if self.byte()? == NIL { Ok(Term::List(elements)) } else { Err(Malformed::Kind) }
            }
            MAP => {
                let count = self.count()?;
                let pair = |bytes: &mut Self| Ok((bytes.term(depth)?, bytes.term(depth)?));
                (0..count).map(|_| pair(self)).collect::<Result<_, _>>().map(Term::Map)
            }
            _ => Err(Malformed::Kind),
        }
    }

    /// Grows as terms are read: a claimed number allocates nothing.
    fn terms(&mut self, count: usize, depth: usize) -> Result<Vec<Term>, Malformed> {
        let mut terms = Vec::new();
        for _ in 0..count {
            terms.push(self.term(depth)?);
        }
        Ok(terms)
    }

    fn big(&mut self) -> Result<Term, Malformed> {
        let length = self.byte()?.into();
        let is_negative = self.byte()? != 0;
        let digits = self.take(length)?;
        let mut magnitude = [0; 8];
        magnitude.get_mut(..length).ok_or(Malformed::Kind)?.copy_from_slice(digits);
        let magnitude = i128::from(u64::from_le_bytes(magnitude));
        Ok(Term::Integer(if is_negative { -magnitude } else { magnitude }))
    }

    fn atom(&mut self, length: usize) -> Result<Term, Malformed> {
        let name = str::from_utf8(self.take(length)?).map_err(|_| Malformed::Kind)?;
        Ok(Term::Atom(name.to_owned()))
    }

    fn count(&mut self) -> Result<usize, Malformed> {
        Ok(u32::from_be_bytes(self.array()?) as usize)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*array)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms() -> impl Strategy<Value = Term> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(|integer| Term::Integer(integer.into())),
            any::<u64>().prop_map(|integer| Term::Integer(integer.into())),
            any::<u64>().prop_map(|integer| Term::Integer(-i128::from(integer))),
            (-1e300..1e300).prop_map(Term::Float),
            "[a-z_é]{0,30}".prop_map(Term::Atom),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Term::Binary),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Term::Tuple),
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Term::List),
                proptest::collection::vec((inner.clone(), inner), 0..4).prop_map(Term::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(term in terms()) {
            prop_assert_eq!(Term::decode(&term.encode()), Ok(term));
        }

        #[test]
        fn a_term_that_is_cut_short_is_malformed(term in terms(), at in any::<prop::sample::Index>()) {
            let bytes = term.encode();
            prop_assert!(Term::decode(&bytes[..at.index(bytes.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_a_term_or_malformed(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), tag in 60u8..125) {
            bytes.splice(0..0, [VERSION, tag]);
            let _ = Term::decode(&bytes);
        }
    }

    #[test]
    fn these_are_the_bytes_of_term_to_binary() {
        // {1, depth, [[#{a => <<"b">>}]], "ab", 4294967296, -1, 0.5}, as OTP 25 spells it.
        let bytes = [
            131, 104, 7, 97, 1, 100, 0, 5, 100, 101, 112, 116, 104, 108, 0, 0, 0, 1, 108, 0, 0, 0, 1, 116, 0, 0, 0, 1,
            100, 0, 1, 97, 109, 0, 0, 0, 1, 98, 106, 106, 107, 0, 2, 97, 98, 110, 5, 0, 0, 0, 0, 0, 1, 98, 255, 255,
            255, 255, 70, 63, 224, 0, 0, 0, 0, 0, 0,
        ];
        let atom = |name: &str| Term::Atom(name.to_owned());
        let map = Term::Map(vec![(atom("a"), Term::Binary(b"b".to_vec()))]);
        let expected = Term::Tuple(vec![
            Term::Integer(1),
            atom("depth"),
            Term::List(vec![Term::List(vec![map])]),
            Term::List(vec![Term::Integer(97), Term::Integer(98)]),
            Term::Integer(1 << 32),
            Term::Integer(-1),
            Term::Float(0.5),
        ]);
        assert_eq!(Term::decode(&bytes), Ok(expected));
    }

    #[test]
    fn a_frame_that_lies_costs_nothing() {
        let million_lists = [&[VERSION][..], &[LIST, 0, 0, 0, 1].repeat(1_000_000)].concat();
        for (what, bytes, why) in [
            ("nested without end", million_lists, Malformed::Deep),
            ("a tuple of four billion", vec![VERSION, LARGE_TUPLE, 255, 255, 255, 255], Malformed::Short),
            ("a map of four billion", vec![VERSION, MAP, 255, 255, 255, 255], Malformed::Short),
            ("a binary of four gigabytes", vec![VERSION, BINARY, 255, 255, 255, 255], Malformed::Short),
            ("compressed", vec![VERSION, 80, 0, 0, 0, 1, 0], Malformed::Kind),
            ("a distribution header", vec![VERSION, 68, 0], Malformed::Kind),
            ("an integer of 255 bytes", [&[VERSION, SMALL_BIG, 255, 0][..], &[1; 255]].concat(), Malformed::Kind),
            ("two terms", vec![VERSION, NIL, NIL], Malformed::Long),
            ("an older format", vec![130, NIL], Malformed::Version),
            ("nothing", vec![], Malformed::Short),
        ] {
            assert_eq!(Term::decode(&bytes), Err(why), "{what}");
        }
    }
}
