//! What core reads, as Erlang terms: what `native/nif/src/terms.rs` is to the NIF. The same keys and errors, so that the VM
//! gets the same answers from both.

use std::net::IpAddr;
use std::time::Duration;

use accept_queue_core::linux::counters::Kernel;
use accept_queue_core::outside::remote::RemoteSocket;
use accept_queue_core::outside::remote_watch::{Answer, Lost};
use accept_queue_core::reading::accepted::Accepted;
use accept_queue_core::reading::held::Held;
use accept_queue_core::reading::waits::Waits;
use accept_queue_core::rules::advice::{Advice, AdviceSeverity};
use accept_queue_core::rules::detector::{Change, Condition, ConditionEvidence, Settings, SocketEvidence};
use accept_queue_core::rules::history::{CensusTaken, DepthReading, Span, Status};
use accept_queue_core::rules::verdict::Symptom;
use accept_queue_core::{Address, Cookie, Counts, Depth, Endpoint, Error, Inode, Listening, QueueKey};

use super::etf::Term;
use super::term::{atom, map, tuple};

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

/// A lost watch is an error among the others.
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

/// With the scope in third place where the address is ambiguous without it.
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

/// `{Fd, Cookie, Inode, Address}`: the parts of a handle.
impl From<RemoteSocket> for Term {
    fn from(socket: RemoteSocket) -> Term {
        tuple([socket.fd.into(), socket.cookie.into(), socket.inode.into(), socket.endpoint.into()])
    }
}

/// As `own` answers: `{{Fd, Cookie, Inode, Address}, {Interface, Namespace, Cookie}, Device}`.
impl From<(RemoteSocket, Option<String>)> for Term {
    fn from((socket, device): (RemoteSocket, Option<String>)) -> Term {
        let key = socket.queue_key();
        tuple([socket.into(), key.into(), device.map(|name| Term::Binary(name.into_bytes())).into()])
    }
}

/// What an address leaves open. Two sockets of one address are one queue where this is the same.
impl From<QueueKey> for Term {
    fn from(QueueKey { endpoint, namespace, cookie }: QueueKey) -> Term {
        tuple([endpoint.interface().0.into(), namespace.into(), cookie.into()])
    }
}

impl From<Depth> for Term {
    fn from(depth: Depth) -> Term {
        tuple([depth.queued.into(), depth.limit.into(), depth.drops.into()])
    }
}

/// `{WaitMs, PeerClosed}`.
impl From<Accepted> for Term {
    fn from(accepted: Accepted) -> Term {
        tuple([accepted.wait.into(), accepted.peer_closed.into()])
    }
}

impl From<Waits> for Term {
    fn from(waits: Waits) -> Term {
        let bucket = |(up_to, count): (Option<u64>, u64)| {
            tuple([up_to.map_or_else(|| atom("infinity"), Term::from), count.into()])
        };
        map([
            ("count", waits.count().into()),
            ("sum_ms", waits.sum_ms.into()),
            ("max_ms", waits.max_ms().into()),
            ("p50_ms", waits.percentile_ms(50).into()),
            ("p99_ms", waits.percentile_ms(99).into()),
            ("buckets", Term::List(waits.buckets().map(bucket).collect())),
        ])
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
            ("sample_ms", settings.sample.into()),
        ])
    }
}

/// `{Queued, Limit, Drops, Changes, WantsCensus, news | sample | quiet}`.
impl From<DepthReading> for Term {
    fn from(reading: DepthReading) -> Term {
        let kind = kind(reading.is_news(), reading.is_sample);
        let DepthReading { depth, drops, changes, wants_census, .. } = reading;
        tuple([depth.queued.into(), depth.limit.into(), drops.into(), changes.into(), wants_census.into(), kind])
    }
}

/// `{Counts, Changes, news | sample | quiet}`.
impl From<CensusTaken> for Term {
    fn from(taken: CensusTaken) -> Term {
        let kind = kind(!taken.changes.is_empty(), taken.is_sample);
        tuple([taken.counts.into(), taken.changes.into(), kind])
    }
}

fn kind(is_news: bool, is_sample: bool) -> Term {
    atom(match (is_news, is_sample) {
        (true, _) => "news",
        (false, true) => "sample",
        (false, false) => "quiet",
    })
}

/// `{raised | cleared, Condition, ConditionEvidence}`.
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
            ("socket", evidence.socket.into()),
        ])
    }
}

impl From<SocketEvidence> for Term {
    fn from(SocketEvidence { cookie, depth }: SocketEvidence) -> Term {
        map([("cookie", cookie.into()), ("queued", depth.queued.into()), ("limit", depth.limit.into())])
    }
}

impl From<(Status, Waits)> for Term {
    fn from((status, waits): (Status, Waits)) -> Term {
        let raised = |(condition, since): (Condition, Duration)| tuple([condition.into(), since.into()]);
        let (counts, counts_ago) = status.counts.unzip();
        map([
            ("conditions", Term::List(status.conditions.into_iter().map(raised).collect())),
            ("depth", status.depth.into()),
            ("drops", status.drops.into()),
            ("counts", counts.into()),
            ("counts_ago_ms", counts_ago.into()),
            ("census_every_ms", status.census_every.into()),
            ("window", status.window.into()),
            ("watched_ms", status.watched_for.into()),
            ("read_ago_ms", status.read_ago.into()),
            ("waits", waits.into()),
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
    fn from(symptom: Symptom) -> Term {
        match symptom {
            Symptom::Full => atom("full"),
            Symptom::NoAcceptor => atom("nobody_accepts"),
            Symptom::Behind => atom("behind"),
            Symptom::Left(count) => tuple([atom("left"), count.into()]),
            Symptom::Leaking(count) => tuple([atom("leaking"), count.into()]),
        }
    }
}
