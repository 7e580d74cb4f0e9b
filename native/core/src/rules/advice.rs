//! What is set wrongly, before anything breaks: facts in, advice out.
//!
//! A rule looks at facts of one listener, or of the kernel, and says nothing where a fact that it needs is not known. It
//! judges settings and not conditions: that a queue is full or is not accepted from is for others to say.

use std::time::Duration;

/// What is known of a listener and of the kernel around it. `None`: not known, or not asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Through which of OTP's two ways the socket was made.
    pub backend: Option<Backend>,
    /// The backlog that the owner asked for. The kernel does not keep it.
    pub requested: Option<u32>,
    /// The backlog in force.
    pub limit: Option<u32>,
    /// Connections that wait for accept.
    pub queued: Option<u32>,
    /// How long the longest-waiting of them has waited.
    pub oldest_wait: Option<Duration>,
    /// Processes that should accept.
    pub pool: Option<u32>,
    /// Processes that are blocked in accept at this moment.
    pub waiting_acceptors: Option<u32>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.tcp_abort_on_overflow`.
    pub tcp_abort_on_overflow: Option<u64>,
    /// `net.ipv4.tcp_syncookies`.
    pub tcp_syncookies: Option<u64>,
}

/// The two ways of OTP to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A port of the driver `tcp_inet`.
    Inet,
    /// The `socket` module, alone or inside gen_tcp.
    Socket,
}

/// One thing to set otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The rule that speaks.
    pub id: &'static str,
    /// How bad it is.
    pub severity: AdviceSeverity,
    /// For the person on call: what, which figure says so, the remedy.
    pub text: String,
    /// The figures that the rule went by.
    pub evidence: Vec<(&'static str, u64)>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdviceSeverity {
    /// May be meant so: worth a thought.
    Info,
    /// Clients will be lost under a load that the server could stand.
    Warning,
    /// What is in force is not at all what was asked for.
    Error,
}

/// What each of the rules has to say, in their order.
pub fn advise(facts: &Facts) -> Vec<Advice> {
    RULES.iter().filter_map(|rule| rule(facts)).collect()
}

const RULES: [fn(&Facts) -> Option<Advice>; 8] = [
    backlog_wraps,
    default_backlog,
    somaxconn_clips,
    drain_time,
    one_acceptor,
    many_acceptors,
    abort_on_overflow,
    no_syncookies,
];

/// What gen_tcp and `socket:listen/1` ask for by default (`LISTEN_BACKLOG` in inet_int.hrl).
const GEN_TCP_BACKLOG: u32 = 5;

/// To start from where nothing is known of the load: the default of ranch and of Thousand Island.
const USUAL_BACKLOG: u32 = 1024;

/// The inet driver takes the backlog as two bytes (`TCP_REQ_LISTEN` in `prim_inet:listen/2`).
const INET_BACKLOGS: u32 = 1 << 16;

/// What a client waits for an answer: the default of `gen_server:call/2`, and of many a proxy in front of a server.
const PATIENCE: Duration = Duration::from_millis(5000);

/// With fewer in the queue the rate at which it drains is a guess: that of 16 is wrong by a quarter (one over the root).
const QUEUED_FOR_A_RATE: u32 = 16;

/// The default of ranch.
const USUAL_ACCEPTORS: u32 = 10;

/// Up to here more acceptors cost nothing on the socket backend. From 64 on gen_tcp accepts about half as many a
/// second; with the inet driver their number makes no difference (`make bench PARTS=acceptors`).
const MANY_ACCEPTORS: u32 = 32;

/// More than 16 bits, and the driver passes on what is left of them: 65536 becomes 0, which holds one connection.
fn backlog_wraps(facts: &Facts) -> Option<Advice> {
    let limit = facts.limit.filter(|_| facts.backend == Some(Backend::Inet))?;
    let (severity, what, backlog, evidence) = match facts.requested {
        Some(requested) if wraps(facts) => (
            AdviceSeverity::Error,
            format!(
                "listen was asked for a backlog of {requested}, of which the inet driver passes on 16 bits, {}; {limit} \
                 is in force.",
                requested % INET_BACKLOGS
            ),
            INET_BACKLOGS - 1,
            vec![("requested", requested.into()), ("limit", limit.into())],
        ),
        None if limit == 0 => (
            AdviceSeverity::Warning,
            "The backlog in force is 0, so that one connection may wait. Either listen was asked for 0, or for a \
             multiple of 65536, of which the inet driver passes on 16 bits."
                .to_owned(),
            USUAL_BACKLOG,
            vec![("limit", 0)],
        ),
        _ => return None,
    };
    let text = format!("{what} {} and `{{backlog, {backlog}}}` in the listen options.", resize_now(backlog));
    Some(Advice { id: "backlog_wraps", severity, text, evidence })
}

fn wraps(facts: &Facts) -> bool {
    facts.backend == Some(Backend::Inet) && facts.requested.is_some_and(|requested| requested >= INET_BACKLOGS)
}

/// A burst of seven clients is enough to lose one.
fn default_backlog(facts: &Facts) -> Option<Advice> {
    let limit = facts.limit.filter(|&limit| limit == GEN_TCP_BACKLOG)?;
    facts.requested.is_none_or(|requested| requested == GEN_TCP_BACKLOG).then(|| Advice {
        id: "default_backlog",
        severity: AdviceSeverity::Warning,
        text: format!(
            "The backlog is {limit}, gen_tcp's default: of a burst of {} clients one is dropped. {} and \
             `{{backlog, {USUAL_BACKLOG}}}` in the listen options.",
            limit + 2,
            resize_now(USUAL_BACKLOG)
        ),
        evidence: vec![("limit", limit.into())],
    })
}

/// `listen(2)` takes the smaller of what it is asked for and `net.core.somaxconn`, without a word (`__sys_listen_socket`).
/// What wrapped before it came there has its own rule.
fn somaxconn_clips(facts: &Facts) -> Option<Advice> {
    let (limit, somaxconn) = (facts.limit?, facts.somaxconn?);
    let Some(requested) = facts.requested else {
        return (u64::from(limit) == somaxconn).then(|| Advice {
            id: "somaxconn_clips",
            severity: AdviceSeverity::Info,
            text: format!(
                "The backlog in force is {limit}, which is what net.core.somaxconn allows: if listen was asked for \
                 more, it was clipped. If more is wanted, `sysctl -w net.core.somaxconn=N` and then \
                 `accept_queue:resize(L, N)`."
            ),
            evidence: vec![("limit", limit.into()), ("somaxconn", somaxconn)],
        });
    };
    (limit < requested && !wraps(facts)).then(|| {
        let allow = if somaxconn < u64::from(requested) {
            format!("net.core.somaxconn is {somaxconn}: `sysctl -w net.core.somaxconn={requested}` and then")
        } else {
            format!("net.core.somaxconn, {somaxconn}, would allow it now:")
        };
        Advice {
            id: "somaxconn_clips",
            severity: AdviceSeverity::Warning,
            text: format!(
                "listen was asked for a backlog of {requested}, and {limit} is in force. {allow} \
                 `accept_queue:resize(L, {requested})`."
            ),
            evidence: vec![("requested", requested.into()), ("limit", limit.into()), ("somaxconn", somaxconn)],
        }
    })
}

/// Little's law: the queued came within the time that the oldest has waited, and leave as fast. So a client that gets
/// the last place waits for (limit + 1) * oldest_wait / queued, and one that has lost patience by then is work for nothing.
fn drain_time(facts: &Facts) -> Option<Advice> {
    let (limit, queued, oldest) = (facts.limit?, facts.queued?, facts.oldest_wait?);
    if queued < QUEUED_FOR_A_RATE {
        return None;
    }
    let places = u64::from(limit) + 1;
    let (oldest_ms, patience_ms) = (millis(oldest), millis(PATIENCE));
    let drain_ms = places * oldest_ms / u64::from(queued);
    // Of so many places the last is reached in time.
    let fitting = (u64::from(queued) * patience_ms / oldest_ms.max(1)).saturating_sub(1);
    // Where not even two are, the queue does not drain: that is no matter of the backlog.
    (drain_ms > patience_ms && fitting > 0).then(|| Advice {
        id: "drain_time",
        severity: AdviceSeverity::Warning,
        text: format!(
            "With a backlog of {limit} a full queue takes {drain_ms} ms to drain at the present rate ({queued} wait, the \
             oldest for {oldest_ms} ms), while clients wait for {patience_ms} ms: a client in the last places has left before \
             its turn. Accept faster, or leave fewer places: `accept_queue:resize(L, {fitting})`."
        ),
        evidence: vec![
            ("limit", limit.into()),
            ("queued", queued.into()),
            ("oldest_wait_ms", oldest_ms),
            ("drain_time_ms", drain_ms),
            ("patience_ms", patience_ms),
        ],
    })
}

/// While the one hands a connection over, or does a TLS handshake, or is stuck, no process accepts.
fn one_acceptor(facts: &Facts) -> Option<Advice> {
    let (what, figure) = match (facts.pool, facts.waiting_acceptors) {
        (Some(1), _) => ("One process accepts for this listener.", "pool"),
        (None, Some(1)) => {
            ("One process waits in accept, and of no other is it known that it accepts.", "waiting_acceptors")
        }
        _ => return None,
    };
    Some(Advice {
        id: "one_acceptor",
        severity: AdviceSeverity::Info,
        text: format!(
            "{what} While it is busy with a connection, or stuck, all others wait: let several processes call accept on the \
             socket (ranch starts {USUAL_ACCEPTORS}), or let it do nothing but accept and hand over."
        ),
        evidence: vec![(figure, 1)],
    })
}

/// The socket backend lets one process at a time try to accept. Each accept arms the poll set for the next in line and
/// wakes it by a message, and each that comes back searches the whole line (`essio_accept` and
/// `esock_acceptor_search4pid` in unix_socket_syncio.c, before OTP 26 in prim_socket_nif.c). Inside gen_tcp each call of
/// accept also starts a process (`gen_tcp_socket:accept/2`).
fn many_acceptors(facts: &Facts) -> Option<Advice> {
    facts.backend.filter(|&backend| backend == Backend::Socket)?;
    let (acceptors, figure) = match facts.pool {
        Some(pool) => (pool, "pool"),
        None => (facts.waiting_acceptors?, "waiting_acceptors"),
    };
    (acceptors > MANY_ACCEPTORS).then(|| Advice {
        id: "many_acceptors",
        severity: AdviceSeverity::Info,
        text: format!(
            "{acceptors} processes accept on a socket of the socket backend, which lets one at a time try and hands the turn \
             on through the poll set: beyond some {MANY_ACCEPTORS} they accept more slowly, not faster. Start about \
             {USUAL_ACCEPTORS}, or listen with the inet backend."
        ),
        evidence: vec![(figure, acceptors.into())],
    })
}

/// The client whose last ACK meets a full queue is reset (`tcp_check_req`), where it could have been let in a moment later:
/// its next packet would have been taken for the ACK.
fn abort_on_overflow(facts: &Facts) -> Option<Advice> {
    let value = facts.tcp_abort_on_overflow.filter(|&value| value != 0)?;
    Some(Advice {
        id: "abort_on_overflow",
        severity: AdviceSeverity::Warning,
        text: format!(
            "net.ipv4.tcp_abort_on_overflow is {value}: a client that meets a full queue in the middle of its handshake is \
             reset, though the queue may have room a moment later. `sysctl -w net.ipv4.tcp_abort_on_overflow=0`."
        ),
        evidence: vec![("tcp_abort_on_overflow", value)],
    })
}

/// Without cookies the kernel drops the SYNs of clients that it does not know from before when three quarters of
/// `tcp_max_syn_backlog` are taken, or the whole backlog of the listener (`tcp_conn_request`).
fn no_syncookies(facts: &Facts) -> Option<Advice> {
    facts.tcp_syncookies.filter(|&value| value == 0)?;
    Some(Advice {
        id: "no_syncookies",
        severity: AdviceSeverity::Warning,
        text: "net.ipv4.tcp_syncookies is 0: a flood of SYNs without a last ACK keeps every other client out. \
               `sysctl -w net.ipv4.tcp_syncookies=1`."
            .to_owned(),
        evidence: vec![("tcp_syncookies", 0)],
    })
}

fn resize_now(backlog: u32) -> String {
    format!("`accept_queue:resize(L, {backlog})` now")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::AdviceSeverity::{Error, Info, Warning};
    use super::*;

    const NOTHING_KNOWN: Facts = Facts {
        backend: None,
        requested: None,
        limit: None,
        queued: None,
        oldest_wait: None,
        pool: None,
        waiting_acceptors: None,
        somaxconn: None,
        tcp_abort_on_overflow: None,
        tcp_syncookies: None,
    };

    /// A listener that is set well.
    const WELL_SET: Facts = Facts {
        backend: Some(Backend::Inet),
        limit: Some(1024),
        queued: Some(0),
        pool: Some(10),
        somaxconn: Some(4096),
        tcp_abort_on_overflow: Some(0),
        tcp_syncookies: Some(1),
        ..NOTHING_KNOWN
    };

    const ON_SOCKET: Facts = Facts { backend: Some(Backend::Socket), ..WELL_SET };

    fn backlog(requested: Option<u32>, limit: u32) -> Facts {
        Facts { requested, limit: Some(limit), ..WELL_SET }
    }

    fn waits(limit: u32, queued: u32, oldest_ms: u64) -> Facts {
        let oldest_wait = Some(Duration::from_millis(oldest_ms));
        Facts { limit: Some(limit), queued: Some(queued), oldest_wait, ..WELL_SET }
    }

    fn waiting(waiting_acceptors: u32) -> Facts {
        Facts { pool: None, waiting_acceptors: Some(waiting_acceptors), ..ON_SOCKET }
    }

    #[test]
    fn each_rule_speaks_when_its_facts_say_so() {
        type Sentence = (&'static str, Facts, &'static [(&'static str, AdviceSeverity)]);
        let table: &[Sentence] = &[
            ("where nothing is known nothing is said", NOTHING_KNOWN, &[]),
            ("a listener that is set well needs no advice", WELL_SET, &[]),
            ("nor does one on the socket backend", ON_SOCKET, &[]),
            ("a backlog of 5 is gen_tcp's default", backlog(None, 5), &[("default_backlog", Warning)]),
            ("also where it was asked for", backlog(Some(5), 5), &[("default_backlog", Warning)]),
            ("a backlog of 6 was chosen", backlog(None, 6), &[]),
            ("a backlog clipped to 5 is no default", backlog(Some(9), 5), &[("somaxconn_clips", Warning)]),
            ("more than somaxconn was asked for", backlog(Some(8192), 4096), &[("somaxconn_clips", Warning)]),
            ("as much as somaxconn was asked for", backlog(Some(4096), 4096), &[]),
            ("somaxconn is in force, whatever was asked for", backlog(None, 4096), &[("somaxconn_clips", Info)]),
            ("somaxconn was raised after listen", backlog(Some(2000), 1024), &[("somaxconn_clips", Warning)]),
            ("a backlog raised by resize is not clipped", backlog(Some(128), 1024), &[]),
            (
                "65535 is the most that the inet driver passes on",
                backlog(Some(65535), 4096),
                &[("somaxconn_clips", Warning)],
            ),
            ("65536 becomes 0", backlog(Some(65536), 0), &[("backlog_wraps", Error)]),
            (
                "70000 becomes 4464",
                Facts { somaxconn: Some(9999), ..backlog(Some(70000), 4464) },
                &[("backlog_wraps", Error)],
            ),
            ("what is left of 70000 may be clipped as well", backlog(Some(70000), 4096), &[("backlog_wraps", Error)]),
            ("0 is in force, whatever was asked for", backlog(None, 0), &[("backlog_wraps", Warning)]),
            ("0 was asked for", backlog(Some(0), 0), &[]),
            ("the socket backend passes on 0 as it is", Facts { limit: Some(0), ..ON_SOCKET }, &[]),
            (
                "the socket backend passes on 70000 as it is",
                Facts { requested: Some(70000), limit: Some(4096), ..ON_SOCKET },
                &[("somaxconn_clips", Warning)],
            ),
            ("a queue that drains in 5000 ms is within patience", waits(999, 20, 100), &[]),
            ("one place more is too many", waits(1000, 20, 100), &[("drain_time", Warning)]),
            ("a short queue that has waited long says nothing of the rate", waits(1000, 15, 10_000), &[]),
            (
                "a full queue drains in as long as its oldest has waited",
                waits(30, 31, 5001),
                &[("drain_time", Warning)],
            ),
            ("a queue that does not drain is no matter of its backlog", waits(30, 31, 77_501), &[]),
            ("a pool of one", Facts { pool: Some(1), ..WELL_SET }, &[("one_acceptor", Info)]),
            ("a pool of one that is busy", Facts { pool: Some(1), ..waiting(0) }, &[("one_acceptor", Info)]),
            ("a pool of ten of which one waits", Facts { pool: Some(10), ..waiting(1) }, &[]),
            ("one waits, of a pool that is not known", waiting(1), &[("one_acceptor", Info)]),
            ("none waits, of a pool that is not known", waiting(0), &[]),
            ("32 acceptors on the socket backend", waiting(32), &[]),
            ("33 acceptors on the socket backend", waiting(33), &[("many_acceptors", Info)]),
            ("a pool of 100 of which 10 wait", Facts { pool: Some(100), ..waiting(10) }, &[("many_acceptors", Info)]),
            ("100 acceptors on the inet driver", Facts { pool: Some(100), ..WELL_SET }, &[]),
            (
                "clients are reset",
                Facts { tcp_abort_on_overflow: Some(1), ..WELL_SET },
                &[("abort_on_overflow", Warning)],
            ),
            (
                "no SYN is answered with a cookie",
                Facts { tcp_syncookies: Some(0), ..WELL_SET },
                &[("no_syncookies", Warning)],
            ),
            ("every SYN is answered with a cookie", Facts { tcp_syncookies: Some(2), ..WELL_SET }, &[]),
        ];
        for (sentence, facts, expected) in table {
            let said: Vec<_> = advise(facts).iter().map(|advice| (advice.id, advice.severity)).collect();
            assert_eq!(said, *expected, "{sentence}");
        }
    }

    #[test]
    fn a_text_names_its_evidence_and_the_remedy() {
        let table = [
            (backlog(Some(65536), 0), "accept_queue:resize(L, 65535)"),
            (backlog(None, 0), "{backlog, 1024}"),
            (backlog(None, 5), "{backlog, 1024}"),
            (backlog(Some(8192), 4096), "sysctl -w net.core.somaxconn=8192"),
            (backlog(Some(2000), 1024), "would allow it now: `accept_queue:resize(L, 2000)`"),
            (waits(1000, 20, 100), "accept_queue:resize(L, 999)"),
            (Facts { pool: Some(33), ..ON_SOCKET }, "Start about 10"),
            (Facts { tcp_abort_on_overflow: Some(1), ..WELL_SET }, "tcp_abort_on_overflow=0"),
        ];
        for (facts, remedy) in table {
            let advice = &advise(&facts)[0];
            assert!(advice.text.contains(remedy), "{}", advice.text);
            for (name, figure) in &advice.evidence {
                assert!(advice.text.contains(&figure.to_string()), "{name}: {}", advice.text);
            }
        }
    }

    #[test]
    fn what_the_drain_time_advises_is_enough() {
        for facts in [waits(1000, 20, 100), waits(4096, 16, 77), waits(30, 31, 5001), waits(30, 31, 77_500)] {
            let text = &advise(&facts)[0].text;
            let limit = text.rsplit_once("resize(L, ").and_then(|(_, rest)| rest.split_once(')')).expect("a remedy").0;
            let after = Facts { limit: limit.parse().ok(), ..facts };
            assert_eq!(advise(&after), [], "{text}");
        }
    }
}
