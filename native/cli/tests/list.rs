//! `accept-queue list`, from outside.

mod support;

use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use serde_json::json;
use support::{AS_NOBODY, PROGRAM, Server, at, command, listen, own, run, run_as_nobody};

#[test]
fn a_listener_is_told_in_the_words_of_the_contract() {
    let (_socket, address) = listen(5);
    let _clients = [1, 2].map(|_| TcpStream::connect(address).expect("a client"));
    let said = run(&["list", "--pid", &own(), "--json"]);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    let report = said.json();
    assert_eq!((&report["schema"], &report["unreadable"]), (&json!(1), &json!([])));
    let listener = at(&report, &address.to_string()).expect("the listener");
    let expected = json!({"queued": 2, "limit": 5, "full": false, "drops": 0, "syn_recv": 0, "queued_alive": 2,
        "queued_closed": 0, "queued_reset": 0, "queued_bytes": 0, "established": 0, "close_wait": 0, "sockets": 1});
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&listener[key], value, "{key}");
    }
    assert!(listener["oldest_wait_ms"].is_u64() && listener["namespace"].is_u64(), "{listener}");
    assert_eq!(listener["owners"][0]["pid"], json!(std::process::id()));
}

#[test]
fn what_is_full_is_marked_and_what_has_room_is_not() {
    let (_full, brim) = listen(1);
    let _clients = [1, 2].map(|_| TcpStream::connect(brim).expect("a client"));
    let (_empty, room) = listen(1);
    let table = run(&["list", "--pid", &own()]).out;
    let row = |address: String| table.lines().find(|line| line.contains(&format!(" {address} "))).expect("a row");
    assert!(row(brim.to_string()).contains(" full "), "{table}");
    assert!(!row(room.to_string()).contains(" full "), "{table}");
}

#[test]
fn a_table_fits_80_columns_and_a_wide_one_has_all_of_it() {
    let name = format!("aq-{}-{}", own(), "x".repeat(60));
    let path = std::env::temp_dir().join(&name);
    let _unix = UnixListener::bind(&path).expect("bind");
    let (_socket, address) = listen(1);
    let _clients = [1, 2].map(|_| TcpStream::connect(address).expect("a client"));
    let (narrow, wide) = (run(&["list", "--pid", &own()]), run(&["list", "--pid", &own(), "--wide"]));
    std::fs::remove_file(&path).expect("removed");
    assert!(narrow.out.lines().all(|line| line.chars().count() <= 80), "{}", narrow.out);
    let titles = |table: &str| table.lines().next().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert_eq!(titles(&narrow.out).as_deref(), Some("ADDRESS QUEUED OLDEST DROPS ACCEPTS OWNER"));
    assert_eq!(
        titles(&wide.out).as_deref(),
        Some("ADDRESS QUEUED LIMIT ALIVE CLOSED RESET OLDEST ms DROPS SYN_RECV ESTABLISHED CLOSE_WAIT ACCEPTS OWNER")
    );
    let row = |table: &str, part: &str| table.lines().find(|line| line.contains(part)).map(str::to_owned);
    let cut = row(&narrow.out, "xxx ").expect("the end of the name");
    assert!(cut.starts_with(" unix:/") && cut.contains('…') && !cut.contains(&name), "{cut}");
    assert!(row(&wide.out, &name).is_some() && !wide.out.contains('…'), "{}", wide.out);
    let full = row(&narrow.out, &format!(" {address} ")).expect("an address that is not cut");
    assert!(full.contains(" 2/1  full "), "{full}");
    // A process that is no BEAM has no epoll set of which this is known.
    let report = run(&["list", "--pid", &own(), "--json", "--wide"]).json();
    let listener = at(&report, &address.to_string()).expect("the listener");
    assert_eq!((&listener["accepts"], &listener["accepts_sockets"]), (&json!(null), &json!(null)));
}

