//! Core's values as Erlang terms: the keys and errors of the public contract, and nothing else.

use accept_queue_core as core;
use accept_queue_core::monitor::poller::{Notice, Report};
use accept_queue_core::reading::waits::Waits;
use accept_queue_core::rules::detector::{Change, Condition, ConditionEvidence, Settings, SocketEvidence};
use accept_queue_core::rules::history::{CensusTaken, DepthReading};
use rustler::types::tuple::make_tuple;
use rustler::{Atom, Decoder, Encoder, Env, NewBinary, NifResult, Term};
use std::net::IpAddr;
use std::time::Duration;

use crate::handle::Handle;

mod atoms {
    rustler::atoms! {
        undefined,
        // errors
        second_tier, already_written, unsupported, not_listening, closed, not_found, eacces, eperm, truncated, interrupted, timeout, errno,
        // a listener
        address, local, cookie, inode, fd, handle, queue, device, queued, limit, drops,
        // its connections
        syn_recv, queued_alive, queued_closed, queued_reset, queued_bytes, oldest_wait_ms, established, close_wait,
        sockets,
        // what is wrong
        full, nobody_accepts, behind, left, leaking,
        // what is held
        peer, recv_bytes, age_ms,
        // the network namespace
        somaxconn, tcp_max_syn_backlog, tcp_abort_on_overflow, tcp_syncookies, tcp_synack_retries, listen_overflows,
        listen_drops, tcp_req_q_full_drop, tcp_req_q_full_do_cookies, syncookies_sent, syncookies_recv,
        syncookies_failed,
        // what is watched
        interval_ms, max_wait_ms, for_ms, stuck_ms, abandoned_ratio, abandoned_min, close_wait_max, clear_ms, census_ms, sample_ms,
        overflowing, stuck, abandoned, raised, cleared, held_ms, dropped, dropped_otherwise, depth,
        counts, conditions, window, min, max, mean, peak_ago_ms, watched_ms, read_ago_ms,
        counts_ago_ms, census_every_ms, accept_queue_poller, reading, census, census_error, census_recovered, late, listeners_changed, samples,
        // how long accepted connections waited
        waits, count, sum_ms, max_ms, p50_ms, p99_ms, buckets, infinity,
        // what is set wrongly
        backend, inet, socket, requested, pool, waiting_acceptors, id, severity, text, evidence, info, warning, error,
    }
}

/// A value of core's on its way to Erlang.
pub(crate) struct Terms<T>(pub(crate) T);

/// The second half of `{error, Reason}`.
pub(crate) enum Reason {
    Core(core::Error),
    /// Not readable on a normal scheduler: the caller asks again on a dirty one.
    SecondTier,
}

impl From<core::Error> for Reason {
    fn from(error: core::Error) -> Self {
        Reason::Core(error)
    }
}

impl Encoder for Reason {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let Reason::Core(error) = self else { return atoms::second_tier().encode(env) };
        let reason = match error {
            core::Error::Unsupported => atoms::unsupported(),
            core::Error::NotListening => atoms::not_listening(),
            core::Error::Closed => atoms::closed(),
            core::Error::NotFound => atoms::not_found(),
            core::Error::Truncated => atoms::truncated(),
            core::Error::Interrupted => atoms::interrupted(),
            core::Error::Timeout => atoms::timeout(),
            core::Error::AlreadyWritten => atoms::already_written(),
            core::Error::Errno(errno) => match errno.name() {
                "eacces" => atoms::eacces(),
                "eperm" => atoms::eperm(),
                name => return (atoms::errno(), word(env, name)).encode(env),
            },
        };
        reason.encode(env)
    }
}

/// A tuple, of which `accept_queue:depth/1` makes the map: the compiler knows its keys, while `map` has to sort them and
/// to allocate for them on every call. That is a twelfth of the whole cost of the one reading that is made all the time.
impl Encoder for Terms<core::Depth> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let core::Depth { queued, limit, drops } = self.0;
        (queued, limit, or_undefined(env, drops)).encode(env)
    }
}

/// A tuple for the same reason: it is made for every connection.
impl Encoder for Terms<core::reading::accepted::Accepted> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        (Terms(self.0.wait), self.0.peer_closed).encode(env)
    }
}

