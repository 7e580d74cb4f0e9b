//! `accept-queue check`, from outside.

mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{PROGRAM, Said, Server, at, command, listen, own, run, run_as_nobody};

/// The line keeps to the convention: one line, the word that goes with the status, nothing on standard error.
fn check(arguments: &[&str]) -> Said {
    let said = run(&[&["check"], arguments].concat());
    let word = ["OK", "WARNING", "CRITICAL", "UNKNOWN"][said.status as usize];
    assert!(said.out.starts_with(&format!("ACCEPT_QUEUE {word} - ")), "{said:?}");
    assert_eq!((said.out.lines().count(), said.err.as_str()), (1, ""), "{said:?}");
    said
}

#[test]
fn an_empty_queue_is_ok_and_in_performance_data() {
    let (_socket, address) = listen(10);
    let port = address.port().to_string();
    for samples in ["1", "2"] {
        let said = check(&["--port", &port, "--samples", samples, "--interval", "10ms"]);
        assert_eq!(said.status, 0, "{said:?}");
        let (text, data) = said.out.trim().split_once(" | ").expect("performance data");
        assert_eq!(text, format!("ACCEPT_QUEUE OK - 1 listener, most at {address}: 0 queued, limit 10"));
        assert_eq!(
            data,
            format!("'{address} queued'=0;5;10;0;10 '{address} oldest wait'=0ms;100;;0 '{address} drops'=0c;;;0")
        );
    }
}

#[test]
fn a_full_queue_is_critical_at_once_and_over_time() {
    let (_socket, address) = listen(1);
    let _clients = [1, 2].map(|_| TcpStream::connect(address).expect("a client"));
    let port = address.port().to_string();
    for samples in ["1", "3"] {
        let said = check(&["--port", &port, "--samples", samples, "--interval", "50ms", "--max-wait", "1h"]);
        assert_eq!(said.status, 2, "{said:?}");
        assert!(said.out.contains("overflowing"), "{said:?}");
    }
}

#[test]
fn one_client_that_is_not_accepted_is_behind_and_after_a_second_stuck() {
    let (_socket, address) = listen(10);
    let _client = TcpStream::connect(address).expect("a client");
    let port = address.port().to_string();
    let deadline = Instant::now() + Duration::from_secs(10);
    // It has to have waited at the first sample already.
    while check(&["--port", &port, "--samples", "1", "--max-wait", "10ms"]).status == 0 {
        assert!(Instant::now() < deadline, "it does not wait");
    }
    let short = check(&["--port", &port, "--samples", "5", "--interval", "100ms", "--max-wait", "10ms"]);
    assert!(short.status == 1 && short.out.contains(" behind, "), "{short:?}");
    let at_once = check(&["--port", &port, "--samples", "1", "--max-wait", "10ms"]);
    assert!(at_once.status == 1 && at_once.out.contains(" behind, "), "{at_once:?}");
    let usual = check(&["--port", &port]);
    assert!(usual.status == 2 && usual.out.contains("stuck"), "{usual:?}");
    let patient = check(&["--port", &port, "--samples", "1", "--max-wait", "1h"]);
    assert_eq!(patient.status, 0, "{patient:?}");
}

#[test]
fn a_burst_that_drains_is_no_alarm() {
    let (socket, address) = listen(10);
    let _clients: Vec<_> = (0..11).map(|_| TcpStream::connect(address).expect("a client")).collect();
    let port = address.port().to_string();
    let begun = Instant::now();
    let mut child = command(&[PROGRAM, "check", "--port", &port, "--samples", "15", "--interval", "100ms"]);
    let child = child.stdout(std::process::Stdio::piped()).spawn().expect("the program");
    // Long enough for some samples of a full queue, and much less than the second throughout which it would matter.
    while begun.elapsed() < Duration::from_millis(300) {
        std::thread::yield_now();
    }
    let _accepted: Vec<_> = (0..11).map(|_| socket.accept().expect("accepted")).collect();
    let said: Said = child.wait_with_output().expect("its end").into();
    assert_eq!(said.status, 0, "{said:?}");
}

#[test]
fn a_queue_may_be_filled_to_a_share() {
    let (_socket, address) = listen(10);
    let _clients: Vec<_> = (0..6).map(|_| TcpStream::connect(address).expect("a client")).collect();
    let port = address.port().to_string();
    let with = |share| check(&["--port", &port, "--samples", "1", "--max-wait", "1h", "--max-fill", share]);
    let filled = with("50%");
    assert!(filled.status == 1 && filled.out.contains(" filled, "), "{filled:?}");
    assert_eq!(with("60%").status, 0);
}

#[test]
fn a_line_that_cannot_be_written_is_an_error_on_standard_error_with_the_same_status() {
    let (_socket, address) = listen(1);
    let port = address.port().to_string();
    for (clients, status) in [(0, 0), (2, 2)] {
        let _clients: Vec<_> = (0..clients).map(|_| TcpStream::connect(address).expect("a client")).collect();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
        let mut checked = command(&[PROGRAM, "check", "--samples", "1", "--port", &port]);
        let said = Said::from(checked.stdout(full).output().expect("the program"));
        assert_eq!(said.status, status, "{said:?}");
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
        assert!(said.err.starts_with("accept-queue: standard output: No space left"), "{said:?}");
    }
}

