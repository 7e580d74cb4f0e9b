//! The arguments of a command, as core's values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use accept_queue_core::outside::remote::RemoteSocket;
use accept_queue_core::rules::advice::{Backend, Facts};
use accept_queue_core::rules::detector::Settings;
use accept_queue_core::rules::verdict::ListenerState;
use accept_queue_core::{Address, Cookie, Endpoint, Inode, Interface};

use super::etf::Term;
use super::term::word;

/// A value that the VM sends. `None`: the term has another form.
pub(crate) trait Argument: Sized {
    fn from_term(term: &Term) -> Option<Self>;
}

macro_rules! integer_arguments {
    ($($integer:ty)*) => { $(
        impl Argument for $integer {
            fn from_term(term: &Term) -> Option<Self> {
                if let Term::Integer(integer) = term { (*integer).try_into().ok() } else { None }
            }
        }
    )* };
}
integer_arguments!(i32 u8 u16 u32 u64);

impl Argument for bool {
    fn from_term(term: &Term) -> Option<Self> {
        match word(term)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

impl Argument for f64 {
    fn from_term(term: &Term) -> Option<Self> {
        if let Term::Float(float) = term { Some(*float) } else { None }
    }
}

/// Of milliseconds.
impl Argument for Duration {
    fn from_term(term: &Term) -> Option<Self> {
        u64::from_term(term).map(Duration::from_millis)
    }
}

impl<T: Argument> Argument for Vec<T> {
    fn from_term(term: &Term) -> Option<Self> {
        if let Term::List(elements) = term { elements.iter().map(T::from_term).collect() } else { None }
    }
}

impl<T: Argument, const N: usize> Argument for [T; N] {
    fn from_term(term: &Term) -> Option<Self> {
        let Term::Tuple(elements) = term else { return None };
        elements.iter().map(T::from_term).collect::<Option<Vec<T>>>()?.try_into().ok()
    }
}

impl Argument for Endpoint {
    fn from_term(term: &Term) -> Option<Self> {
        let Term::Tuple(elements) = term else { return None };
        match &elements[..] {
            [local, Term::Binary(name)] if word(local) == Some("local") => Some(Endpoint::Unix(name.clone())),
            [ip, port] => tcp(ip, port, Interface::default()),
            [ip, port, scope] => tcp(ip, port, Interface(u32::from_term(scope)?)),
            _ => None,
        }
    }
}

fn tcp(ip: &Term, port: &Term, interface: Interface) -> Option<Endpoint> {
    let v4 = || Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::from_term(ip)?)));
    let v6 = || Some(IpAddr::from(Ipv6Addr::from(<[u16; 8]>::from_term(ip)?)));
    Some(Endpoint::Tcp(Address { ip: v4().or_else(v6)?, port: u16::from_term(port)?, interface }))
}

impl Argument for RemoteSocket {
    fn from_term(term: &Term) -> Option<Self> {
        let Term::Tuple(elements) = term else { return None };
        let [fd, cookie, inode, endpoint] = &elements[..] else { return None };
        Some(RemoteSocket {
            fd: Argument::from_term(fd)?,
            cookie: Cookie(Argument::from_term(cookie)?),
            inode: Inode(Argument::from_term(inode)?),
            endpoint: Argument::from_term(endpoint)?,
        })
    }
}

impl Argument for Settings {
    fn from_term(settings: &Term) -> Option<Self> {
        Some(Settings {
            interval: required(settings, "interval_ms")?,
            max_wait: required(settings, "max_wait_ms")?,
            hold_for: required(settings, "for_ms")?,
            stuck: required(settings, "stuck_ms")?,
            abandoned_ratio: required(settings, "abandoned_ratio")?,
            abandoned_min: required(settings, "abandoned_min")?,
            close_wait_max: required(settings, "close_wait_max")?,
            clear: required(settings, "clear_ms")?,
            census: required(settings, "census_ms")?,
            sample: required(settings, "sample_ms")?,
        })
    }
}

impl Argument for Facts {
    fn from_term(facts: &Term) -> Option<Self> {
        Some(Facts {
            backend: optional(facts, "backend")?,
            requested: optional(facts, "requested")?,
            limit: optional(facts, "limit")?,
            queued: optional(facts, "queued")?,
            oldest_wait: optional(facts, "oldest_wait_ms")?,
            pool: optional(facts, "pool")?,
            waiting_acceptors: optional(facts, "waiting_acceptors")?,
            somaxconn: optional(facts, "somaxconn")?,
            tcp_abort_on_overflow: optional(facts, "tcp_abort_on_overflow")?,
            tcp_syncookies: optional(facts, "tcp_syncookies")?,
        })
    }
}

impl Argument for Backend {
    fn from_term(term: &Term) -> Option<Self> {
        match word(term)? {
            "inet" => Some(Backend::Inet),
            "socket" => Some(Backend::Socket),
            _ => None,
        }
    }
}

impl Argument for ListenerState {
    fn from_term(state: &Term) -> Option<Self> {
        let left = [optional::<u32>(state, "queued_closed")?, optional(state, "queued_reset")?];
        let (queued, limit) = (required(state, "queued")?, required(state, "limit")?);
        Some(ListenerState {
            queued,
            limit,
            is_full: queued > limit,
            left: left[0].zip(left[1]).map(|(closed, reset)| closed.saturating_add(reset)),
            oldest_wait: optional(state, "oldest_wait_ms")?,
            close_wait: required(state, "close_wait")?,
            waiting_acceptors: optional(state, "waiting_acceptors")?,
        })
    }
}

fn lookup<'a>(map: &'a Term, key: &str) -> Option<Option<&'a Term>> {
    let Term::Map(pairs) = map else { return None };
    Some(pairs.iter().find(|(name, _)| word(name) == Some(key)).map(|(_, value)| value))
}

fn required<T: Argument>(map: &Term, key: &str) -> Option<T> {
    T::from_term(lookup(map, key)??)
}

/// The key may be missing, or `undefined`.
fn optional<T: Argument>(map: &Term, key: &str) -> Option<Option<T>> {
    match lookup(map, key)? {
        None => Some(None),
        Some(value) if word(value) == Some("undefined") => Some(None),
        Some(value) => T::from_term(value).map(Some),
    }
}