#[test]
#[ignore = "starts a BEAM"]
fn who_accepts_is_said_in_the_words_of_top() {
    let accepts = "F = fun F(L) -> {ok, _} = gen_tcp:accept(L), F(L) end, spawn(fun() -> receive L -> F(L) end end) ! element(2, \
                   gen_tcp:listen(0, [{ip, {127, 0, 0, 2}}])), ";
    let beam = Server::beam(&[], &[], accepts);
    let pid = ["--pid", &beam.pid()];
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let report = loop {
        let report = run(&["list", pid[0], pid[1], "--json"]).json();
        let words: Vec<_> =
            report["listeners"].as_array().expect("listeners").iter().map(|it| &it["accepts"]).collect();
        // It may not have called accept yet.
        if words.contains(&&json!("armed")) {
            break report;
        }
        assert!(std::time::Instant::now() < deadline, "{report}");
    };
    let silent = at(&report, &beam.address()).expect("the one on which no process accepts");
    assert_eq!((&silent["accepts"], &silent["accepts_sockets"]), (&json!("never_accepted"), &json!(1)));
    for wide in [&[][..], &["--wide"]] {
        let table = run(&[&["list"], &pid[..], wide].concat()).out;
        let row = |part: &str| table.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{table}"));
        assert!(row(&format!(" {} ", beam.address())).contains(" never_accepted "), "{table}");
        assert!(row(" 127.0.0.2:").contains(" armed "), "{table}");
    }
    let top = run_for_a_table(&["top", pid[0], pid[1]]);
    assert!(top.contains(" never_accepted ") && top.contains(" armed "), "{top}");
}

/// Of a command that goes on until the reader of its output has gone.
fn run_for_a_table(arguments: &[&str]) -> String {
    use std::io::{BufRead, BufReader};
    let mut child = command(&[&[PROGRAM], arguments].concat()).stdout(Stdio::piped()).spawn().expect("the program");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let table = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    child.kill().expect("killed");
    child.wait().expect("its end");
    table
}

