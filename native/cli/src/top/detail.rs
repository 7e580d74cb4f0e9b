//! Everything that is known of one listener, as lines of text. Pure.

use accept_queue_core::Counts;

use super::epoll::EpollState;
use super::row::ListenerRow;
use super::view::{Counters, View};
use super::words;
use crate::{condition, figures};

/// The cells of what a line is about, before what it says.
pub(crate) const INDENT: usize = 11;

/// The most important first; where there is little room the last are cut off.
pub(crate) fn text(row: &ListenerRow, view: &View) -> Vec<String> {
    let mut text = vec![conditions(row)];
    text.extend(accepting(row));
    text.extend(row.counts().map(|counts| queue(&counts)).into_iter().flatten());
    text.push(window(row));
    text.push(format!(
        "owners     {}",
        if row.owners.is_empty() { "not looked up".to_owned() } else { row.owners.join(", ") }
    ));
    text.extend(kernel(row, view.kernel.as_ref()));
    text
}

fn conditions(row: &ListenerRow) -> String {
    let lasted =
        |name| row.status.conditions.iter().find(|&&(condition, _)| condition == name).map(|&(_, lasted)| lasted);
    let lasting = |condition| Some(format!("{} for {}", condition::name(condition), words::span(lasted(condition)?)));
    let lasting: Vec<_> = row.conditions().into_iter().filter_map(lasting).collect();
    format!("condition  {}", if lasting.is_empty() { "none".to_owned() } else { lasting.join(", ") })
}

fn accepting(row: &ListenerRow) -> Vec<String> {
    let of_socket = |state: &EpollState| {
        let found = state.found.iter().map(|(process, found)| {
            format!("{} in {}, fd {} of pid {}", found.events, found.set, found.epoll, process.pid)
        });
        let found = found.collect::<Vec<_>>().join("; ");
        let evidence = if found.is_empty() { String::new() } else { format!(" ({found})") };
        let which = if row.epoll.len() > 1 { format!("socket {}: ", state.socket.0) } else { String::new() };
        format!("accepts    {which}{}{evidence}", words::accepting_in_full(state.accepting))
    };
    row.epoll.iter().map(of_socket).collect()
}

fn queue(counts: &Counts) -> Vec<String> {
    let or_dash = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    let oldest = counts.oldest_wait.map_or_else(|| "-".to_owned(), words::span);
    vec![
        format!(
            "queue      {}: alive {}, closed {}, reset {}; oldest {oldest}, {} bytes",
            figures::places(counts.queued, counts.known_limit(), counts.sockets),
            or_dash(counts.queued_alive.map(u64::from)),
            or_dash(counts.queued_closed.map(u64::from)),
            or_dash(counts.queued_reset().map(u64::from)),
            or_dash(counts.queued_bytes),
        ),
        format!(
            "listener   drops {}, syn_recv {}, established {}, close_wait {}, sockets {}",
            or_dash(counts.drops.map(u64::from)),
            or_dash(counts.syn_recv.map(u64::from)),
            counts.established,
            counts.close_wait,
            counts.sockets,
        ),
    ]
}

fn window(row: &ListenerRow) -> String {
    let watched = words::span(row.status.watched_for);
    match row.status.window {
        Some(window) => format!(
            "minute     min {}, mean {:.1}, max {} ({} ago); watched for {watched}",
            window.min,
            window.mean,
            window.max,
            words::span(window.peak_ago),
        ),
        None => format!("minute     nothing was read; watched for {watched}"),
    }
}

/// The counters belong to one namespace: a listener of another has none here.
fn kernel(row: &ListenerRow, counters: Option<&Counters>) -> Vec<String> {
    let Some(Counters { now, first, .. }) = counters.filter(|counters| counters.namespace == row.id.0) else {
        return vec!["kernel     its counters are in another network namespace, or could not be read".to_owned()];
    };
    let setting = |name: &str, value: Option<u64>| value.map(|value| format!("{name} {value}"));
    let counter = |name: &str, now: Option<u64>, first: Option<u64>| {
        let (now, first) = (now?, first?);
        Some(match now.saturating_sub(first) {
            0 => format!("{name} {now}"),
            added => format!("{name} {now} (+{added})"),
        })
    };
    let join = |parts: &[Option<String>]| parts.iter().flatten().cloned().collect::<Vec<_>>().join(", ");
    let counters = [
        counter("ListenOverflows", now.listen_overflows, first.listen_overflows),
        counter("ListenDrops", now.listen_drops, first.listen_drops),
        counter("TCPReqQFullDrop", now.tcp_req_q_full_drop, first.tcp_req_q_full_drop),
    ];
    let settings = [
        setting("somaxconn", now.somaxconn),
        setting("tcp_max_syn_backlog", now.tcp_max_syn_backlog),
        setting("tcp_abort_on_overflow", now.tcp_abort_on_overflow),
        setting("tcp_syncookies", now.tcp_syncookies),
    ];
    vec![format!("kernel     {}", join(&counters)), format!("           {}", join(&settings))]
}
