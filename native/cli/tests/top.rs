//! `accept-queue top` on a real pseudo-terminal, and without one. Loopback only; one test starts a BEAM.

mod pseudo_terminal;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, ExitStatus};
use pseudo_terminal::PseudoTerminal;
use socket2::{Domain, Socket, Type};

const PROGRAM: &str = env!("CARGO_BIN_EXE_accept-queue");
const PATIENCE: Duration = Duration::from_secs(30);

/// A listener on which no process accepts, with clients in its queue.
struct Queue {
    port: u16,
    _listener: Socket,
    _clients: Vec<TcpStream>,
}

fn queue(backlog: i32, clients: usize) -> Queue {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    listener.bind(&any.into()).expect("bind");
    listener.listen(backlog).expect("listen");
    let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("its address");
    let clients = (0..clients).map(|_| TcpStream::connect(address).expect("a client")).collect();
    Queue { port: address.port(), _listener: listener, _clients: clients }
}

/// The program on a terminal.
struct Session(PseudoTerminal);

impl Session {
    fn start(arguments: &[&str]) -> Session {
        Session::start_in(arguments, &[])
    }

    fn start_in(arguments: &[&str], environment: &[(&str, &str)]) -> Session {
        let mut command = CommandBuilder::new(PROGRAM);
        command.args(arguments);
        command.env_remove("NO_COLOR");
        command.env("LC_ALL", "C.UTF-8");
        for (name, value) in environment {
            command.env(name, value);
        }
        Session(PseudoTerminal::start(command, 24, 80).expect("the program on a pseudo-terminal"))
    }

    fn top(port: u16) -> Session {
        Session::start(&["top", "--interval", "100ms", "--port", &port.to_string()])
    }

    fn screen(&self) -> &vt100::Screen {
        self.0.screen()
    }

    /// Reads what the program draws until the screen is as it must become.
    fn until(&mut self, what: &str, holds: impl Fn(&vt100::Screen) -> bool) {
        if let Err(error) = self.0.read_until(Instant::now() + PATIENCE, holds) {
            panic!("{what}: {error}; the screen is\n{}", self.screen().contents());
        }
    }

    fn until_shown(&mut self, text: &str) {
        self.until(text, |screen| screen.contents().contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.0.press(keys).expect("a key");
    }

    fn resize(&mut self, rows: u16, columns: u16) {
        self.0.resize(rows, columns).expect("another size");
    }

    fn signal(&self, name: &str) {
        let pid = self.0.process_id().expect("its number").to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status().expect("kill");
        assert!(sent.success());
    }

    /// The exit status and the screen, with all that was written until the end.
    fn end(mut self) -> (ExitStatus, String) {
        // The output ends when the program closes its terminal: then it is about to end.
        let ended = self.0.read_until(Instant::now() + PATIENCE, |_| false);
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "it does not end:\n{}", self.screen().contents());
        let status = self.0.wait().expect("its status");
        assert!(self.0.is_cooked(), "the terminal is left raw");
        assert!(!self.screen().alternate_screen(), "the alternate screen is left on");
        assert!(!self.screen().hide_cursor(), "the cursor is left hidden");
        (status, self.screen().contents())
    }

    fn ends_well(self) {
        let (status, contents) = self.end();
        assert!(status.success(), "{status:?}: {contents}");
    }
}

fn lines(screen: &vt100::Screen) -> Vec<String> {
    screen.rows(0, screen.size().1.into()).collect()
}

