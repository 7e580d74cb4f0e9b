//! `accept-queue lab` from outside. Tests that open sockets are ignored by `cargo test` and run by `make test`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_accept-queue");

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("lab").args(arguments);
    command
}

fn output(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().expect("it starts")
}

fn shell(line: &str, folder: &Path) -> Output {
    let folders = [Path::new(PROGRAM).parent().expect("its folder").to_str().expect("a path"), env!("PATH")].join(":");
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(folder).env("PATH", folders);
    output(command)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn succeeded(output: &Output) -> &str {
    assert!(output.status.success(), "{} {}", output.status, text(&output.stderr));
    text(&output.stdout)
}

/// The one line of a refused command.
fn refused(output: &Output, status: i32) -> &str {
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(status), ""), "{}", text(&output.stderr));
    let complaint = text(&output.stderr).trim_end();
    assert!(status == 2 || complaint.lines().count() == 1, "{complaint}");
    complaint
}

fn document(arguments: &[&str]) -> Value {
    let output = output(program(&[arguments, &["--json"]].concat()));
    serde_json::from_str(succeeded(&output)).expect("one JSON document")
}

fn step<'a>(document: &'a Value, name: &str) -> &'a Value {
    let steps = document["steps"].as_array().expect("an array");
    steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("a step {name}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no figure"))
}

