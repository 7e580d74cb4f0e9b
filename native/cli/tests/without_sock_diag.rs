//! The program where the kernel has no sock_diag, as without the modules inet_diag and tcp_diag: a filter of system calls refuses it. Each
//! command reads `/proc/net/tcp`, and says so.

mod running;
#[path = "../../core/tests/sandbox/mod.rs"]
mod sandbox;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use running::{DEADLINE, Running, lines, listen, own_pid, program, until};
use serde_json::{Value, json};
use socket2::Socket;

const MODULES: &str = "modules inet_diag and tcp_diag";

/// Starts the program from a thread that has the filter, and hands it down.
fn start(arguments: &[&str]) -> Running {
    let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let started = thread::spawn(move || {
        sandbox::refuse_sock_diag(libc::EPROTONOSUPPORT).expect("a sandbox");
        Running::start(program().args(arguments))
    });
    started.join().expect("no panic")
}

/// A listener on which no process accepts, and three that wait.
fn queue() -> (Socket, SocketAddr, Vec<TcpStream>) {
    let (socket, at) = listen(5);
    let clients = (0..3).map(|_| TcpStream::connect(at).expect("a client")).collect();
    (socket, at, clients)
}

#[test]
fn list_has_what_the_files_say() {
    let (_socket, at, _clients) = queue();
    let mut list = start(&["list", "--pid", &own_pid(), "--json"]);
    let report: Value = serde_json::from_str(&list.line(|_| true)).expect("JSON");
    let listeners = report["listeners"].as_array().expect("listeners");
    let listener = listeners.iter().find(|listener| listener["address"] == at.to_string()).expect("the listener");
    assert_eq!((&listener["queued"], &listener["queued_alive"]), (&json!(3), &json!(3)));
    for unknown in ["limit", "full", "drops", "oldest_wait_ms"] {
        assert_eq!(listener[unknown], Value::Null, "{unknown}");
    }
    assert!(report["unreadable"][0]["reason"].as_str().is_some_and(|why| why.contains(MODULES)), "{report}");
    assert!(list.end().0.success());
}

#[test]
fn watch_raises_conditions_and_says_what_is_missing() {
    let (_socket, at, _clients) = queue();
    let watch = start(&["watch", "--pid", &own_pid(), "--json"]);
    watch.line(|line| line.contains("\"unreadable\"") && line.contains(MODULES));
    let raised = watch.line(|line| {
        let has = |word: &str| line.contains(&format!("\"{word}\""));
        has("raised") && has("behind") && has(&at.to_string())
    });
    let raised: Value = serde_json::from_str(&raised).expect("JSON");
    assert_eq!((&raised["queued"], &raised["limit"], &raised["drops"]), (&json!(3), &Value::Null, &Value::Null));
    assert!(raised["oldest_wait_ms"].as_u64() > Some(1000), "{raised}");
    let text = start(&["watch", "--pid", &own_pid()]);
    text.line(|line| line.contains(&format!("{at} ")) && line.contains(" is watched: 3 queued with an unknown limit."));
}

#[test]
fn check_finds_what_is_behind_and_never_calls_the_rest_ok() {
    let (_socket, at, _clients) = queue();
    // A machine that is held up between two samples leaves nothing to say of the time between them.
    let line = until(|| {
        let mut check = start(&["check", "--pid", &own_pid(), "--samples", "6", "--interval", "500ms"]);
        let line = check.line(|_| true);
        let is_found = matches!(check.end().0.code(), Some(1 | 2));
        (is_found && line.contains("behind")).then_some(line)
    });
    assert!(line.contains(&format!("{at} of ")) && line.contains("3 queued, backlog not known"), "{line}");
    let (idle, _) = listen(5);
    let port = idle.local_addr().ok().and_then(|address| address.as_socket()).expect("its address").port();
    let mut check = start(&["check", "--port", &port.to_string()]);
    let line = check.line(|_| true);
    assert!(line.starts_with("ACCEPT_QUEUE UNKNOWN - ") && line.contains(MODULES), "{line}");
    assert_eq!(check.end().0.code(), Some(3));
}

#[test]
fn export_has_no_limit_and_counts_the_listeners_of_which_it_is_so() {
    let (_socket, at, _clients) = queue();
    let mut export = start(&["export", "--listen", "127.0.0.1:0", "--pid", &own_pid()]);
    let said = lines(export.child.stderr.take().expect("its errors"));
    let first = said.recv_timeout(DEADLINE).expect("a line");
    assert!(first.starts_with("accept-queue: not all can be read: ") && first.contains(MODULES), "{first}");
    let second = said.recv_timeout(DEADLINE).expect("another");
    let place = second.strip_prefix("accept-queue: metrics at http://").and_then(|rest| rest.strip_suffix("/metrics"));
    let exporter: SocketAddr = place.and_then(|at| at.parse().ok()).unwrap_or_else(|| panic!("{second}"));
    let scrape = || {
        let mut stream = TcpStream::connect(exporter).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("patience");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let of = format!("listener=\"{at}\"");
    let has = |page: &str, metric: &str, rest: &str| {
        let metric = format!("accept_queue_{metric}{{{of}");
        page.lines().any(|line| line.starts_with(&metric) && line.ends_with(rest))
    };
    until(|| has(&scrape(), "condition", "condition=\"behind\"} 1").then_some(()));
    let page = scrape();
    assert!(has(&page, "queued_connections", " 3") && has(&page, "oldest_wait_seconds", ""), "{page}");
    assert!(!has(&page, "limit", "") && !has(&page, "dropped_packets_total", ""), "{page}");
    let partly = page.lines().find_map(|line| line.strip_prefix("accept_queue_partly_read_listeners "));
    let all = page.lines().find_map(|line| line.strip_prefix("accept_queue_listeners "));
    assert!(partly.is_some() && partly == all, "{page}");
}

#[test]
fn top_shows_the_queue_without_its_limit() {
    let (_socket, at, _clients) = queue();
    let top = start(&["top", "--pid", &own_pid(), "--interval", "100ms"]);
    top.line(|line| line.contains(&at.to_string()) && line.contains(" 3/? "));
}