/// The row of a listener, in words.
fn row(screen: &vt100::Screen, port: u16) -> Vec<String> {
    let address = format!("127.0.0.1:{port} ");
    let line = lines(screen).into_iter().find(|line| line.starts_with(&address)).unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_full_queue_is_seen_and_judged_and_the_terminal_is_left_as_it_was() {
    let queue = queue(3, 4);
    let mut session = Session::top(queue.port);
    session.until("the row", |screen| row(screen, queue.port).contains(&"4/3".to_owned()));
    assert!(session.screen().alternate_screen());
    assert!(session.screen().hide_cursor());
    session.until("full for a second", |screen| row(screen, queue.port).contains(&"overflowing".to_owned()));
    let red = (0..80).any(|x| session.screen().cell(3, x).is_some_and(|cell| cell.fgcolor() == vt100::Color::Idx(1)));
    assert!(red, "what is wrong is red");
    session.press("q");
    session.ends_well();
}

#[test]
fn every_key_does_what_the_help_says() {
    let queue = queue(10, 2);
    let mut session = Session::top(queue.port);
    session.until("the row", |screen| row(screen, queue.port).contains(&"2/10".to_owned()));
    session.press("?");
    session.until_shown("arrows j k");
    session.press("?");
    session.until("the table again", |screen| !row(screen, queue.port).is_empty());
    session.press("s");
    session.until_shown("by QUEUED ▼");
    session.press("r");
    session.until_shown("by QUEUED ▲");
    session.press("p");
    session.until_shown("PAUSED");
    session.press("p");
    session.until("not paused", |screen| !screen.contents().contains("PAUSED"));
    session.press("\r");
    session.until_shown("queue      2 of 11 places (backlog 10): alive 2, closed 0, reset 0");
    session.until_shown("somaxconn");
    session.until_shown(" connections/s, ");
    session.press("t");
    session.until_shown("Whose listener this is is not known");
    session.press("?");
    session.until_shown("why its process does not accept, and its threads");
    session.press("?");
    session.until_shown("Whose listener this is is not known");
    session.press("\r");
    session.until_shown("somaxconn");
    session.press("/nothing");
    session.until_shown("No listener matches the filter.");
    session.press("\x7f\x1b");
    // With the detail below it: two Escapes that are read at once are one key.
    session.until("all again", |screen| !row(screen, queue.port).is_empty() && screen.contents().contains("alive 2"));
    session.press("\x1b");
    session.until("no detail", |screen| !screen.contents().contains("alive 2"));
    session.press("\x1b");
    session.ends_well();
}

#[test]
fn a_terminal_that_becomes_smaller_and_larger_is_filled_again() {
    let queue = queue(10, 2);
    let mut session = Session::top(queue.port);
    session.until_shown("DROPS/s");
    for (rows, cols, has_drops, has_owner) in [(10, 40, false, false), (40, 160, true, true), (24, 80, true, false)] {
        session.resize(rows, cols);
        session.until("the footer at the bottom, the columns that fit", |screen| {
            let lines = lines(screen);
            lines[usize::from(rows) - 1].starts_with("q quit")
                && screen.contents().contains("DROPS/s") == has_drops
                && screen.contents().contains("OWNER") == has_owner
                && row(screen, queue.port).contains(&"2/10".to_owned())
        });
    }
    session.press("q");
    session.ends_well();
}

#[test]
fn control_c_and_signals_leave_the_terminal_as_it_was() {
    let queue = queue(10, 0);
    let started = || {
        let mut session = Session::top(queue.port);
        session.until_shown("0/10");
        session
    };
    let mut session = started();
    session.press("\x03");
    session.ends_well();
    for signal in ["TERM", "INT", "HUP"] {
        let session = started();
        session.signal(signal);
        session.ends_well();
    }
}

/// The program as a job of a shell, which waits for a line when the job has stopped.
#[test]
fn control_z_stops_it_and_fg_brings_its_screen_back() {
    let queue = queue(10, 2);
    let mut command = CommandBuilder::new("sh");
    let script = "set -m; \"$@\"; echo the job has stopped; read line; fg; echo the job has ended";
    command.args(["-c", script, "sh", PROGRAM, "top", "--interval", "100ms", "--port", &queue.port.to_string()]);
    let mut session = Session(PseudoTerminal::start(command, 24, 80).expect("a shell"));
    let is_whole =
        |screen: &vt100::Screen| screen.alternate_screen() && row(screen, queue.port).contains(&"2/10".to_owned());
    session.until("the row", is_whole);
    session.press("\x1a");
    session.until_shown("the job has stopped");
    assert!(!session.screen().alternate_screen() && !session.screen().hide_cursor());
    assert_eq!(session.screen().mouse_protocol_mode(), vt100::MouseProtocolMode::None);
    assert!(session.0.is_cooked());
    session.press("\n");
    session.until("the row again", is_whole);
    session.press("?");
    session.until_shown("arrows j k");
    session.press("q");
    let (status, contents) = session.end();
    assert!(status.success() && contents.contains("the job has ended"), "{contents}");
}

#[test]
fn the_wheel_selects_and_control_l_draws_the_whole_screen_again() {
    let queue = queue(10, 2);
    let mut session = Session::top(queue.port);
    session.until_shown("row 1 of 1");
    assert_eq!(session.screen().mouse_protocol_mode(), vt100::MouseProtocolMode::PressRelease);
    session.press("?");
    session.until_shown("arrows j k");
    session.press("\x1b[<65;5;5M");
    session.until("the page is scrolled", |screen| !screen.contents().contains("arrows j k"));
    session.press("?");
    session.until("the row", |screen| row(screen, queue.port).contains(&"2/10".to_owned()));
    session.0.scribble("\x1b[12;1Hanother program's words");
    session.until_shown("another program's words");
    session.press("\x0c");
    session.until("the screen alone", |screen| {
        !screen.contents().contains("another program") && row(screen, queue.port).contains(&"2/10".to_owned())
    });
    session.press("q");
    session.ends_well();
}

#[test]
fn under_a_locale_of_ascii_nothing_else_is_written() {
    let queue = queue(3, 4);
    let port = queue.port.to_string();
    let mut session = Session::start_in(&["top", "--interval", "100ms", "--port", &port], &[("LC_ALL", "C")]);
    session.until_shown("4/3");
    session.press("\r");
    session.until_shown("overflowing for");
    assert!(session.screen().contents().is_ascii(), "{}", session.screen().contents());
    session.press("q");
    session.ends_well();
}

#[test]
fn without_colours_there_is_none() {
    let queue = queue(3, 4);
    let port = queue.port.to_string();
    let arguments = ["top", "--interval", "100ms", "--port", &port];
    let mut session = Session::start_in(&arguments, &[("NO_COLOR", "1")]);
    session.until_shown("overflowing");
    let screen = session.screen();
    let cells = || (0..24).flat_map(|y| (0..80).filter_map(move |x| screen.cell(y, x)));
    assert!(cells().all(|cell| cell.fgcolor() == vt100::Color::Default && cell.bgcolor() == vt100::Color::Default));
    assert!(cells().any(vt100::Cell::bold), "what is wrong is bold");
    session.press("q");
    session.ends_well();
}

#[test]
fn what_diagnose_finds_stands_below_and_the_screen_does_not_wait_for_it() {
    let queue = queue(3, 4);
    let pid = std::process::id().to_string();
    let mut session = Session::start(&["top", "--interval", "100ms", "--pid", &pid]);
    session.until_shown("DROPS/s");
    session.press(&format!("/{}\r", queue.port));
    session.until("the row alone", |screen| {
        let is_alone = screen.contents().contains(": 1 listener, 1 in trouble");
        is_alone && row(screen, queue.port).contains(&"4/3".to_owned())
    });
    session.press("t");
    session.until_shown("Being looked at for 2.0s.");
    session.press("s");
    session.until("a key is answered meanwhile", |screen| {
        let contents = screen.contents();
        contents.contains("by QUEUED ▼") && contents.contains("Being looked at for 2.0s.")
    });
    session.until("the full queue, and that its threads are no BEAM's", |screen| {
        let contents = screen.contents();
        contents.contains("queue_full (trouble, certain)") && contents.contains("This process runs no BEAM")
    });
    let first = lines(session.screen())[4].clone();
    assert!(first.contains(&format!("({pid}), looked at ")), "{first}");
    session.resize(12, 50);
    session.until("the findings alone", |screen| {
        let lines = lines(screen);
        lines[1].contains(", looked at ") && lines[2].starts_with("queue_full") && lines[11].contains("q quit")
    });
    session.press("t");
    session.until("the row again", |screen| row(screen, queue.port).contains(&"4/3".to_owned()));
    session.press("q");
    session.ends_well();
}

#[test]
fn a_listener_that_comes_and_goes_comes_and_goes_on_the_screen() {
    let first = queue(10, 1);
    let port = first.port;
    let mut session = Session::top(port);
    session.until("there", |screen| row(screen, port).contains(&"1/10".to_owned()));
    drop(first);
    session.until_shown(&format!("At the moment no process listens on port {port}."));
    let again = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    again.set_reuse_address(true).expect("the port again");
    again.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("the same port");
    again.listen(20).expect("listen");
    session.until("there again", |screen| row(screen, port).contains(&"0/20".to_owned()));
    session.press("q");
    session.ends_well();
}

#[test]
fn a_process_that_ends_is_named_on_the_screen() {
    let mut server = Command::new("sleep").arg("1000").spawn().expect("a process");
    let pid = server.id().to_string();
    let mut session = Session::start(&["top", "--interval", "100ms", "--pid", &pid]);
    session.until_shown(&format!("At the moment process {pid} has no listener."));
    server.kill().and_then(|()| server.wait()).expect("its end");
    session.until_shown(&format!("process {pid} has ended"));
    session.press("q");
    session.ends_well();
}

#[test]
fn what_cannot_be_read_is_said_before_the_screen_is_touched() {
    let (status, contents) = Session::start(&["top", "--pid", "2147483647"]).end();
    assert_eq!(status.exit_code(), 1);
    assert_eq!(contents, "accept-queue: there is no process 2147483647");
}

#[test]
fn nonsense_on_the_command_line_is_named() {
    for (arguments, named) in [
        (&["--interval", "1ms"][..], "every 10ms to 1h"),
        (&["--interval", "soon"], "100ms, 5s or 1m30s"),
        (&["--port", "0"], "1..=65535"),
        (&["--pid", "0"], "'0'"),
        (&["--pid", "1", "--all"], "cannot be used with"),
    ] {
        let output = Command::new(PROGRAM).arg("top").args(arguments).output().expect("the program");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(named), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

/// The program without a terminal. The pipe is closed when this is dropped.
fn piped(arguments: &[&str]) -> std::process::Child {
    let mut command = Command::new(PROGRAM);
    command.arg("top").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program")
}

/// Its exit status and standard error.
fn outcome(child: std::process::Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().expect("its end");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn without_a_terminal_it_is_a_table_at_each_interval_and_a_closed_pipe_is_success() {
    let queue = queue(10, 2);
    let mut child = piped(&["--interval", "100ms", "--port", &queue.port.to_string()]);
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map(|line| line.expect("text"));
    for _ in 0..3 {
        let table: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert!(table[0].starts_with(&format!("port {}, after ", queue.port)), "{table:?}");
        assert!(table[1].trim_start().starts_with("ADDRESS"), "{table:?}");
        let words: Vec<_> = table[2].split_whitespace().take(2).collect();
        assert_eq!(words, [format!("127.0.0.1:{}", queue.port).as_str(), "2/10"]);
        assert!(table.iter().all(|line| !line.contains('\x1b')), "{table:?}");
    }
    drop(lines);
    assert_eq!(outcome(child), (Some(0), String::new()));
}

#[test]
fn without_a_terminal_a_process_that_ends_ends_it() {
    let mut server = Command::new("sleep").arg("1000").spawn().expect("a process");
    let mut child = piped(&["--interval", "100ms", "--pid", &server.id().to_string()]);
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    assert!(lines.next().is_some_and(|line| line.is_ok()), "the first table");
    server.kill().and_then(|()| server.wait()).expect("its end");
    assert!(lines.all(|line| line.is_ok()));
    assert_eq!(outcome(child), (Some(1), format!("accept-queue: process {} has ended\n", server.id())));
}

#[test]
fn a_full_disk_is_named() {
    let mut command = Command::new(PROGRAM);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
    let output = command.args(["top", "--port", "1"]).stdout(full).output().expect("the program");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.starts_with("accept-queue: standard output: No space left"), "{said}");
}

/// Listeners of both backends: on one no process ever accepts, on one a process waits in accept, on one a process does until
/// it reads a line; then its client comes, and another that no process accepts.
const BEAM: &str = "
    Port = fun(L) -> {ok, P} = inet:port(L), P end,
    Accept = fun(L) -> spawn(fun() -> {ok, _} = gen_tcp:accept(L), receive never -> ok end end) end,
    Ports = lists:append([begin
        Listen = fun() -> {ok, L} = gen_tcp:listen(0, Backend ++ [{ip, {127, 0, 0, 1}}, {backlog, 30}]), L end,
        [Never, Waits, Leaves] = [Listen(), Listen(), Listen()],
        Accept(Waits), Accept(Leaves),
        [Port(Never), Port(Waits), Port(Leaves)]
    end || Backend <- [[], [{inet_backend, socket}]]]),
    io:format(\"~w ~w ~w ~w ~w ~w~n\", Ports),
    io:get_line([]),
    [{ok, _} = gen_tcp:connect({127, 0, 0, 1}, lists:nth(N, Ports), []) || N <- [3, 3, 6, 6]],
    receive never -> ok end.";

/// A BEAM that ends with the test.
struct Beam(std::process::Child);

impl Drop for Beam {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[test]
#[ignore = "starts a BEAM: make test runs it"]
fn a_beam_is_seen_to_accept_or_not() {
    let mut erl = Command::new("erl");
    erl.args(["-noshell", "-eval", BEAM])
        .env("ERL_CRASH_DUMP", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut beam = Beam(erl.spawn().expect("Erlang, which scripts/setup installs"));
    let mut its_ports = String::new();
    BufReader::new(beam.0.stdout.take().expect("its output")).read_line(&mut its_ports).expect("its ports");
    let ports: Vec<u16> = its_ports.split_whitespace().map(|port| port.parse().expect("a port")).collect();

    let mut child = piped(&["--interval", "100ms", "--pid", &beam.0.id().to_string()]);
    let mut output = BufReader::new(child.stdout.take().expect("its output")).lines().map(|line| line.expect("text"));
    let mut until = |expected: [&str; 6]| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let table: Vec<_> = output.by_ref().take_while(|line| !line.is_empty()).collect();
            let accepts = |port: &u16| {
                let row = table.iter().find(|line| line.trim_start().starts_with(&format!("127.0.0.1:{port} ")))?;
                row.split_whitespace().nth(4)
            };
            if ports.iter().map(accepts).eq(expected.map(Some)) {
                return;
            }
            assert!(Instant::now() < deadline, "not {expected:?} of {ports:?}: {table:#?}");
        }
    };
    until(["never_accepted", "armed", "armed", "never_accepted", "armed", "armed"]);
    beam.0.stdin.take().expect("its input").write_all(b"go on\n").expect("a line");
    until(["never_accepted", "armed", "not_armed", "never_accepted", "armed", "delivered"]);
    drop(output);
    assert_eq!(outcome(child), (Some(0), String::new()));

    let mut session = Session::start(&["top", "--pid", &beam.0.id().to_string()]);
    session.press("t");
    session.until_shown("nobody_in_accept (hang, likely)");
    session.resize(60, 120);
    session.until("a scheduler at rest", |screen| {
        lines(screen).iter().any(|line| {
            let line: Vec<_> = line.split_whitespace().collect();
            matches!(line[..], [_, name, "waits", "for", "work", ..] if name.contains("sched"))
        })
    });
    let pid = beam.0.id();
    let send = |signal: &str| {
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid.to_string()]).status();
        assert!(sent.expect("kill").success());
    };
    send("STOP");
    session.until("the title says that it is stopped", |screen| lines(screen)[0].contains(&format!("({pid}) stopped")));
    send("CONT");
    session.until("and no longer", |screen| !lines(screen)[0].contains("stopped"));
    session.press("q");
    session.ends_well();
}
