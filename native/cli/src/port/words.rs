//! How core's values look as Erlang terms: what `native/nif/src/terms.rs` is to the NIF. The same keys and errors, so that it
//! makes no difference to the VM who has read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use accept_queue_core::linux::counters::Kernel;
use accept_queue_core::outside::remote::RemoteSocket;
use accept_queue_core::outside::remote_watch::{Answer, Lost};
use accept_queue_core::reading::held::Held;
use accept_queue_core::rules::advice::{Advice, AdviceSeverity, Backend, Facts};
use accept_queue_core::rules::detector::{Change, Condition, ConditionEvidence, Settings};
use accept_queue_core::rules::history::{CensusTaken, DepthReading, Span, Status};
use accept_queue_core::rules::verdict::{ListenerState, Symptom};
use accept_queue_core::{Address, Cookie, Counts, Depth, Endpoint, Error, Inode, Interface, Listening};

use super::etf::Term;
use super::watchdog::Hung;

pub(crate) fn atom(name: &str) -> Term {
    Term::Atom(name.to_owned())
}

pub(crate) fn tuple<const N: usize>(elements: [Term; N]) -> Term {
    Term::Tuple(elements.into())
}

fn map<const N: usize>(pairs: [(&str, Term); N]) -> Term {
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

/// The second half of `{error, Reason}`.
impl From<Error> for Term {
    fn from(error: Error) -> Term {
        atom(match error {
            Error::Unsupported => "unsupported",
            Error::NotListening => "not_listening",
            Error::Closed => "closed",
            Error::NotFound => "not_found",
            Error::Truncated => "truncated",
            Error::Interrupted => "interrupted",
            Error::Timeout => "timeout",
            Error::AlreadyWritten => "already_written",
            Error::Errno(errno) => match errno.name() {
                name @ ("eacces" | "eperm") => name,
                name => return tuple([atom("errno"), atom(name)]),
            },
        })
    }
}

impl From<Lost> for Term {
    fn from(_: Lost) -> Term {
        atom("lost")
    }
}

/// A watch that is lost is an error among the others.
pub(crate) fn answer<T: Into<Term>>(answer: Answer<T>) -> Term {
    match answer {
        Ok(read) => read.into(),
        Err(lost) => Err::<T, _>(lost).into(),
    }
}

impl From<Cookie> for Term {
    fn from(cookie: Cookie) -> Term {
        cookie.0.into()
    }
}

impl From<Inode> for Term {
    fn from(inode: Inode) -> Term {
        inode.0.into()
    }
}

/// With the scope in third place where the address means nothing without it.
impl From<Address> for Term {
    fn from(address: Address) -> Term {
        let port = u32::from(address.port).into();
        match address.ip {
            IpAddr::V4(v4) => tuple([tuple(v4.octets().map(|octet| u32::from(octet).into())), port]),
            IpAddr::V6(v6) => {
                let ip = tuple(v6.segments().map(|segment| u32::from(segment).into()));
                if v6.is_unicast_link_local() {
                    tuple([ip, port, address.interface.0.into()])
                } else {
                    tuple([ip, port])
                }
            }
        }
    }
}

/// `{Ip, Port}` as `inet` spells it, and `{local, Path}`.
impl From<Endpoint> for Term {
    fn from(endpoint: Endpoint) -> Term {
        match endpoint {
            Endpoint::Tcp(address) => address.into(),
            Endpoint::Unix(name) => tuple([atom("local"), Term::Binary(name)]),
        }
    }
}

/// `{Fd, Cookie, Inode, Address}`: of these a handle is made.
impl From<RemoteSocket> for Term {
    fn from(socket: RemoteSocket) -> Term {
        tuple([socket.fd.into(), socket.cookie.into(), socket.inode.into(), socket.endpoint.into()])
    }
}

impl From<Depth> for Term {
    fn from(depth: Depth) -> Term {
        tuple([depth.queued.into(), depth.limit.into(), depth.drops.into()])
    }
}

impl From<Counts> for Term {
    fn from(counts: Counts) -> Term {
        map([
            ("queued", counts.queued.into()),
            ("limit", counts.limit.into()),
            ("drops", counts.drops.into()),
            ("syn_recv", counts.syn_recv.into()),
            ("queued_alive", counts.queued_alive.into()),
            ("queued_closed", counts.queued_closed.into()),
            ("queued_reset", counts.queued_reset().into()),
            ("queued_bytes", counts.queued_bytes.into()),
            ("oldest_wait_ms", counts.oldest_wait.into()),
            ("established", counts.established.into()),
            ("close_wait", counts.close_wait.into()),
            ("sockets", counts.sockets.into()),
        ])
    }
}

impl From<Listening> for Term {
    fn from(listening: Listening) -> Term {
        let Listening { endpoint, cookie, inode, depth } = listening;
        map([
            ("address", endpoint.into()),
            ("cookie", cookie.into()),
            ("inode", inode.into()),
            ("queued", depth.queued.into()),
            ("limit", depth.limit.into()),
            ("drops", depth.drops.into()),
        ])
    }
}

impl From<Held> for Term {
    fn from(held: Held) -> Term {
        map([
            ("fd", held.fd.into()),
            ("inode", held.inode.into()),
            ("peer", held.peer.into()),
            ("recv_bytes", held.unread.into()),
            ("age_ms", held.silent.into()),
        ])
    }
}

impl From<Kernel> for Term {
    fn from(kernel: Kernel) -> Term {
        map(kernel.figures().map(|(name, figure)| (name, figure.into())))
    }
}

/// `{event, hung, Details}`.
impl From<Hung> for Term {
    fn from(hung: Hung) -> Term {
        let Hung { lasted, file, finding } = hung;
        let (file, reason) = match file {
            Ok(path) => (Some(Term::Binary(path.into_os_string().into_encoded_bytes())), None),
            Err(sentence) => (None, Some(Term::Binary(sentence.into_bytes()))),
        };
        let (finding, text) = finding.map(|found| (atom(found.id), Term::Binary(found.text.into_bytes()))).unzip();
        map([
            ("duration_ms", lasted.into()),
            ("file", file.into()),
            ("reason", reason.into()),
            ("finding", finding.into()),
            ("text", text.into()),
        ])
    }
}

impl From<Settings> for Term {
    fn from(settings: Settings) -> Term {
        map([
            ("interval_ms", settings.interval.into()),
            ("max_wait_ms", settings.max_wait.into()),
            ("for_ms", settings.hold_for.into()),
            ("stuck_ms", settings.stuck.into()),
            ("abandoned_ratio", Term::Float(settings.abandoned_ratio)),
            ("abandoned_min", settings.abandoned_min.into()),
            ("close_wait_max", settings.close_wait_max.into()),
            ("clear_ms", settings.clear.into()),
            ("census_ms", settings.census.into()),
        ])
    }
}

/// `{Queued, Limit, Drops, Changes, WantsLook}`.
impl From<DepthReading> for Term {
    fn from(reading: DepthReading) -> Term {
        let DepthReading { depth, drops, changes, wants_census, .. } = reading;
        tuple([depth.queued.into(), depth.limit.into(), drops.into(), changes.into(), wants_census.into()])
    }
}

/// `{Counts, Changes}`.
impl From<CensusTaken> for Term {
    fn from(census: CensusTaken) -> Term {
        tuple([census.counts.into(), census.changes.into()])
    }
}

/// `{raised | cleared, Condition, Evidence}`.
impl From<Change> for Term {
    fn from(change: Change) -> Term {
        match change {
            Change::Raised { condition, evidence } => tuple([atom("raised"), condition.into(), evidence.into()]),
            Change::Cleared { condition, evidence } => tuple([atom("cleared"), condition.into(), evidence.into()]),
        }
    }
}

impl From<Condition> for Term {
    fn from(condition: Condition) -> Term {
        atom(match condition {
            Condition::Behind => "behind",
            Condition::Overflowing => "overflowing",
            Condition::Stuck => "stuck",
            Condition::Abandoned => "abandoned",
            Condition::Leaking => "leaking",
        })
    }
}

impl From<ConditionEvidence> for Term {
    fn from(evidence: ConditionEvidence) -> Term {
        map([
            ("held_ms", evidence.held_for.into()),
            ("counts", evidence.counts.into()),
            ("dropped", evidence.dropped.into()),
            ("dropped_otherwise", evidence.dropped_otherwise.into()),
        ])
    }
}

impl From<Status> for Term {
    fn from(status: Status) -> Term {
        let raised = |(condition, since): (Condition, Duration)| tuple([condition.into(), since.into()]);
        let (counts, counts_ago) = status.counts.unzip();
        map([
            ("conditions", Term::List(status.conditions.into_iter().map(raised).collect())),
            ("depth", status.depth.into()),
            ("drops", status.drops.into()),
            ("counts", counts.into()),
            ("counts_ago_ms", counts_ago.into()),
            ("window", status.window.into()),
            ("watched_ms", status.watched_for.into()),
            ("read_ago_ms", status.read_ago.into()),
        ])
    }
}

impl From<Span> for Term {
    fn from(span: Span) -> Term {
        map([
            ("min", span.min.into()),
            ("max", span.max.into()),
            ("mean", Term::Float(span.mean)),
            ("peak_ago_ms", span.peak_ago.into()),
        ])
    }
}

impl From<Advice> for Term {
    fn from(advice: Advice) -> Term {
        let severity = match advice.severity {
            AdviceSeverity::Info => "info",
            AdviceSeverity::Warning => "warning",
            AdviceSeverity::Error => "error",
        };
        let figures = advice.evidence.into_iter().map(|(name, figure)| (atom(name), figure.into()));
        map([
            ("id", atom(advice.id)),
            ("severity", atom(severity)),
            ("text", Term::Binary(advice.text.into_bytes())),
            ("evidence", Term::Map(figures.collect())),
        ])
    }
}

impl From<Symptom> for Term {
    fn from(finding: Symptom) -> Term {
        match finding {
            Symptom::Full => atom("full"),
            Symptom::NoAcceptor => atom("nobody_accepts"),
            Symptom::Behind => atom("behind"),
            Symptom::Left(count) => tuple([atom("left"), count.into()]),
            Symptom::Leaking(count) => tuple([atom("leaking"), count.into()]),
        }
    }
}

/// What the VM has sent. `None`: the term is not what is wanted.
pub(crate) trait Asked: Sized {
    /// What the term means.
    fn asked(term: &Term) -> Option<Self>;
}

macro_rules! asked_integers {
    ($($integer:ty)*) => { $(
        impl Asked for $integer {
            fn asked(term: &Term) -> Option<Self> {
                if let Term::Integer(integer) = term { (*integer).try_into().ok() } else { None }
            }
        }
    )* };
}
asked_integers!(i32 u8 u16 u32 u64);

impl Asked for bool {
    fn asked(term: &Term) -> Option<Self> {
        match word(term)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

impl Asked for f64 {
    fn asked(term: &Term) -> Option<Self> {
        if let Term::Float(float) = term { Some(*float) } else { None }
    }
}

/// Of milliseconds.
impl Asked for Duration {
    fn asked(term: &Term) -> Option<Self> {
        u64::asked(term).map(Duration::from_millis)
    }
}

impl<T: Asked> Asked for Vec<T> {
    fn asked(term: &Term) -> Option<Self> {
        if let Term::List(elements) = term { elements.iter().map(T::asked).collect() } else { None }
    }
}

impl<T: Asked, const N: usize> Asked for [T; N] {
    fn asked(term: &Term) -> Option<Self> {
        let Term::Tuple(elements) = term else { return None };
        elements.iter().map(T::asked).collect::<Option<Vec<T>>>()?.try_into().ok()
    }
}

impl Asked for Endpoint {
    fn asked(term: &Term) -> Option<Self> {
        let Term::Tuple(elements) = term else { return None };
        match &elements[..] {
            [local, Term::Binary(name)] if word(local) == Some("local") => Some(Endpoint::Unix(name.clone())),
            [ip, port] => tcp(ip, port, Interface::default()),
            [ip, port, scope] => tcp(ip, port, Interface(u32::asked(scope)?)),
            _ => None,
        }
    }
}

fn tcp(ip: &Term, port: &Term, interface: Interface) -> Option<Endpoint> {
    let v4 = || Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::asked(ip)?)));
    let v6 = || Some(IpAddr::from(Ipv6Addr::from(<[u16; 8]>::asked(ip)?)));
    Some(Endpoint::Tcp(Address { ip: v4().or_else(v6)?, port: u16::asked(port)?, interface }))
}

