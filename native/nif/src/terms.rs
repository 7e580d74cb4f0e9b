//! How core's values look as Erlang terms: the keys and errors of the public contract, and nothing else.

use accept_queue_core as core;
use rustler::types::tuple::make_tuple;
use rustler::{Atom, Encoder, Env, Term};
use std::net::IpAddr;

mod atoms {
    rustler::atoms! {
        undefined,
        // errors
        unsupported, not_listening, closed, not_found, eacces, eperm, truncated, interrupted, timeout, errno,
        // a listener
        address, cookie, inode, queued, limit, drops,
        // who stands in front of it
        syn_recv, queued_alive, queued_closed, queued_reset, queued_bytes, oldest_wait_ms, established, close_wait,
        sockets,
        // the network namespace
        somaxconn, tcp_max_syn_backlog, tcp_abort_on_overflow, tcp_syncookies, tcp_synack_retries, listen_overflows,
        listen_drops, tcp_req_q_full_drop, tcp_req_q_full_do_cookies, syncookies_sent, syncookies_recv,
        syncookies_failed,
    }
}

/// A value of core's on its way to Erlang.
pub(crate) struct Terms<T>(pub(crate) T);

/// The second half of `{error, Reason}`.
pub(crate) struct Reason(core::Error);

impl From<core::Error> for Reason {
    fn from(error: core::Error) -> Self {
        Reason(error)
    }
}

impl Encoder for Reason {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let reason = match self.0 {
            core::Error::Unsupported => atoms::unsupported(),
            core::Error::NotListening => atoms::not_listening(),
            core::Error::Closed => atoms::closed(),
            core::Error::NotFound => atoms::not_found(),
            core::Error::Truncated => atoms::truncated(),
            core::Error::Interrupted => atoms::interrupted(),
            core::Error::Timeout => atoms::timeout(),
            core::Error::Errno(errno) => match errno.name() {
                "eacces" => atoms::eacces(),
                "eperm" => atoms::eperm(),
                // The names are a closed list in core: no atom is made of what somebody sent.
                name => return (atoms::errno(), Atom::from_str(env, name).unwrap_or(atoms::undefined())).encode(env),
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

impl Encoder for Terms<core::Counts> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let counts = &self.0;
        map(
            env,
            [
                (atoms::queued(), counts.queued.encode(env)),
                (atoms::limit(), counts.limit.encode(env)),
                (atoms::drops(), or_undefined(env, counts.drops)),
                (atoms::syn_recv(), counts.syn_recv.encode(env)),
                (atoms::queued_alive(), counts.queued_alive.encode(env)),
                (atoms::queued_closed(), counts.queued_closed.encode(env)),
                (atoms::queued_reset(), counts.queued_reset().encode(env)),
                (atoms::queued_bytes(), counts.queued_bytes.encode(env)),
                (atoms::oldest_wait_ms(), or_undefined(env, counts.oldest_wait.map(|wait| wait.as_millis() as u64))),
                (atoms::established(), counts.established.encode(env)),
                (atoms::close_wait(), counts.close_wait.encode(env)),
                (atoms::sockets(), counts.sockets.encode(env)),
            ],
        )
    }
}

impl Encoder for Terms<core::Listening> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let core::Listening { address, cookie, inode, depth } = self.0;
        map(
            env,
            [
                (atoms::address(), Terms(address).encode(env)),
                (atoms::cookie(), cookie.0.encode(env)),
                (atoms::inode(), inode.0.encode(env)),
                (atoms::queued(), depth.queued.encode(env)),
                (atoms::limit(), depth.limit.encode(env)),
                (atoms::drops(), or_undefined(env, depth.drops)),
            ],
        )
    }
}

/// `{Ip, Port}`, as `inet` spells it.
impl Encoder for Terms<core::Address> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let ip = match self.0.ip {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                (a, b, c, d).encode(env)
            }
            IpAddr::V6(ip) => make_tuple(env, &ip.segments().map(|segment| segment.encode(env))),
        };
        (ip, self.0.port).encode(env)
    }
}

impl Encoder for Terms<Option<core::Cookie>> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        or_undefined(env, self.0.map(|cookie| cookie.0))
    }
}

impl Encoder for Terms<core::kernel::Kernel> {
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