impl Encoder for Terms<Waits> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let waits = &self.0;
        let bucket = |(up_to, count): (Option<u64>, u64)| {
            (up_to.map_or_else(|| atoms::infinity().encode(env), |ms| ms.encode(env)), count)
        };
        map(
            env,
            [
                (atoms::count(), waits.count().encode(env)),
                (atoms::sum_ms(), waits.sum_ms.encode(env)),
                (atoms::max_ms(), or_undefined(env, waits.max_ms())),
                (atoms::p50_ms(), or_undefined(env, waits.percentile_ms(50))),
                (atoms::p99_ms(), or_undefined(env, waits.percentile_ms(99))),
                (atoms::buckets(), waits.buckets().map(bucket).collect::<Vec<_>>().encode(env)),
            ],
        )
    }
}

impl Encoder for Terms<core::Counts> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let counts = &self.0;
        map(
            env,
            [
                (atoms::queued(), counts.queued.encode(env)),
                (atoms::limit(), counts.limit.encode(env)),
                (atoms::drops(), or_undefined(env, counts.drops)),
                (atoms::syn_recv(), or_undefined(env, counts.syn_recv)),
                (atoms::queued_alive(), or_undefined(env, counts.queued_alive)),
                (atoms::queued_closed(), or_undefined(env, counts.queued_closed)),
                (atoms::queued_reset(), or_undefined(env, counts.queued_reset())),
                (atoms::queued_bytes(), or_undefined(env, counts.queued_bytes)),
                (atoms::oldest_wait_ms(), or_undefined(env, counts.oldest_wait.map(Terms))),
                (atoms::established(), counts.established.encode(env)),
                (atoms::close_wait(), counts.close_wait.encode(env)),
                (atoms::sockets(), counts.sockets.encode(env)),
            ],
        )
    }
}

impl Encoder for Terms<core::Listening> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let core::Listening { endpoint, cookie, inode, depth } = &self.0;
        map(
            env,
            [
                (atoms::address(), Terms(endpoint).encode(env)),
                (atoms::cookie(), Terms(*cookie).encode(env)),
                (atoms::inode(), Terms(*inode).encode(env)),
                (atoms::queued(), depth.queued.encode(env)),
                (atoms::limit(), depth.limit.encode(env)),
                (atoms::drops(), or_undefined(env, depth.drops)),
            ],
        )
    }
}

impl Encoder for Terms<(core::Listener, core::Inode)> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let (listener, inode) = &self.0;
        map(
            env,
            [
                (atoms::fd(), listener.fd().encode(env)),
                (atoms::handle(), Handle::new(listener.clone().into()).encode(env)),
                (atoms::address(), Terms(listener.endpoint()).encode(env)),
                (atoms::cookie(), Terms(listener.cookie()).encode(env)),
                (atoms::inode(), Terms(*inode).encode(env)),
                (atoms::queue(), Terms(&listener.queue_key()).encode(env)),
                (atoms::device(), or_undefined(env, listener.device().as_deref().map(|name| Terms(name.as_bytes())))),
            ],
        )
    }
}

/// `{Interface, Namespace, Cookie}`: what an address leaves open. Two sockets of one address are one queue where this is the same.
impl Encoder for Terms<&core::QueueKey> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let core::QueueKey { endpoint, namespace, cookie } = self.0;
        let interface = endpoint.interface().0;
        (interface, or_undefined(env, *namespace), or_undefined(env, cookie.map(Terms))).encode(env)
    }
}

impl Encoder for Terms<core::reading::held::Held> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let held = &self.0;
        map(
            env,
            [
                (atoms::fd(), or_undefined(env, held.fd)),
                (atoms::inode(), Terms(held.inode).encode(env)),
                (atoms::peer(), Terms(held.peer).encode(env)),
                (atoms::recv_bytes(), held.unread.encode(env)),
                (atoms::age_ms(), Terms(held.silent).encode(env)),
            ],
        )
    }
}

/// `{Ip, Port}` as `inet` spells it, and `{local, Path}`.
impl Encoder for Terms<&core::Endpoint> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self.0 {
            core::Endpoint::Tcp(address) => Terms(*address).encode(env),
            core::Endpoint::Unix(name) => (atoms::local(), Terms(name.as_slice())).encode(env),
        }
    }
}

/// With the scope in third place where the address means nothing without it.
impl Encoder for Terms<core::Address> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let core::Address { ip, port, interface } = self.0;
        match ip {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                ((a, b, c, d), port).encode(env)
            }
            IpAddr::V6(v6) => {
                let ip = make_tuple(env, &v6.segments().map(|segment| segment.encode(env)));
                if v6.is_unicast_link_local() { (ip, port, interface.0).encode(env) } else { (ip, port).encode(env) }
            }
        }
    }
}