impl Asked for RemoteSocket {
    fn asked(term: &Term) -> Option<Self> {
        let Term::Tuple(elements) = term else { return None };
        let [fd, cookie, inode, endpoint] = &elements[..] else { return None };
        Some(RemoteSocket {
            fd: Asked::asked(fd)?,
            cookie: Cookie(Asked::asked(cookie)?),
            inode: Inode(Asked::asked(inode)?),
            endpoint: Asked::asked(endpoint)?,
        })
    }
}

impl Asked for Settings {
    fn asked(settings: &Term) -> Option<Self> {
        Some(Settings {
            interval: figure(settings, "interval_ms")?,
            max_wait: figure(settings, "max_wait_ms")?,
            hold_for: figure(settings, "for_ms")?,
            stuck: figure(settings, "stuck_ms")?,
            abandoned_ratio: figure(settings, "abandoned_ratio")?,
            abandoned_min: figure(settings, "abandoned_min")?,
            close_wait_max: figure(settings, "close_wait_max")?,
            clear: figure(settings, "clear_ms")?,
            census: figure(settings, "census_ms")?,
        })
    }
}

impl Asked for Facts {
    fn asked(facts: &Term) -> Option<Self> {
        Some(Facts {
            backend: known(facts, "backend")?,
            requested: known(facts, "requested")?,
            limit: known(facts, "limit")?,
            queued: known(facts, "queued")?,
            oldest_wait: known(facts, "oldest_wait_ms")?,
            pool: known(facts, "pool")?,
            waiting_acceptors: known(facts, "waiting_acceptors")?,
            somaxconn: known(facts, "somaxconn")?,
            tcp_abort_on_overflow: known(facts, "tcp_abort_on_overflow")?,
            tcp_syncookies: known(facts, "tcp_syncookies")?,
        })
    }
}

