//! `accept-queue watch` from outside.

mod running;

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::process::Stdio;

use running::{Running, connect, fake_beam, holder, listen, own_pid, program, until};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

fn watch(options: &[&str]) -> Running {
    Running::start(program().arg("watch").args(options))
}

/// The line of this event and address.
fn is_event(event: &str, address: impl ToString) -> impl Fn(&str) -> bool {
    let (event, address) = (event.to_owned(), address.to_string());
    move |line| {
        let value: Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(value["schema"] == 1 && value["at"].as_u64() > Some(1_700_000_000_000), "{line}");
        value["event"] == event.as_str() && value["address"] == address.as_str()
    }
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).expect("JSON")
}

#[test]
fn a_queue_that_overflows_is_reported_with_its_figures_from_beginning_to_end() {
    let (socket, at) = listen(1);
    let watch = watch(&["--pid", &own_pid(), "--json", "--interval", "20ms"]);
    let added = json(&watch.line(is_event("added", at)));
    assert_eq!((&added["queued"], &added["limit"]), (&0.into(), &1.into()));
    assert_eq!(added["owners"][0]["pid"], std::process::id());
    let _clients = [connect(at), connect(at), connect(at)];
    let raised = json(&watch.line(is_event("raised", at)));
    assert_eq!((&raised["condition"], &raised["queued"]), (&"overflowing".into(), &2.into()), "{raised}");
    assert!(raised["dropped"].as_u64() >= Some(1), "{raised}");
    let sample = json(&watch.line(|line| is_event("sample", at)(line) && json(line)["queued_alive"] == 2));
    assert!(sample["oldest_wait_ms"].is_u64() && sample["conditions"][0] == "overflowing", "{sample}");
    drop(socket);
    let cleared = json(&watch.line(is_event("cleared", at)));
    assert!(cleared["duration_ms"].is_u64() && cleared.get("queued").is_none(), "{cleared}");
    watch.line(is_event("removed", at));
}

/// Both sockets listen on one address (SO_REUSEPORT).
fn listen_shared(at: SocketAddr, backlog: i32) -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("SO_REUSEPORT");
    socket.bind(&at.into()).expect("bind");
    socket.listen(backlog).expect("listen");
    let at = socket.local_addr().ok().and_then(|at| at.as_socket()).expect("its address");
    (socket, at)
}

#[test]
fn the_socket_of_a_group_that_is_full_is_named() {
    let (small, at) = listen_shared(SocketAddr::from(([127, 0, 0, 1], 0)), 0);
    let (_large, _) = listen_shared(at, 100);
    let watch = watch(&["--pid", &own_pid(), "--json", "--interval", "20ms"]);
    watch.line(is_event("added", at));
    let _clients: Vec<_> = (0..24).map(|_| connect(at)).collect();
    let raised = json(&watch.line(is_event("raised", at)));
    assert_eq!(raised["condition"], "overflowing", "{raised}");
    let socket = &raised["socket"];
    assert_eq!((&socket["queued"], &socket["limit"]), (&1.into(), &0.into()), "{raised}");
    let inode = std::fs::read_link(format!("/proc/self/fd/{}", small.as_raw_fd())).expect("ours");
    assert_eq!(format!("socket:[{}]", socket["inode"]), inode.to_string_lossy());
    assert!(socket["cookie"].is_u64(), "{raised}");
}

#[test]
fn a_signal_ends_it_with_a_summary_and_success() {
    let (_socket, at) = listen(5);
    let _clients = [connect(at)];
    for signal in ["INT", "TERM", "HUP"] {
        let mut watch = watch(&["--port", &at.port().to_string(), "--samples"]);
        watch.line(|line| line.contains(&at.to_string()) && line.contains("1 queued (backlog 5), 1 alive"));
        watch.signal(signal);
        let (status, said) = watch.end();
        assert_eq!(status.code(), Some(0), "{signal}: {said}");
        assert!(
            said.contains("1 listener, ") && said.contains(&format!("the worst queue 1 (backlog 5) at {at}.")),
            "{said}"
        );
    }
}

#[test]
fn one_that_was_started_to_outlive_its_terminal_does_so() {
    let (_socket, at) = listen(5);
    let mut command = std::process::Command::new("nohup");
    command.arg(program().get_program()).args(["watch", "--samples", "--port", &at.port().to_string()]);
    let mut watch = Running::start(&mut command);
    watch.line(|line| line.contains(&at.to_string()));
    watch.signal("HUP");
    // More than may have been on their way.
    for _ in 0..20 {
        watch.line(|line| line.contains(&at.to_string()));
    }
    watch.signal("TERM");
    assert_eq!(watch.end().0.code(), Some(0));
}

