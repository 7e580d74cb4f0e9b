//! Everything that is known of one listener, as lines of text. Pure.

use accept_queue_core::Counts;

use super::app::{Counters, View};
use super::line::Line;
use super::words;
use crate::condition;

/// From the most to the least telling; where there is little room the last are cut off.
pub(crate) fn text(line: &Line, view: &View) -> Vec<String> {
    let mut text = vec![conditions(line)];
    text.extend(accepting(line));
    text.extend(line.counts().map(|counts| queue(&counts)).into_iter().flatten());
    text.push(window(line));
    text.push(format!(
        "owners     {}",
        if line.owners.is_empty() { "not looked up".to_owned() } else { line.owners.join(", ") }
    ));
    text.extend(kernel(line, view.kernel.as_ref()));
    text
}

fn conditions(line: &Line) -> String {
    let lasted =
        |name| line.status.conditions.iter().find(|&&(condition, _)| condition == name).map(|&(_, lasted)| lasted);
    let told = |condition| Some(format!("{} for {}", condition::name(condition), words::span(lasted(condition)?)));
    let told: Vec<_> = line.conditions().into_iter().filter_map(told).collect();
    format!("condition  {}", if told.is_empty() { "none".to_owned() } else { told.join(", ") })
}

fn accepting(line: &Line) -> Vec<String> {
    let of_socket = |stand: &super::accepting::Stand| {
        let found = stand.found.iter().map(|(process, found)| {
            format!("{} in {}, descriptor {} of {}", found.events, found.set, found.epoll, process.pid)
        });
        let found = found.collect::<Vec<_>>().join("; ");
        let evidence = if found.is_empty() { String::new() } else { format!(" ({found})") };
        let which = if line.stands.len() > 1 { format!("socket {}: ", stand.socket.0) } else { String::new() };
        format!("accepts    {which}{}{evidence}", words::accepting_in_full(stand.accepting))
    };
    line.stands.iter().map(of_socket).collect()
}

fn queue(counts: &Counts) -> Vec<String> {
    let or_dash = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    let oldest = counts.oldest_wait.map_or_else(|| "-".to_owned(), words::span);
    vec![
        format!(
            "queue      {} with limit {}: alive {}, closed {}, reset {}; oldest {oldest}, {} bytes",
            counts.queued,
            counts.limit,
            counts.queued_alive,
            counts.queued_closed,
            counts.queued_reset(),
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

fn window(line: &Line) -> String {
    let watched = words::span(line.status.watched_for);
    match line.status.window {
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

/// The figures of a namespace are no other's.
fn kernel(line: &Line, counters: Option<&Counters>) -> Vec<String> {
    let Some(Counters { now, first, .. }) = counters.filter(|counters| counters.namespace == line.place.0) else {
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