/// How many sockets are in a state; 0 where it is missing.
fn count(states: &Value, state: &str) -> u64 {
    states.get(state).map_or(0, number)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What the kernel does with `clients` at a `limit`.
fn assert_rules(document: &Value, limit: u64, clients: u64) {
    let inside = clients.min(limit + 1);
    let outside = clients - inside;
    assert_eq!((number(&document["schema"]), number(&document["limit"])), (1, limit));
    let names: Vec<_> = document["steps"].as_array().expect("an array").iter().map(|step| &step["step"]).collect();
    assert_eq!(names, ["listening", "connected", "retried", "closed", "reset", "accepted"]);
    let mut elapsed = 0;
    for step in document["steps"].as_array().expect("an array") {
        assert_eq!((number(&step["counts"]["limit"]), count(&step["server_states"], "LISTEN")), (limit, 1), "{step}");
        assert!(number(&step["elapsed_ms"]) >= elapsed, "time goes on: {step}");
        elapsed = number(&step["elapsed_ms"]);
        for words in ["title", "explanation"] {
            let words = step[words].as_str().expect("words");
            assert!((1..=80).contains(&words.chars().count()) && !words.contains('\n'), "one line: {words:?}");
        }
    }

    let listening = step(document, "listening");
    assert_eq!((number(&listening["counts"]["queued"]), number(&listening["counts"]["drops"])), (0, 0));
    assert!(listening["accepted"].is_null() && listening["counts"]["oldest_wait_ms"].is_null());

    let connected = step(document, "connected");
    assert_eq!(number(&connected["counts"]["queued"]), inside);
    assert_eq!(number(&connected["counts"]["queued_alive"]), inside);
    assert_eq!(count(&connected["server_states"], "ESTABLISHED"), inside);
    // Handshakes whose last ACK met the full queue: on a cable, a few may be on their way as it fills.
    let half_way = count(&connected["client_states"], "ESTABLISHED") - inside;
    assert_eq!(count(&connected["client_states"], "SYN_SENT"), outside - half_way);
    assert!(count(&connected["server_states"], "SYN_RECV") <= half_way);

    let retried = step(document, "retried");
    let again = number(&retried["syn_retransmits"]);
    assert!(again >= outside - half_way, "each SYN is sent again: {retried}");
    assert!(number(&retried["counts"]["drops"]) >= outside - half_way + again, "every SYN is a drop: {retried}");
    for counter in ["listen_overflows", "listen_drops"] {
        let rise = number(&retried["counters"][counter]);
        assert!(if half_way == 0 { rise >= outside + again } else { rise > 0 }, "{retried}");
    }

    let closed = step(document, "closed");
    assert_eq!(number(&closed["counts"]["queued"]), inside);
    assert_eq!(number(&closed["counts"]["queued_closed"]), inside);
    assert_eq!(count(&closed["server_states"], "CLOSE_WAIT"), inside);
    assert_eq!(count(&closed["client_states"], "FIN_WAIT2"), inside);
    assert_eq!(count(&closed["client_states"], "SYN_SENT"), 0);

    let reset = step(document, "reset");
    let (gone, left) = (number(&reset["counts"]["queued_reset"]), number(&reset["counts"]["queued_closed"]));
    assert_eq!((number(&reset["counts"]["queued"]), gone + left), (inside, inside));
    assert_eq!(count(&reset["server_states"], "CLOSE_WAIT"), left);
    assert_eq!(count(&reset["client_states"], "FIN_WAIT2"), left);

    let accepted = step(document, "accepted");
    assert_eq!(number(&accepted["counts"]["queued"]), 0);
    assert!((inside..=inside + half_way).contains(&number(&accepted["accepted"])));
    // The FIN of one that was half-way may not have reached the server.
    assert!((inside..=number(&accepted["accepted"])).contains(&number(&accepted["accepted_dead"])), "{accepted}");
    if half_way == 0 {
        assert_eq!(gone, inside.div_ceil(2), "the first, the third and so on");
        assert_eq!(accepted["accepted"], accepted["accepted_dead"], "all of them dead");
    }
    assert!(accepted["server_states"].get("CLOSE_WAIT").is_none());
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn the_experiment_of_2009_comes_out_as_in_2009() {
    let document = document(&[]);
    assert_rules(&document, 30, 100);
    let (closed, connected) = (step(&document, "closed"), step(&document, "connected"));
    assert_eq!(count(&closed["server_states"], "CLOSE_WAIT"), 31, "as netstat counted them then");
    assert_eq!(count(&connected["client_states"], "SYN_SENT"), 69, "40 in 2009, when some SYNs were let in");
    assert!(document["pcap"].is_null());
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn one_more_fits_than_the_backlog_says_whatever_it_is() {
    for (backlog, clients) in [(0, 1), (0, 4), (5, 3), (5, 6), (5, 7), (1000, 1500)] {
        let document = document(&["--backlog", &backlog.to_string(), "--clients", &clients.to_string()]);
        assert_rules(&document, backlog, clients);
    }
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn a_backlog_that_somaxconn_clips_is_explained() {
    let document = document(&["--backlog", "65535", "--clients", "3"]);
    let somaxconn = number(&document["somaxconn"]);
    assert_eq!(number(&document["backlog"]), 65_535);
    assert_rules(&document, somaxconn.min(65_535), 3);
    let explanation = step(&document, "listening")["explanation"].as_str().expect("words");
    assert_eq!(explanation.contains("somaxconn"), somaxconn < 65_535, "{explanation}");
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn between_two_hosts_the_counters_are_those_of_the_experiment_alone() {
    if !is_root() {
        println!("skipped: network namespaces need root");
        return;
    }
    let before = fs::read_to_string("/proc/net/dev").expect("the devices");
    let document = document(&["--hosts"]);
    assert_rules(&document, 30, 100);
    assert_eq!(
        (&document["hosts"], document["server"].as_str().map(|at| &at[..10])),
        (&true.into(), Some("192.0.2.1:"))
    );
    let retried = step(&document, "retried");
    if count(&retried["server_states"], "SYN_RECV") == 0 {
        assert_eq!(retried["counters"]["listen_overflows"], retried["counts"]["drops"]);
    }
    let names =
        |devices: &str| devices.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect::<Vec<_>>();
    let after = fs::read_to_string("/proc/net/dev").expect("the devices");
    assert_eq!(names(&after), names(&before), "nothing is left of the cable");
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn on_a_slow_wire_some_clients_are_half_way_when_the_queue_fills_as_in_2009() {
    if !is_root() {
        println!("skipped: network namespaces need root");
        return;
    }
    let slow = |settings: &str| {
        let line = format!(
            "ip link set lo up && tc qdisc add dev lo root tbf rate 1mbit burst 1600 latency 20s && {settings} &&
             accept-queue lab --json"
        );
        shell(&format!("unshare --net sh -c '{line}'"), Path::new("/"))
    };
    for settings in ["true", "sysctl -qw net.ipv4.tcp_abort_on_overflow=1", "sysctl -qw net.ipv4.tcp_syncookies=0"] {
        let said = slow(settings);
        if text(&said.stderr).contains("qdisc kind is unknown") {
            println!("skipped: this kernel has no token bucket (CONFIG_NET_SCH_TBF) to slow a wire with");
            return;
        }
        let document: Value = serde_json::from_str(succeeded(&said)).expect("one JSON document");
        // Packets are on their way during every reading: what is at rest is the queue, and what comes out of it.
        for (name, figure) in [("connected", "queued_alive"), ("closed", "queued_closed")] {
            assert_eq!(number(&step(&document, name)["counts"][figure]), 31, "{settings}: {document}");
        }
        let (reset, accepted) = (step(&document, "reset"), step(&document, "accepted"));
        assert_eq!(number(&reset["counts"]["queued"]), 31, "{settings}: {reset}");
        assert!(number(&reset["counts"]["queued_reset"]) > 0, "{settings}: {reset}");
        assert!(number(&accepted["accepted_dead"]) >= 31, "{settings}: {accepted}");
        assert_eq!(number(&accepted["counts"]["queued"]), 0, "{settings}: {accepted}");
        let connected = step(&document, "connected");
        assert!(count(&connected["client_states"], "ESTABLISHED") > 31, "{settings}: {connected}");
        assert!(connected["explanation"].as_str().is_some_and(|words| words.contains(" half-way: ")), "{connected}");
    }
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn packets_on_standard_output_are_there_alone_and_the_text_is_on_standard_error() {
    if !is_root() {
        println!("skipped: packet sockets need root");
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let line = "accept-queue lab --clients 2 --pcap - 2>text | tcpdump -nr - 2>tcpdump.err | wc -l; tail -n 1 text; ls";
    let said = shell(line, folder.path());
    let said = succeeded(&said);
    let lines: Vec<_> = said.lines().collect();
    let packets: u64 = lines[0].trim().parse().expect("a number");
    assert!(packets >= 2, "{said}");
    assert_eq!(lines[1..], [&format!("{packets} packets are in standard output"), "tcpdump.err", "text"], "{said}");
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn the_packets_are_those_that_tcpdump_sees_each_of_them_once() {
    if !is_root() {
        println!("skipped: packet sockets need root");
        return;
    }
    let folder = TempDir::new().expect("a folder");
    for hosts in [&[][..], &["--hosts"]] {
        let file = folder.path().join("lab.pcap");
        let file = file.to_str().expect("a path");
        let document = document(&[&["--pcap", file], hosts].concat());
        let port = document["server"].as_str().and_then(|at| at.split(':').nth(1)).expect("a port").to_owned();
        let packets = |filter: &str| {
            let line = format!("tcpdump -nr {file} -tt -v --nano {filter} 2>tcpdump.err");
            let read = shell(&line, folder.path());
            succeeded(&read).lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).count()
                as u64
        };
        assert_eq!(packets(""), number(&document["pcap"]["packets"]));
        assert_eq!(packets(&format!("not tcp port {port}")), 0);
        // Every client's first SYN, and those that were sent again until the clients gave up.
        let retried = step(&document, "retried");
        let syns = packets("'tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn'");
        assert!(syns >= 100 + number(&retried["syn_retransmits"]), "{syns}");
        assert!(syns <= 100 + 2 * 69, "no SYN is there twice: {syns}");
        assert_eq!(
            packets("'tcp[tcpflags] & tcp-rst != 0'"),
            number(&step(&document, "reset")["counts"]["queued_reset"])
        );
        assert_eq!(number(&document["pcap"]["lost"]), 0);
        let left: Vec<_> =
            fs::read_dir(folder.path()).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left.len(), 2, "the file, and tcpdump's complaints: {left:?}");
    }
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn a_full_disk_is_one_line_and_leaves_the_old_file_as_it_was() {
    if !is_root() {
        println!("skipped: a disk that is full needs root to mount it");
        return;
    }
    let folder = TempDir::new().expect("a folder");
    // One page for the old file, and one for the new one, which needs more.
    let line = "mount -t tmpfs -o size=8k none . && cd \"$PWD\" && echo old > lab.pcap
        accept-queue lab --pcap lab.pcap > /dev/null; echo $?; ls -A; cat lab.pcap";
    let said = shell(&format!("unshare --mount sh -c '{line}'"), folder.path());
    assert_eq!(succeeded(&said), "1\nlab.pcap\nold\n");
    assert_eq!(text(&said.stderr), "accept-queue: --pcap lab.pcap: No space left on device\n");
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn a_device_is_written_to_and_not_replaced() {
    if !is_root() {
        println!("skipped: packet sockets need root");
        return;
    }
    let said = shell("accept-queue lab --clients 2 --pcap /dev/full --json", Path::new("/"));
    assert_eq!(refused(&said, 1), "accept-queue: --pcap /dev/full: No space left on device");
    assert!(fs::metadata("/dev/full").expect("its status").file_type().is_char_device());
    let piped =
        shell("accept-queue lab --clients 2 --pcap /dev/stderr 2>&1 >/dev/null | tcpdump -nr - 2>&1", Path::new("/"));
    assert!(succeeded(&piped).contains("Flags [S.]"), "{}", text(&piped.stdout));
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn a_full_standard_output_is_an_error_and_a_closed_one_is_not() {
    let said = shell("accept-queue lab --clients 2 > /dev/full", Path::new("/"));
    assert_eq!(refused(&said, 1), "accept-queue: standard output: No space left on device");
    let mut child = program(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(line.starts_with("1. A server listens with backlog 30"), "{line}");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), text(&ended.stderr)), (Some(0), ""));
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn the_page_fits_a_terminal_of_eighty_columns() {
    for arguments in [&["--clients", "40"][..], &["--backlog", "3000", "--clients", "6000"]] {
        let page = output(program(arguments));
        let page = succeeded(&page);
        for title in 1..=6 {
            assert!(page.lines().any(|line| line.starts_with(&format!("{title}. "))), "{page}");
        }
        let widest = page.lines().max_by_key(|line| line.chars().count()).expect("lines");
        assert!(widest.chars().count() <= 80, "{widest}");
        assert!(!page.contains('\u{1b}'), "no colours and no progress in a pipe");
    }
}

/// Together they have more clients than one address has ports.
#[test]
#[ignore = "on real sockets: make test runs it"]
fn experiments_at_the_same_time_take_no_ports_from_each_other() {
    let experiments: Vec<_> = (0..6)
        .map(|_| {
            let mut experiment = program(&["--backlog", "0", "--clients", "5000"]);
            experiment.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
        })
        .collect();
    for experiment in experiments {
        succeeded(&experiment.wait_with_output().expect("its end"));
    }
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn the_clients_end_with_the_program_however_that_ends() {
    let mut child = program(&["--backlog", "1"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut page = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    // The clients are there now, and in SYN_SENT for a second.
    page.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("2. "))).expect("step 2").expect("a line");
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).expect("its children");
    let clients: u32 = children.trim().parse().expect("one process");
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(format!("/proc/{clients}/cmdline")).is_ok_and(|line| line.contains("lab-clients")) {
        assert!(Instant::now() < deadline, "the clients ({clients}) are still there");
    }
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn clients_that_die_are_an_error() {
    let mut child = program(&["--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let own = format!("/proc/{0}/task/{0}/children", child.id());
    let deadline = Instant::now() + Duration::from_secs(10);
    let clients = loop {
        let children = fs::read_to_string(&own).expect("its children");
        if let Some(clients) = children.split_whitespace().next().and_then(|pid| pid.parse().ok()) {
            break clients;
        }
        assert!(Instant::now() < deadline, "no clients");
    };
    let clients = rustix::process::Pid::from_raw(clients).expect("a pid");
    rustix::process::kill_process(clients, rustix::process::Signal::KILL).expect("its end");
    let status = child.wait().expect("its end");
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("its message");
    assert_eq!((status.code(), said.as_str()), (Some(1), "accept-queue: the clients ended: without a message\n"));
}

#[test]
#[ignore = "on real sockets: make test runs it"]
fn missing_rights_and_tools_are_named() {
    if !is_root() {
        println!("skipped: only root can give up rights one by one");
        return;
    }
    for (capability, arguments, named) in [
        ("sys_admin", "--hosts", "CAP_SYS_ADMIN"),
        ("net_admin", "--hosts", "CAP_NET_ADMIN"),
        ("net_raw", "--pcap lab.pcap", "CAP_NET_RAW"),
    ] {
        let folder = TempDir::new().expect("a folder");
        let line = format!("setpriv --bounding-set -{capability} accept-queue lab {arguments}");
        let said = shell(&line, folder.path());
        assert!(refused(&said, 1).contains(named), "{}", text(&said.stderr));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
    let mut without_ip = program(&["--hosts"]);
    without_ip.env("PATH", "/nowhere");
    assert!(refused(&output(without_ip), 1).contains("`ip` (package iproute2)"));
}

#[test]
fn figures_out_of_range_are_refused_with_the_range() {
    for (arguments, named) in [
        (["--backlog", "65536"], "65536 is not in 0..=65535"),
        (["--backlog", "-1"], "-1 is not in 0..=65535"),
        (["--clients", "0"], "0 is not in 1..=20000"),
        (["--clients", "20001"], "20001 is not in 1..=20000"),
        (["--clients", "many"], "many"),
        (["--pcap", ""], "--pcap"),
    ] {
        let said = output(program(&arguments));
        assert!(refused(&said, 2).contains(named), "{}", text(&said.stderr));
    }
}

#[test]
fn a_hard_limit_that_does_not_suffice_is_named() {
    let said = shell("ulimit -n 50; accept-queue lab", Path::new("/"));
    let complaint = refused(&said, 1);
    for named in ["--clients 100", "116 open files", "RLIMIT_NOFILE is 50", "at most 34"] {
        assert!(complaint.contains(named), "{complaint}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_is_done() {
    let folder = TempDir::new().expect("a folder");
    let at = folder.path().to_str().expect("a path");
    for (file, reason) in [
        (at.to_owned(), "is a directory"),
        (format!("{at}/missing/lab.pcap"), "No such file or directory"),
        (format!("{at}/.."), "is a directory"),
    ] {
        let said = output(program(&["--pcap", &file]));
        assert_eq!(refused(&said, 1), format!("accept-queue: --pcap {file}: {reason}"));
    }
    let said = output(program(&["--pcap", &format!("{at}/\u{1b}[31m/lab.pcap")]));
    assert!(!refused(&said, 1).contains('\u{1b}'));
    assert_eq!(fs::read_dir(at).expect("a folder").count(), 0, "nothing is left");
}