impl Encoder for Terms<&[u8]> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let mut binary = NewBinary::new(env, self.0.len());
        binary.as_mut_slice().copy_from_slice(self.0);
        binary.into()
    }
}

impl Encoder for Terms<core::Cookie> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        self.0.0.encode(env)
    }
}

impl Encoder for Terms<core::Inode> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        self.0.0.encode(env)
    }
}

/// Milliseconds.
impl Encoder for Terms<Duration> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        (self.0.as_millis() as u64).encode(env)
    }
}

impl Encoder for Terms<core::linux::counters::Kernel> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let kernel = &self.0;
        map(
            env,
            [
                (atoms::somaxconn(), kernel.somaxconn),
                (atoms::tcp_max_syn_backlog(), kernel.tcp_max_syn_backlog),
                (atoms::tcp_abort_on_overflow(), kernel.tcp_abort_on_overflow),
                (atoms::tcp_syncookies(), kernel.tcp_syncookies),
                (atoms::tcp_synack_retries(), kernel.tcp_synack_retries),
                (atoms::listen_overflows(), kernel.listen_overflows),
                (atoms::listen_drops(), kernel.listen_drops),
                (atoms::tcp_req_q_full_drop(), kernel.tcp_req_q_full_drop),
                (atoms::tcp_req_q_full_do_cookies(), kernel.tcp_req_q_full_do_cookies),
                (atoms::syncookies_sent(), kernel.syncookies_sent),
                (atoms::syncookies_recv(), kernel.syncookies_recv),
                (atoms::syncookies_failed(), kernel.syncookies_failed),
            ]
            .map(|(key, figure)| (key, or_undefined(env, figure))),
        )
    }
}

impl Encoder for Terms<Settings> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let settings = &self.0;
        map(
            env,
            [
                (atoms::interval_ms(), Terms(settings.interval).encode(env)),
                (atoms::max_wait_ms(), Terms(settings.max_wait).encode(env)),
                (atoms::for_ms(), Terms(settings.hold_for).encode(env)),
                (atoms::stuck_ms(), Terms(settings.stuck).encode(env)),
                (atoms::abandoned_ratio(), settings.abandoned_ratio.encode(env)),
                (atoms::abandoned_min(), settings.abandoned_min.encode(env)),
                (atoms::close_wait_max(), settings.close_wait_max.encode(env)),
                (atoms::clear_ms(), Terms(settings.clear).encode(env)),
                (atoms::census_ms(), Terms(settings.census).encode(env)),
                (atoms::sample_ms(), Terms(settings.sample).encode(env)),
            ],
        )
    }
}

impl<'a> Decoder<'a> for Terms<Settings> {
    fn decode(settings: Term<'a>) -> NifResult<Self> {
        let ms = |key: Atom| Ok(Duration::from_millis(settings.map_get(key)?.decode()?));
        Ok(Terms(Settings {
            interval: ms(atoms::interval_ms())?,
            max_wait: ms(atoms::max_wait_ms())?,
            hold_for: ms(atoms::for_ms())?,
            stuck: ms(atoms::stuck_ms())?,
            abandoned_ratio: settings.map_get(atoms::abandoned_ratio())?.decode()?,
            abandoned_min: settings.map_get(atoms::abandoned_min())?.decode()?,
            close_wait_max: settings.map_get(atoms::close_wait_max())?.decode()?,
            clear: ms(atoms::clear_ms())?,
            census: ms(atoms::census_ms())?,
            sample: ms(atoms::sample_ms())?,
        }))
    }
}

/// `{accept_queue_poller, [{Id, Notice}] | {samples, [{Id, Notice}]} | {late, Ms} | listeners_changed}`.
impl Encoder for Terms<Report> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let report = match &self.0 {
            Report::Notices(notices) => noticed(notices).encode(env),
            Report::Samples(notices) => (atoms::samples(), noticed(notices)).encode(env),
            Report::Late(late) => (atoms::late(), Terms(*late)).encode(env),
            Report::ListenersChanged => atoms::listeners_changed().encode(env),
        };
        (atoms::accept_queue_poller(), report).encode(env)
    }
}

fn noticed(notices: &[(u64, Notice)]) -> Vec<(u64, Terms<&Notice>)> {
    notices.iter().map(|(id, notice)| (*id, Terms(notice))).collect()
}

