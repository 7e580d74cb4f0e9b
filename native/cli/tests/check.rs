//! `accept-queue check`, from outside.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::Socket;
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
        assert_eq!(text, format!("ACCEPT_QUEUE OK - 1 listener, most at {address}: 0 of 11 places (backlog 10)"));
        assert_eq!(
            data,
            format!(
                "'{address} queued'=0;5;10;0;10 '{address} fill'=0%;50;100 '{address} oldest wait'=0ms;100;;0 '{address} drops'=0c;;;0"
            )
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

/// Six wait where the limit is ten.
fn filled_to_60_percent() -> (Socket, SocketAddr, Vec<TcpStream>) {
    let (socket, address) = listen(10);
    let clients = (0..6).map(|_| TcpStream::connect(address).expect("a client")).collect();
    (socket, address, clients)
}

#[test]
fn ranges_of_percent_make_it_a_warning_or_critical_and_are_in_performance_data() {
    let (_socket, address, _clients) = filled_to_60_percent();
    let port = address.port().to_string();
    for (ranges, status, word, fill, queued) in [
        (&["-w", "60"][..], 0, "", "60;100", "6;10"),
        (
            &["-w", "59"],
            1,
            "filled, 6 of 11 places (backlog 10), 60% of the backlog (warning range 59)",
            "59;100",
            "5;10",
        ),
        (&["-w", "50", "-c", "80"], 1, "(warning range 50)", "50;80", "5;8"),
        (&["-w", "40", "-c", "50"], 2, "(critical range 50)", "40;50", "4;5"),
        (
            &["--warning=70:"],
            1,
            "underfilled, 6 of 11 places (backlog 10), 60% of the backlog (warning range 70:)",
            "70:;100",
            "7:;10",
        ),
        (&["-w", "~:60", "-c", "10:70"], 0, "", "~:60;10:70", "~:6;1:7"),
        (&["-w", "10:20", "-c", "70:80"], 2, "underfilled", "10:20;70:80", "1:2;7:8"),
        (&["-w", "@60:70"], 1, "(warning range @60:70)", "@60:70;100", "@6:7;10"),
        (&["-w", "@50:59"], 0, "", "@50:59;100", "@5:5;10"),
        (&["-w", "~:", "-c", "@-50:60"], 2, "(critical range @-50:60)", "~:;@-50:60", "~:;@-5:6"),
        // A share is a range that begins with 0.
        (&["--max-fill", "60%"], 0, "", "60;100", "6;10"),
        (&["--max-fill", "59%", "-c", "59.5"], 2, "(critical range 59.5)", "59;59.5", "5;5"),
    ] {
        for samples in ["1", "3"] {
            let usual = ["--port", &port, "--max-wait", "1h", "--samples", samples, "--interval", "10ms"];
            let said = check(&[&usual, ranges].concat());
            assert!(said.status == status && said.out.contains(word), "{ranges:?}: {said:?}");
            let fill = format!(" '{address} fill'=60%;{fill} ");
            assert!(said.out.contains(&fill), "{ranges:?}: {fill} in {said:?}");
            let queued = format!(" '{address} queued'=6;{queued};0;10 ");
            assert!(said.out.contains(&queued), "{ranges:?}: {queued} in {said:?}");
        }
    }
}

#[test]
fn a_bad_range_is_unknown_with_its_value_and_what_is_allowed() {
    for option in ["-w", "-c", "--warning", "--critical"] {
        for range in ["", "x", "50%", "10:20:30", "--json", "1e3", "\u{1b}[2J", "nan"] {
            let said = check(&[option, range, "--port", "1"]);
            let named = range.replace('\u{1b}', "\\u{1b}");
            assert!(said.status == 3 && said.out.contains(&format!("'{named}'")), "{said:?}");
            assert!(said.out.contains("10:80 (outside of it)") && !said.out.contains('\u{1b}'), "{said:?}");
        }
        let said = check(&[option, "20:10", "--port", "1"]);
        assert!(said.status == 3 && said.out.contains("'20:10': a range has the smaller number first"), "{said:?}");
    }
    let both = check(&["-w", "10", "--max-fill", "50%"]);
    assert!(both.status == 3 && both.out.contains("--max-fill"), "{both:?}");
}

#[test]
fn a_time_that_runs_out_is_unknown() {
    let begun = Instant::now();
    let said = check(&["--all", "-t", "1", "--samples", "120", "--interval", "500ms"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "a minute of samples was waited for");
    let sentence = "the time-out of 1 s ran out: 120 readings every 500 ms take 59.5 s";
    assert_eq!((said.status, said.out), (3, format!("ACCEPT_QUEUE UNKNOWN - {sentence}\n")));
    let report = run(&["check", "--all", "--timeout", "1", "--samples", "120", "--interval", "500ms", "--json"]).json();
    assert_eq!((&report["status"], &report["text"]), (&json!("unknown"), &json!(sentence)));
    let (_socket, address) = listen(10);
    assert_eq!(check(&["-t", "60", "--samples", "1", "--port", &address.port().to_string()]).status, 0);
    for bad in ["0", "x", "-1", "1s", "3601"] {
        let said = check(&["-t", bad]);
        assert!(said.status == 3 && said.out.contains(bad), "{said:?}");
    }
}

#[test]
fn more_is_said_in_more_lines_and_the_first_stays_the_same() {
    let (_socket, address, _clients) = filled_to_60_percent();
    let port = address.port().to_string();
    let with = |verbose: &[&str]| {
        let usual = ["check", "--port", &port, "--max-wait", "1h", "--samples", "2", "--interval", "10ms"];
        let said = run(&[&usual, verbose].concat());
        assert_eq!((said.status, said.err.as_str()), (1, ""), "{said:?}");
        let lines: Vec<_> = said.out.lines().map(str::to_owned).collect();
        assert!(lines[0].starts_with("ACCEPT_QUEUE WARNING - ") && lines[0].contains(" | "), "{said:?}");
        assert!(lines[1..].iter().all(|line| !line.contains('|')), "{said:?}");
        lines[1..].to_vec()
    };
    assert_eq!(with(&[]), [""; 0]);
    let (once, twice, thrice) = (with(&["-v"]), with(&["-vv"]), with(&["-v", "-v", "-v"]));
    let line = format!(
        "WARNING {address}: filled, 6 of 11 places (backlog 10), 60% of the backlog (warning range 50), oldest waits "
    );
    assert!(once.len() == 1 && once[0].starts_with(&line), "{once:?}");
    assert!(
        twice.len() == 2 && twice[1].starts_with(&format!("judged: port {port}, 2 readings, 10 ms apart")),
        "{twice:?}"
    );
    assert!(thrice.len() == 4 && thrice[0].contains("; queued at each reading 6 6; alive 6, "), "{thrice:?}");
    assert!(thrice[2].starts_with("reading 1: after ") && thrice[3].ends_with(", 1 listener, 6 queued"), "{thrice:?}");
    assert_eq!(with(&["-vvvvv"]).len(), 4);
    assert_eq!(run(&["check", "--port", &port, "-vvv", "--json", "--samples", "1"]).out.lines().count(), 1);
}

#[test]
fn of_many_listeners_the_ten_worst_have_performance_data_and_the_others_are_counted() {
    let quiet: Vec<_> = (0..29).map(|_| listen(10)).collect();
    let (_socket, worst, _clients) = filled_to_60_percent();
    let all = ["check", "--pid", &own(), "--samples", "1", "--max-wait", "1h"];
    let listeners = run(&[&all[..], &["--json"]].concat()).json()["listeners"].as_array().expect("listeners").len();
    assert!(listeners > quiet.len());
    let said = run(&all);
    let (text, data) = said.out.split_once(" | ").expect("performance data");
    // Other tests of this process open and close theirs meanwhile.
    let left_out = text.split_once("; performance data of the 10 worst, not of ").expect("the count of the rest").1;
    let left_out = left_out.strip_suffix(" more").and_then(|count| count.parse::<usize>().ok()).expect("a number");
    assert!(left_out + 10 >= quiet.len(), "{text}");
    assert_eq!(data.matches(" queued'=").count(), 10, "{data}");
    assert!(data.contains(&format!("'{worst} queued'=6;")), "{said:?}");
    let lines = run(&[&all[..], &["-v"]].concat()).out;
    assert_eq!(lines.lines().count(), 1 + 10 + 1, "{lines}");
    assert!(lines.lines().last().is_some_and(|line| line.ends_with(" more, which -vv shows")), "{lines}");
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
    for arguments in [&["help", "check"][..], &["--help"], &["--version"], &["list", "--help"]] {
        let said = run(arguments);
        assert_eq!((said.status, said.err.as_str()), (0, ""));
        assert!(!said.out.is_empty());
    }
}

#[test]
fn help_and_version_of_the_plugin_are_no_result() {
    let version = format!("accept-queue-check {}\n", env!("CARGO_PKG_VERSION"));
    for version_asked in [&["check", "-V"][..], &["check", "--version"], &["check", "--port", "1", "-V"]] {
        let said = run(version_asked);
        assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (3, version.as_str(), ""));
    }
    for help in ["--help", "-h"] {
        let said = run(&["check", help]);
        assert_eq!((said.status, said.err.as_str()), (3, ""));
        for option in
            ["-w, --warning <RANGE>", "-c, --critical <RANGE>", "-t, --timeout <SECONDS>", "-v, --verbose", "-V, "]
        {
            assert!(said.out.contains(option), "{option}: {}", said.out);
        }
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