#[test]
fn a_port_is_all_that_listens_there_and_nothing_else() {
    let (_socket, address) = listen(5);
    let report = run(&["list", "--port", &address.port().to_string(), "--json"]).json();
    assert_eq!(report["listeners"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(report["listeners"][0]["address"], json!(address.to_string()));
}

#[test]
fn everybody_is_listed_whatever_they_run() {
    let (_socket, address) = listen(5);
    let report = run(&["list", "--all", "--json"]).json();
    assert_eq!(at(&report, &address.to_string()).expect("it")["owners"][0]["pid"], json!(std::process::id()));
}

#[test]
fn no_control_character_reaches_a_terminal() {
    let path = std::env::temp_dir().join(format!("aq-\u{1b}[31m\n{}", own()));
    let _listener = UnixListener::bind(&path).expect("bind");
    let name = "evil\u{1b}[2J\nname\u{9b}31m\u{202e}\u{2028}";
    // A process that calls itself so, and listens: the socket is this one's, inherited.
    let (socket, address) = listen(5);
    let stdin = std::fs::File::from(std::os::fd::OwnedFd::from(socket.try_clone().expect("the same socket")));
    let mut named = Command::new("bash");
    named.args(["-c", "exec -a \"$0\" tail --pid=$PPID -f /dev/null", name]).stdin(stdin).stdout(Stdio::null());
    let mut child = named.spawn().expect("bash");
    let pid = child.id().to_string();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let said = loop {
        let said = run(&["list", "--all", "--wide"]);
        if said.out.contains(&format!("({pid})")) && said.out.contains("evil") {
            break said;
        }
        assert!(std::time::Instant::now() < deadline, "{said:?}");
    };
    let json = run(&["list", "--all", "--json"]);
    child.kill().expect("killed");
    child.wait().expect("its end");
    std::fs::remove_file(&path).expect("removed");
    let is_name = |owner: &serde_json::Value| owner["name"] == name;
    assert!(
        at(&json.json(), &address.to_string()).expect("it")["owners"].as_array().expect("owners").iter().any(is_name)
    );
    let hides = |letter: char| letter.is_control() && letter != '\n' || "\u{202e}\u{2028}".contains(letter);
    assert!(![&json.out, &said.out, &said.err].into_iter().any(|text| text.contains(hides)), "{json:?}");
    assert!(said.out.contains(&address.to_string()));
    assert!(said.out.contains("\\u{1b}[2J\\nname"), "{said:?}");
    assert!(said.out.contains("aq-\\x1b[31m\\n"), "{said:?}");
    assert!(!said.out.chars().chain(said.err.chars()).any(|char| char.is_control() && char != '\n'), "{said:?}");
}

#[test]
fn what_does_not_exist_is_refused_in_one_line() {
    for (arguments, message) in [
        (&["list", "--pid", "2147483647"][..], "there is no process 2147483647"),
        (&["list", "--node", "nobody\u{1b}"], "no BEAM runs a node nobody\\u{1b}"),
        (&["list", "--port", "1"], "no process listens on port 1"),
    ] {
        for arguments in [arguments, &[arguments, &["--json"]].concat()] {
            let said = run(arguments);
            assert_eq!((said.status, said.out.as_str()), (1, ""), "{arguments:?}");
            assert_eq!(said.err, format!("accept-queue: {message}\n"));
        }
    }
}

#[test]
fn a_process_without_a_listener_has_an_empty_list() {
    let mut child = command(&["sleep", "60"]).spawn().expect("a process");
    let pid = child.id().to_string();
    let (text, json) = (run(&["list", "--pid", &pid]), run(&["list", "--pid", &pid, "--json"]));
    child.kill().expect("killed");
    child.wait().expect("its end");
    assert_eq!((text.status, text.out), (0, format!("Process {pid} has no listener\n")));
    assert_eq!(json.json()["listeners"], json!([]));
}

#[test]
fn a_wrong_command_line_is_refused_in_one_line() {
    for (arguments, named) in [
        (&["list", "--pid", "abc"][..], "'abc'"),
        (&["list", "--pid", "0"], "1..="),
        (&["list", "--pid", "-1"], "-1"),
        (&["list", "--port", "65536"], "65536"),
        (&["list", "--pid", "1", "--all"], "--all"),
        (&["list", "--colour"], "--colour"),
        (&["list", "x\u{1b}\n"], "'x"),
        (&["lists"], "lists"),
    ] {
        let said = run(arguments);
        assert_eq!((said.status, said.out.as_str(), said.err.lines().count()), (2, "", 1), "{said:?}");
        assert!(said.err.contains(named) && !said.err.contains('\u{1b}'), "{said:?}");
    }
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = Command::new(PROGRAM).args(["list", "--all"]).stdout(writer).stderr(Stdio::null()).status();
    assert!(status.expect("the program").success());
}

#[test]
#[ignore = "starts a BEAM"]
fn a_beam_is_found_and_called_by_its_node() {
    let name = format!("aq_list_{}", own());
    let beam = Server::beam(&[], &["-sname", &name, "-start_epmd", "false", "-erl_epmd_port", "0"], "");
    for arguments in
        [&["list", "--json"][..], &["list", "--node", &name, "--json"], &["list", "--pid", &beam.pid(), "--json"]]
    {
        let report = run(arguments).json();
        let listener = at(&report, &beam.address()).unwrap_or_else(|| panic!("{arguments:?}: {report}"));
        assert_eq!(listener["owners"], json!([{"pid": beam.pid().parse::<u32>().expect("a number"), "name": name}]));
        assert_eq!((&listener["queued_alive"], &listener["limit"]), (&json!(3), &json!(5)));
    }
    let other = run(&["list", "--node", "another"]);
    assert_eq!((other.status, other.out.as_str()), (1, ""));
}

#[test]
#[ignore = "starts a BEAM"]
fn a_release_that_renames_the_emulator_is_found() {
    let erts = command(&[
        "erl",
        "-noshell",
        "-eval",
        "io:format(\"~s ~s\", [code:root_dir(), erlang:system_info(version)]), halt().",
    ]);
    let said = { erts }.output().expect("erl").stdout;
    let (root, version) =
        std::str::from_utf8(&said).ok().and_then(|said| said.split_once(' ')).expect("root and version");
    let folder = std::env::temp_dir().join(format!("aq-renamed-{}", own()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let binaries = format!("{root}/erts-{version}/bin");
    for file in std::fs::read_dir(&binaries).expect("the emulator's folder").flatten() {
        let name = file.file_name().into_string().expect("a name").replace("beam", "shop");
        std::os::unix::fs::symlink(file.path(), folder.join(name)).expect("a link");
    }
    let variables = ["BINDIR=".to_owned() + folder.to_str().expect("a path"), format!("ROOTDIR={root}")];
    let erlexec = format!("{binaries}/erlexec");
    let eval = "{ok, L} = gen_tcp:listen(0, [{ip, loopback}]), {ok, Port} = inet:port(L), io:format(\"~b~n\", [Port]),
        io:get_line(\"\"), halt().";
    let words = ["env", &variables[0], &variables[1], "EMU=shop", "PROGNAME=shop", &erlexec, "-noshell", "-eval", eval];
    let beam = Server::start(&mut command(&words));
    let report = run(&["list", "--json"]).json();
    std::fs::remove_dir_all(&folder).expect("removed");
    assert_eq!(at(&report, &beam.address()).expect("it")["owners"][0]["name"], json!("shop.smp"), "{report}");
}

#[test]
#[ignore = "starts a BEAM in a network namespace, as root"]
fn a_beam_in_another_network_namespace_is_read_there_and_named_by_the_epmd_there() {
    let name = format!("aq_net_{}", own());
    let epmd =
        ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec epmd"];
    let epmd = Server::start(&mut command(&epmd));
    let net = format!("--net=/proc/{}/ns/net", epmd.pid());
    let expressions = format!("{{ok, _}} = net_kernel:start(['{name}', shortnames]), ");
    let wait = ["sh", "-c", "until epmd -names >/dev/null 2>&1; do :; done; exec \"$@\"", "sh"];
    let beam = Server::beam(&[&["nsenter", &net], &wait[..]].concat(), &[], &expressions);
    let report = run(&["list", "--node", &name, "--json"]).json();
    let listener = at(&report, &beam.address()).unwrap_or_else(|| panic!("{report}"));
    assert!(listener["owners"][0]["name"].as_str().is_some_and(|node| node == name), "{listener}");
    assert_eq!((&listener["queued"], &listener["limit"]), (&json!(3), &json!(5)));
    let inode =
        std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(format!("/proc/{}/ns/net", beam.pid())).expect("its"));
    assert_eq!(listener["namespace"], json!(inode));
    let here = run(&["list", "--port", &beam.line]);
    assert_eq!(here.status, 1, "no process listens there in this namespace: {here:?}");
}

#[test]
#[ignore = "starts a BEAM as nobody in a user namespace, as root"]
fn of_a_namespace_that_may_not_be_entered_a_part_is_known_and_the_rest_is_null() {
    let enter = [
        "unshare",
        "--map-root-user",
        "--net",
        "sh",
        "-c",
        "ip link set lo up && exec \"$@\"",
        "sh",
        "env",
        "HOME=/tmp",
    ];
    let beam = Server::beam(&[&AS_NOBODY[..], &enter].concat(), &[], "");
    let said = run_as_nobody(&["list", "--pid", &beam.pid(), "--json"]);
    assert_eq!(said.status, 0, "{said:?}");
    let report = said.json();
    let listener = at(&report, &beam.address()).unwrap_or_else(|| panic!("{report}"));
    assert_eq!(
        (&listener["queued"], &listener["queued_alive"], &listener["queued_reset"]),
        (&json!(3), &json!(3), &json!(0))
    );
    for unknown in ["limit", "full", "drops", "oldest_wait_ms"] {
        assert_eq!(listener[unknown], json!(null), "{unknown}");
    }
    let reason = report["unreadable"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("CAP_SYS_ADMIN") && reason.contains("no limit"), "{reason}");
    assert_eq!(run(&["list", "--pid", &beam.pid(), "--json"]).json()["unreadable"], json!([]), "root may enter");
    let check = run_as_nobody(&["check", "--pid", &beam.pid(), "--samples", "1"]);
    assert_eq!(check.status, 3, "{check:?}");
}

#[test]
#[ignore = "starts a BEAM, and asks as another user, as root"]
fn another_user_gets_the_processes_that_could_not_be_read_and_the_capability_that_would_help() {
    let beam = Server::beam(&[], &[], "");
    let pid = ["--pid", &beam.pid()];
    let said = run_as_nobody(&["list", pid[0], pid[1]]);
    assert_eq!((said.status, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.contains(&format!("({})", pid[1])) && said.err.contains("CAP_SYS_PTRACE"), "{said:?}");
    let report = run_as_nobody(&["list", pid[0], pid[1], "--json"]).json();
    assert_eq!((&report["listeners"], &report["unreadable"][0]["name"]), (&json!([]), &json!("beam.smp")));
    let watch = run_as_nobody(&["watch", pid[0], pid[1], "--count", "2", "--interval", "20ms"]);
    assert_eq!(watch.status, 1, "{watch:?}");
    assert!(watch.err.contains("nothing could be read of beam.smp") && watch.err.contains("with sudo"), "{watch:?}");
    // Every user may read the queue itself.
    let by_port = run_as_nobody(&["list", "--port", &beam.line, "--json"]).json();
    assert_eq!(at(&by_port, &beam.address()).expect("it")["queued"], json!(3));
}