/// `{reading, {Queued, Limit, Drops}, Changes}`, `{census, Counts, Changes}`, `{error, Reason}`, `{census_error, Reason}` or
/// `census_recovered`.
impl Encoder for Terms<&Notice> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let terms = |changes: &[Change]| changes.iter().copied().map(Terms).collect::<Vec<_>>();
        match self.0 {
            Notice::Depth(DepthReading { depth, drops, changes, .. }) => {
                let depth = (depth.queued, depth.limit, or_undefined(env, *drops));
                (atoms::reading(), depth, terms(changes)).encode(env)
            }
            Notice::Census(CensusTaken { counts, changes, .. }) => {
                (atoms::census(), Terms(*counts), terms(changes)).encode(env)
            }
            Notice::Failed(error) => (atoms::error(), Reason::Core(*error)).encode(env),
            Notice::CensusFailed(error) => (atoms::census_error(), Reason::Core(*error)).encode(env),
            Notice::CensusRecovered => atoms::census_recovered().encode(env),
        }
    }
}

/// `{raised | cleared, Condition, Evidence}`.
impl Encoder for Terms<Change> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self.0 {
            Change::Raised { condition, evidence } => (atoms::raised(), Terms(condition), Terms(evidence)).encode(env),
            Change::Cleared { condition, evidence } => {
                (atoms::cleared(), Terms(condition), Terms(evidence)).encode(env)
            }
        }
    }
}

impl Encoder for Terms<Condition> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self.0 {
            Condition::Behind => atoms::behind(),
            Condition::Overflowing => atoms::overflowing(),
            Condition::Stuck => atoms::stuck(),
            Condition::Abandoned => atoms::abandoned(),
            Condition::Leaking => atoms::leaking(),
        }
        .encode(env)
    }
}

impl Encoder for Terms<ConditionEvidence> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let evidence = &self.0;
        map(
            env,
            [
                (atoms::held_ms(), Terms(evidence.held_for).encode(env)),
                (atoms::counts(), or_undefined(env, evidence.counts.map(Terms))),
                (atoms::dropped(), evidence.dropped.encode(env)),
                (atoms::dropped_otherwise(), evidence.dropped_otherwise.encode(env)),
                (atoms::socket(), or_undefined(env, evidence.socket.map(Terms))),
            ],
        )
    }
}

impl Encoder for Terms<SocketEvidence> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let SocketEvidence { cookie, depth } = self.0;
        map(
            env,
            [
                (atoms::cookie(), Terms(cookie).encode(env)),
                (atoms::queued(), depth.queued.encode(env)),
                (atoms::limit(), depth.limit.encode(env)),
            ],
        )
    }
}

impl Encoder for Terms<(core::rules::history::Status, Waits)> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let (status, waits) = &self.0;
        let conditions: Vec<_> =
            status.conditions.iter().map(|&(which, raised)| (Terms(which), Terms(raised))).collect();
        let (counts, counts_ago) = status.counts.unzip();
        map(
            env,
            [
                (atoms::conditions(), conditions.encode(env)),
                (atoms::depth(), or_undefined(env, status.depth.map(Terms))),
                (atoms::drops(), or_undefined(env, status.drops)),
                (atoms::counts(), or_undefined(env, counts.map(Terms))),
                (atoms::counts_ago_ms(), or_undefined(env, counts_ago.map(Terms))),
                (atoms::census_every_ms(), Terms(status.census_every).encode(env)),
                (atoms::window(), or_undefined(env, status.window.map(Terms))),
                (atoms::watched_ms(), Terms(status.watched_for).encode(env)),
                (atoms::read_ago_ms(), or_undefined(env, status.read_ago.map(Terms))),
                (atoms::waits(), Terms(*waits).encode(env)),
            ],
        )
    }
}

impl Encoder for Terms<core::rules::history::Span> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let span = &self.0;
        map(
            env,
            [
                (atoms::min(), span.min.encode(env)),
                (atoms::max(), span.max.encode(env)),
                (atoms::mean(), span.mean.encode(env)),
                (atoms::peak_ago_ms(), Terms(span.peak_ago).encode(env)),
            ],
        )
    }
}

impl<'a> Decoder<'a> for Terms<core::rules::advice::Facts> {
    fn decode(facts: Term<'a>) -> NifResult<Self> {
        Ok(Terms(core::rules::advice::Facts {
            backend: known(facts, atoms::backend())?.map(|Terms(backend)| backend),
            requested: known(facts, atoms::requested())?,
            limit: known(facts, atoms::limit())?,
            queued: known(facts, atoms::queued())?,
            oldest_wait: known(facts, atoms::oldest_wait_ms())?.map(Duration::from_millis),
            pool: known(facts, atoms::pool())?,
            waiting_acceptors: known(facts, atoms::waiting_acceptors())?,
            somaxconn: known(facts, atoms::somaxconn())?,
            tcp_abort_on_overflow: known(facts, atoms::tcp_abort_on_overflow())?,
            tcp_syncookies: known(facts, atoms::tcp_syncookies())?,
        }))
    }
}