impl Asked for Backend {
    fn asked(term: &Term) -> Option<Self> {
        match word(term)? {
            "inet" => Some(Backend::Inet),
            "socket" => Some(Backend::Socket),
            _ => None,
        }
    }
}

impl Asked for ListenerState {
    fn asked(standing: &Term) -> Option<Self> {
        let left = [figure::<u32>(standing, "queued_closed")?, figure(standing, "queued_reset")?];
        Some(ListenerState {
            queued: figure(standing, "queued")?,
            limit: figure(standing, "limit")?,
            left: left[0].saturating_add(left[1]),
            oldest_wait: known(standing, "oldest_wait_ms")?,
            close_wait: figure(standing, "close_wait")?,
            waiting_acceptors: known(standing, "waiting_acceptors")?,
        })
    }
}

pub(crate) fn word(term: &Term) -> Option<&str> {
    if let Term::Atom(name) = term { Some(name) } else { None }
}

fn value<'a>(map: &'a Term, key: &str) -> Option<Option<&'a Term>> {
    let Term::Map(pairs) = map else { return None };
    Some(pairs.iter().find(|(name, _)| word(name) == Some(key)).map(|(_, value)| value))
}

fn figure<T: Asked>(map: &Term, key: &str) -> Option<T> {
    T::asked(value(map, key)??)
}

/// The key may be missing, or `undefined`.
fn known<T: Asked>(map: &Term, key: &str) -> Option<Option<T>> {
    match value(map, key)? {
        None => Some(None),
        Some(value) if word(value) == Some("undefined") => Some(None),
        Some(value) => T::asked(value).map(Some),
    }
}