#[test]
fn a_reader_who_does_not_read_keeps_no_signal_out() {
    let (_socket, at) = listen(5);
    let (_unread, mut pipe) = std::io::pipe().expect("a pipe");
    // Filled to the brim: a pipe holds 64 KiB (pipe(7)).
    pipe.write_all(&[b'\n'; 65536]).expect("room for 64 KiB");
    let mut command = program();
    command.args(["watch", "--port", &at.port().to_string()]).stdout(pipe).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program");
    // SIGTERM is caught: bit 14 of the mask.
    let status = format!("/proc/{}/status", child.id());
    until(|| {
        let text = std::fs::read_to_string(&status).expect("its status");
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask").trim();
        (u64::from_str_radix(mask, 16).expect("a number") >> 14 & 1 == 1).then_some(())
    });
    let watch = Running::start(std::process::Command::new("kill").args(["-s", "TERM", &child.id().to_string()]));
    let ended = until(|| child.try_wait().expect("ours"));
    drop(watch);
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_closed_pipe_is_success() {
    let (_socket, at) = listen(5);
    for options in [&["--json"][..], &[]] {
        let port = at.port().to_string();
        let mut command = program();
        command.args(["watch", "--port", &port]).args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        // Without samples there is nothing to write, and so nothing that could fail.
        drop(child.stdout.take());
        let ended = until(|| child.try_wait().expect("ours"));
        assert_eq!(ended.code(), Some(0), "{options:?}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let (_socket, at) = listen(5);
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let watch = program().args(["watch", "--json", "--port", &at.port().to_string()]).stdout(full).output();
    let watch = watch.expect("the program");
    let said = String::from_utf8_lossy(&watch.stderr);
    assert_eq!(watch.status.code(), Some(1));
    assert!(said.starts_with("accept-queue: standard output: No space left") && said.lines().count() == 1, "{said}");
}

#[test]
fn the_end_of_the_process_is_the_end_of_the_watch() {
    let (socket, at) = listen(5);
    let holder = holder("holder", socket);
    let pid = holder.child.id().to_string();
    let mut watch = watch(&["--pid", &pid]);
    watch.line(|line| line.contains(&format!("{at} of holder ({pid}) is watched: 0 queued (backlog 5).")));
    drop(holder);
    watch.line(|line| line.contains(&format!("{at} of holder ({pid}) is watched no longer")));
    let (status, said) = watch.end();
    assert_eq!(status.code(), Some(0));
    assert!(said.contains(&format!("process {pid} has ended.")), "{said}");
}

#[test]
fn a_node_may_come_and_go_and_come_again() {
    let node = format!("watched{}", own_pid());
    let begin = || {
        let (socket, at) = listen(5);
        (fake_beam(&node, socket), at)
    };
    let (first, at) = begin();
    let watch = watch(&["--node", &node, "--json", "--interval", "20ms"]);
    watch.line(is_event("added", at));
    drop(first);
    watch.line(is_event("removed", at));
    let (_second, at) = begin();
    watch.line(is_event("added", at));
}

#[test]
fn it_ends_after_the_given_samples_or_time() {
    let (_socket, at) = listen(5);
    let port = at.port().to_string();
    let options = ["--port", &port, "--interval", "20ms"];
    let (status, said) = watch(&[&options[..], &["--count", "3"]].concat()).end();
    assert!(status.success() && said.contains("3 samples in 0."), "{said}");
    let (status, said) = watch(&[&options[..], &["--for", "300ms"]].concat()).end();
    assert!(status.success() && said.contains("samples in 0.") && said.contains("no connection waited"), "{said}");
}

#[test]
fn no_control_character_of_a_process_reaches_a_terminal() {
    let (socket, _) = listen(5);
    let holder = holder("\x1b[2Jevil\n", socket);
    let output = program().args(["watch", "--count", "1", "--pid", &holder.child.id().to_string()]).output();
    let text = String::from_utf8(output.expect("the program").stdout).expect("text");
    assert!(text.contains(r"\u{1b}[2Jevil\n"), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn bad_input_is_one_clear_line() {
    for (options, status, sentence) in [
        (&["--pid", "2147483647"][..], 1, "there is no process 2147483647"),
        (&["--pid", "0"], 2, "0 is not in 1..=2147483647"),
        (&["--port", "65536"], 2, "65536 is not in 1..=65535"),
        (&["--interval", "fast"], 2, "a time has a number and a unit, as 100ms, 5s or 1m30s, and is not 0"),
        (&["--interval", "1ms"], 2, "a reading is taken every 10ms to 1h"),
        (&["--for", "0s"], 2, "a time has a number and a unit"),
        (&["--count", "0"], 2, "0 is not in 1.."),
        (&["--pid", "1", "--all"], 2, "cannot be used with"),
    ] {
        let output = program().arg("watch").args(options).output().expect("the program");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{options:?}: {said}");
        assert!(said.lines().next().is_some_and(|line| line.contains(sentence)), "{options:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
#[ignore = "needs root, for another network namespace"]
fn a_listener_in_another_network_namespace_is_watched_there() {
    let mut command = std::process::Command::new("unshare");
    command.args(["--net", env!("CARGO_BIN_EXE_accept-queue"), "export", "--listen", "0.0.0.0:0"]);
    let mut inside = Running::start(command.arg("--pid").arg(own_pid()));
    let errors = running::lines(inside.child.stderr.take().expect("its errors"));
    let said = errors.recv_timeout(running::DEADLINE).expect("where it listens");
    let at = said.trim_start_matches("accept-queue: metrics at http://").trim_end_matches("/metrics").to_owned();
    let watch = watch(&["--pid", &inside.child.id().to_string(), "--json"]);
    let added = json(&watch.line(is_event("added", at)));
    let own = std::fs::read_link("/proc/self/ns/net").expect("our namespace");
    assert_ne!(format!("net:[{}]", added["namespace"]), own.to_string_lossy());
}