impl<'a> Decoder<'a> for Terms<core::rules::advice::Backend> {
    fn decode(backend: Term<'a>) -> NifResult<Self> {
        match backend.decode::<Atom>()? {
            inet if inet == atoms::inet() => Ok(Terms(core::rules::advice::Backend::Inet)),
            socket if socket == atoms::socket() => Ok(Terms(core::rules::advice::Backend::Socket)),
            _ => Err(rustler::Error::BadArg),
        }
    }
}

impl Encoder for Terms<core::rules::advice::Advice> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let core::rules::advice::Advice { id, severity, text, evidence } = &self.0;
        let severity = match severity {
            core::rules::advice::AdviceSeverity::Info => atoms::info(),
            core::rules::advice::AdviceSeverity::Warning => atoms::warning(),
            core::rules::advice::AdviceSeverity::Error => atoms::error(),
        };
        let (names, figures): (Vec<_>, Vec<_>) =
            evidence.iter().map(|&(name, figure)| (word(env, name), figure)).unzip();
        map(
            env,
            [
                (atoms::id(), word(env, id).encode(env)),
                (atoms::severity(), severity.encode(env)),
                (atoms::text(), Terms(text.as_bytes()).encode(env)),
                (
                    atoms::evidence(),
                    Term::map_from_arrays(env, &names, &figures).unwrap_or_else(|_| atoms::undefined().encode(env)),
                ),
            ],
        )
    }
}

/// An atom of a word of core's. Their list is closed: no atom is made of what was sent.
fn word(env: Env, word: &'static str) -> Atom {
    Atom::from_str(env, word).unwrap_or(atoms::undefined())
}

/// `None`: the key is missing, or `undefined`.
fn known<'a, T: Decoder<'a>>(facts: Term<'a>, key: Atom) -> NifResult<Option<T>> {
    match facts.map_get(key) {
        Ok(value) if atoms::undefined() == value => Ok(None),
        Ok(value) => value.decode().map(Some),
        Err(_) if facts.is_map() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A listener in the table of `accept_queue:i/0`.
impl<'a> Decoder<'a> for Terms<core::rules::verdict::ListenerState> {
    fn decode(standing: Term<'a>) -> NifResult<Self> {
        let figure = |key: Atom| standing.map_get(key)?.decode::<u32>();
        let (closed, reset) = (known(standing, atoms::queued_closed())?, known(standing, atoms::queued_reset())?);
        Ok(Terms(core::rules::verdict::ListenerState {
            queued: figure(atoms::queued())?,
            limit: figure(atoms::limit())?,
            is_full: figure(atoms::queued())? > figure(atoms::limit())?,
            left: closed.zip(reset).map(|(closed, reset): (u32, u32)| closed.saturating_add(reset)),
            oldest_wait: known(standing, atoms::oldest_wait_ms())?.map(Duration::from_millis),
            close_wait: figure(atoms::close_wait())?,
            waiting_acceptors: known(standing, atoms::waiting_acceptors())?,
        }))
    }
}

impl Encoder for Terms<core::rules::verdict::Symptom> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self.0 {
            core::rules::verdict::Symptom::Full => atoms::full().encode(env),
            core::rules::verdict::Symptom::NoAcceptor => atoms::nobody_accepts().encode(env),
            core::rules::verdict::Symptom::Behind => atoms::behind().encode(env),
            core::rules::verdict::Symptom::Left(count) => (atoms::left(), count).encode(env),
            core::rules::verdict::Symptom::Leaking(count) => (atoms::leaking(), count).encode(env),
        }
    }
}

/// rustler's own `None` is Elixir's `nil`; the contract says `undefined`.
fn or_undefined<'a>(env: Env<'a>, value: Option<impl Encoder>) -> Term<'a> {
    match value {
        Some(value) => value.encode(env),
        None => atoms::undefined().encode(env),
    }
}

fn map<'a, const N: usize>(env: Env<'a>, pairs: [(Atom, Term<'a>); N]) -> Term<'a> {
    let keys = pairs.map(|(key, _)| key.encode(env));
    let values = pairs.map(|(_, value)| value);
    // The only failure is a key given twice.
    Term::map_from_term_arrays(env, &keys, &values).unwrap_or_else(|_| atoms::undefined().encode(env))
}