#[test]
fn the_report_is_json_too() {
    let (_socket, address) = listen(1);
    let _clients = [1, 2].map(|_| TcpStream::connect(address).expect("a client"));
    let said = run(&["check", "--pid", &own(), "--samples", "1", "--json"]);
    let report = said.json();
    assert_eq!((said.status, &report["schema"], &report["status"]), (2, &json!(1), &json!("critical")));
    let listener = at(&report, &address.to_string()).expect("the listener");
    assert_eq!((&listener["status"], &listener["full"]), (&json!("critical"), &json!(true)));
    assert!(listener["troubles"].as_array().expect("troubles").contains(&json!("overflowing")), "{listener}");
}

#[test]
fn what_cannot_be_known_is_unknown_with_the_reason() {
    for (arguments, reason) in [
        (&["--port", "1"][..], "no process listens on port 1"),
        (&["--pid", "2147483647"], "there is no process 2147483647"),
        (&["--node", "nobody"], "no BEAM runs a node nobody"),
    ] {
        for samples in ["1", "2"] {
            let said = check(&[arguments, &["--samples", samples, "--interval", "10ms"]].concat());
            assert_eq!((said.status, said.out), (3, format!("ACCEPT_QUEUE UNKNOWN - {reason}\n")), "{samples}");
        }
    }
}

#[test]
fn what_cannot_be_understood_is_unknown_too_for_two_would_mean_critical() {
    for (arguments, named) in [
        (&["--max-wait", "100"][..], "100ms"),
        (&["--max-wait", "soon"], "soon"),
        (&["--max-fill", "50"], "1% to 100%"),
        (&["--max-fill", "0%"], "1% to 100%"),
        (&["--max-fill", "101%"], "1% to 100%"),
        (&["--samples", "0"], "1..=120"),
        (&["--interval", "2s"], "10ms to 500ms"),
        (&["--interval", "1ms"], "10ms to 500ms"),
        (&["--pid", "x\u{7}\n"], "'x"),
        (&["--pid", "1", "--port", "1"], "--port"),
        (&["--json=yes"], "--json"),
    ] {
        let said = check(arguments);
        assert_eq!(said.status, 3);
        assert!(said.out.contains(named) && !said.out.contains('\u{7}'), "{said:?}");
    }
}

#[test]
fn help_is_no_refusal() {
    for arguments in [&["check", "--help"][..], &["--help"], &["--version"]] {
        let said = run(arguments);
        assert_eq!((said.status, said.err.as_str()), (0, ""));
        assert!(!said.out.is_empty());
    }
}

#[test]
#[ignore = "starts a BEAM"]
fn a_beam_that_ends_in_the_middle_is_unknown() {
    let mut beam = Server::beam(&[], &[], "");
    let pid = beam.pid();
    let mut program = command(&[PROGRAM, "check", "--pid", &pid, "--samples", "120", "--interval", "20ms"]);
    let program = program.stdout(std::process::Stdio::piped()).spawn().expect("the program");
    beam.end();
    let said: Said = program.wait_with_output().expect("its end").into();
    assert_eq!((said.status, said.out), (3, format!("ACCEPT_QUEUE UNKNOWN - there is no process {pid}\n")));
}

#[test]
#[ignore = "starts a BEAM, and asks as another user, as root"]
fn a_beam_that_may_not_be_read_is_unknown_and_never_ok() {
    let beam = Server::beam(&[], &[], "");
    for samples in ["1", "2"] {
        let said = run_as_nobody(&["check", "--pid", &beam.pid(), "--samples", samples, "--interval", "10ms"]);
        assert_eq!(said.status, 3, "{said:?}");
        assert!(said.out.contains("CAP_SYS_PTRACE"), "{said:?}");
    }
}

#[test]
#[ignore = "starts a BEAM"]
fn a_beam_that_accepts_is_ok_and_one_that_does_not_is_critical() {
    let silent = Server::beam(&[], &[], "");
    let said = check(&["--pid", &silent.pid()]);
    assert!(said.status == 2 && said.out.contains("stuck"), "{said:?}");
    let accepts = "F = fun F(L) -> {ok, _} = gen_tcp:accept(L), F(L) end, spawn(fun() -> receive L -> F(L) end end) ! element(2, \
                   gen_tcp:listen(0, [{ip, loopback}])), ";
    let beam = Server::beam(&[], &[], accepts);
    let report = run(&["check", "--pid", &beam.pid(), "--json"]).json();
    let listeners = report["listeners"].as_array().expect("listeners");
    assert_eq!(listeners.len(), 2, "{report}");
    assert!(listeners.iter().any(|listener| listener["status"] == "ok"), "{report}");
}
