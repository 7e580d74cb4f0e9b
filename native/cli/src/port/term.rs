//! Plain values as terms, whatever is said with them.

use std::time::Duration;

use super::etf::Term;

pub(crate) fn atom(name: &str) -> Term {
    Term::Atom(name.to_owned())
}

pub(crate) fn tuple<const N: usize>(elements: [Term; N]) -> Term {
    Term::Tuple(elements.into())
}

pub(crate) fn map<const N: usize>(pairs: [(&str, Term); N]) -> Term {
    Term::Map(pairs.map(|(key, value)| (atom(key), value)).into())
}

impl From<u32> for Term {
    fn from(figure: u32) -> Term {
        Term::Integer(figure.into())
    }
}

impl From<i32> for Term {
    fn from(figure: i32) -> Term {
        Term::Integer(figure.into())
    }
}

impl From<u64> for Term {
    fn from(figure: u64) -> Term {
        Term::Integer(figure.into())
    }
}

impl From<usize> for Term {
    fn from(figure: usize) -> Term {
        Term::Integer(figure as i128)
    }
}

impl From<bool> for Term {
    fn from(value: bool) -> Term {
        atom(if value { "true" } else { "false" })
    }
}

/// Milliseconds.
impl From<Duration> for Term {
    fn from(duration: Duration) -> Term {
        Term::from(duration.as_millis() as u64)
    }
}

impl<T: Into<Term>> From<Vec<T>> for Term {
    fn from(elements: Vec<T>) -> Term {
        Term::List(elements.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Term>> From<Option<T>> for Term {
    fn from(value: Option<T>) -> Term {
        value.map_or_else(|| atom("undefined"), Into::into)
    }
}

impl<T: Into<Term>, E: Into<Term>> From<Result<T, E>> for Term {
    fn from(result: Result<T, E>) -> Term {
        match result {
            Ok(value) => tuple([atom("ok"), value.into()]),
            Err(error) => tuple([atom("error"), error.into()]),
        }
    }
}

/// The name of an atom.
pub(crate) fn word(term: &Term) -> Option<&str> {
    if let Term::Atom(name) = term { Some(name) } else { None }
}
