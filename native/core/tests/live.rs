//! Core against this machine's own kernel, on loopback.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use accept_queue_core::linux::counters;
use accept_queue_core::linux::diag::{DiagSocket, Family, Request, States};
use accept_queue_core::outside::observer::{CensusScope, Observer, Reading, Sample};
use accept_queue_core::outside::snapshot::{self, Scope, Snapshot};
use accept_queue_core::reading::{accepted, held, survey};
use accept_queue_core::rules::detector::{Change, Condition, Settings};
use accept_queue_core::{Counts, Endpoint, Error, Listener, listening};
use socket2::{Domain, SockRef, Socket, Type};

fn listen(address: &str, backlog: i32) -> Socket {
    let address: SocketAddr = address.parse().expect("an address");
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    if address.is_ipv6() {
        socket.set_only_v6(false).expect("dual-stack");
    }
    socket.bind(&address.into()).expect("bind");
    socket.listen(backlog).expect("listen");
    socket
}

fn address_of(socket: &Socket) -> SocketAddr {
    socket.local_addr().ok().and_then(|address| address.as_socket()).expect("its address")
}

fn connect(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).expect("a client")
}

fn open(socket: &Socket) -> Listener {
    Listener::open(socket.as_raw_fd()).expect("a listener")
}

/// Reads until the counts are as they must become; the kernel needs a moment to see a FIN or a reset.
fn counts_until(listener: &Listener, holds: impl Fn(&Counts) -> bool) -> Counts {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let counts = listener.counts().expect("counts");
        if holds(&counts) {
            return counts;
        }
        assert!(Instant::now() < deadline, "still {counts:?}");
    }
}

#[test]
fn three_alive_two_closed_one_reset() {
    let socket = listen("127.0.0.1:0", 10);
    let listener = open(&socket);
    let at = address_of(&socket);
    let mut alive = [connect(at), connect(at), connect(at)];
    alive[0].write_all(b"GET /").expect("a request");
    let mut talked = connect(at);
    talked.write_all(b"bye").expect("a request");
    drop(talked);
    drop(connect(at));
    let reset = connect(at);
    SockRef::from(&reset).set_linger(Some(Duration::ZERO)).expect("linger");
    drop(reset);

    let counts = counts_until(&listener, |counts| counts.queued_closed == Some(2) && counts.queued_reset() == Some(1));
    assert_eq!((counts.queued, counts.queued_alive, counts.limit, counts.sockets), (6, Some(3), 10, 1));
    assert_eq!(counts.queued_bytes, Some(8), "5 and 3 request bytes, and no FIN");
    assert_eq!(listener.depth().expect("a depth").queued, 6);
}

#[test]
fn accepted_connections_are_no_longer_queued() {
    let socket = listen("127.0.0.1:0", 10);
    let listener = open(&socket);
    let at = address_of(&socket);
    let (kept, left, _waiting) = (connect(at), connect(at), connect(at));
    let _accepted = [socket.accept().expect("the first"), socket.accept().expect("the second")];
    drop(left);
    let counts = counts_until(&listener, |counts| counts.close_wait == 1);
    assert_eq!(
        (counts.established, counts.queued, counts.queued_alive, counts.queued_closed),
        (1, 1, Some(1), Some(0))
    );
    drop(kept);
}

#[test]
fn a_dual_stack_listener_counts_clients_of_both_families() {
    let socket = listen("[::]:0", 10);
    let listener = open(&socket);
    let port = address_of(&socket).port();
    let _clients = ["127.0.0.1", "::1"].map(|ip| connect(SocketAddr::new(ip.parse().expect("an address"), port)));
    assert_eq!(counts_until(&listener, |counts| counts.queued_alive == Some(2)).queued, 2);
}

#[test]
fn the_age_is_that_of_the_first_client() {
    let socket = listen("127.0.0.1:0", 10);
    let listener = open(&socket);
    assert_eq!(listener.counts().expect("counts").oldest_wait, None);
    let at = address_of(&socket);
    let before = Instant::now();
    let _first = connect(at);
    let connected = Instant::now();
    let _second = connect(at);
    // A jiffy is at most 10 ms (CONFIG_HZ=100).
    let jiffies = Duration::from_millis(20);
    let deadline = before + Duration::from_secs(10);
    loop {
        let earliest = connected.elapsed();
        let waited = listener.counts().expect("counts").oldest_wait.expect("an age");
        let latest = before.elapsed();
        assert!(waited + jiffies >= earliest && waited <= latest + jiffies, "{earliest:?} {waited:?} {latest:?}");
        if waited > Duration::from_millis(300) {
            break;
        }
        assert!(Instant::now() < deadline, "the age does not grow");
    }
}

#[test]
fn a_closed_listener_is_closed_whatever_its_number_stands_for_now() {
    let socket = listen("127.0.0.1:0", 10);
    let listener = open(&socket);
    let fd = socket.as_raw_fd();
    drop(socket);
    // Other tests of this process may take the number at any moment; whatever it stands for then, it is not this listener.
    let _others: Vec<_> = (0..20).map(|_| listen("127.0.0.1:0", 10)).collect();
    for _ in 0..100 {
        assert_eq!(listener.depth(), Err(Error::Closed), "descriptor {fd}");
        assert_eq!(listener.counts().map(|_| ()), Err(Error::Closed));
    }
}

#[test]
fn what_does_not_listen_is_refused() {
    let socket = listen("127.0.0.1:0", 10);
    let client = connect(address_of(&socket));
    let datagram = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let file = std::fs::File::open("/dev/null").expect("a file");
    for fd in [client.as_raw_fd(), datagram.as_raw_fd(), file.as_raw_fd()] {
        assert_eq!(Listener::open(fd), Err(Error::NotListening));
    }
    for fd in [-1, i32::MIN, i32::MAX] {
        assert_eq!(Listener::open(fd), Err(Error::Closed));
    }
}

#[test]
fn every_listener_is_listed_with_its_own_cookie() {
    let sockets = [listen("127.0.0.1:0", 7), listen("[::1]:0", 8)];
    let listed = listening().expect("a list");
    for socket in &sockets {
        let listener = open(socket);
        let row = listed.iter().find(|row| row.cookie == listener.cookie()).expect("its row");
        assert_eq!(row.endpoint, Endpoint::Tcp(address_of(socket).into()));
        assert_eq!(Ok(row.inode), listener.inode());
        assert_eq!(Ok(row.depth), listener.depth());
    }
}

#[test]
fn a_dump_that_does_not_fit_is_an_error_and_not_a_shorter_list() {
    let _sockets: Vec<_> = (0..50).map(|_| listen("127.0.0.1:0", 1)).collect();
    let request = Request { family: Family::Inet, states: States::LISTENERS, port: None };
    let mut too_small = DiagSocket::with_room(600).expect("a netlink socket");
    assert_eq!(too_small.dump(&request, |_| {}), Err(Error::Truncated));
    let mut rows = 0;
    DiagSocket::open().expect("a netlink socket").dump(&request, |_| rows += 1).expect("a dump");
    assert!(rows >= 50);
}

#[test]
fn an_overflow_is_counted_here_and_in_the_namespace() {
    let before = counters::read().expect("counters").listen_overflows.expect("ListenOverflows");
    let socket = listen("127.0.0.1:0", 0);
    let listener = open(&socket);
    let at = address_of(&socket);
    let _fits = connect(at);
    let refused = TcpStream::connect_timeout(&at, Duration::from_millis(200));
    assert!(refused.is_err(), "limit + 1 connections fit, and limit is 0");
    let depth = listener.depth().expect("a depth");
    assert_eq!((depth.queued, depth.limit), (1, 0));
    assert!(depth.drops >= Some(1), "once a SYN, and a SYN is sent again after a second: {depth:?}");
    assert!(counters::read().expect("counters").listen_overflows.expect("ListenOverflows") > before);
}

#[test]
fn somaxconn_clips_in_silence() {
    let somaxconn = counters::read().expect("limits").somaxconn.expect("somaxconn");
    let socket = listen("127.0.0.1:0", i32::MAX);
    assert_eq!(u64::from(open(&socket).depth().expect("a depth").limit), somaxconn);
}

#[test]
fn a_unix_listener_shows_the_clients_that_wait_and_those_that_have_left() {
    let folder = std::env::temp_dir().join(format!("accept-queue-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("listener");
    let server = UnixListener::bind(&path).expect("bind");
    let listener = Listener::open(server.as_raw_fd()).expect("a listener");
    let client = || UnixStream::connect(&path).expect("a client");

    let accepted = [client(), client()].map(|client| (client, server.accept().expect("accepted").0));
    let [(gone, _held), (_there, _open)] = accepted;
    drop(gone);
    let _waiting = client();
    drop(client());

    let counts = counts_until(&listener, |counts| counts.queued_closed == Some(1) && counts.close_wait == 1);
    assert_eq!(
        (counts.queued, counts.queued_alive, counts.queued_reset(), counts.established),
        (2, Some(1), Some(0), 1)
    );
    assert_eq!((counts.drops, counts.syn_recv, counts.queued_bytes, counts.oldest_wait), (None, None, None, None));
    let depth = listener.depth().expect("a depth");
    assert_eq!((depth.queued, depth.limit), (2, counts.limit));
    let name = path.to_str().expect("a path").as_bytes().to_vec();
    assert_eq!(listener.endpoint(), &Endpoint::Unix(name));
    assert!(listening().expect("a list").iter().any(|row| row.cookie == listener.cookie()));
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn an_accepted_connection_shows_how_long_it_waited_and_whether_its_client_has_left() {
    let socket = listen("127.0.0.1:0", 10);
    let at = address_of(&socket);
    let client = connect(at);
    let connected = Instant::now();
    let listener = open(&socket);
    counts_until(&listener, |counts| counts.oldest_wait > Some(Duration::from_millis(100)));
    let mut accepted: TcpStream = socket.accept().expect("accepted").0.into();
    let waited = accepted::waited(accepted.as_raw_fd()).expect("a time");
    assert!(waited >= Duration::from_millis(100) && waited <= connected.elapsed() + Duration::from_millis(20));
    assert_eq!(accepted::peer_closed(accepted.as_raw_fd()), Ok(false));

    accepted.write_all(b"hello").expect("an answer");
    assert_eq!(accepted::waited(accepted.as_raw_fd()), Err(Error::AlreadyWritten));
    drop(client);
    counts_until(&listener, |counts| counts.established == 0);
    assert_eq!(accepted::peer_closed(accepted.as_raw_fd()), Ok(true));
    let closed = accepted.as_raw_fd();
    assert!(matches!(accepted::peer_closed(socket.as_raw_fd()), Err(Error::Errno(_))), "a listener has no peer");
    drop(accepted);
    assert_ne!(accepted::waited(closed), Ok(waited));
}

#[test]
fn a_unix_connection_has_no_clock_but_an_end() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    assert_eq!(accepted::waited(ours.as_raw_fd()), Err(Error::Unsupported));
    assert_eq!(accepted::peer_closed(ours.as_raw_fd()), Ok(false));
    drop(theirs);
    assert_eq!(accepted::peer_closed(ours.as_raw_fd()), Ok(true));
}

#[test]
fn a_listener_is_resized_while_it_is_full() {
    let socket = listen("127.0.0.1:0", 1);
    let listener = open(&socket);
    let at = address_of(&socket);
    let _clients = [connect(at), connect(at)];
    let full = listener.depth().expect("a depth");
    assert!(full.queued > full.limit);
    assert_eq!(listener.resize(5), Ok(5));
    let _third = connect(at);
    assert_eq!(listener.resize(0), Ok(0));
    assert_eq!(listener.depth().map(|depth| (depth.queued, depth.limit)), Ok((3, 0)), "what is queued stays queued");
    let somaxconn = counters::read().expect("limits").somaxconn.expect("somaxconn");
    assert_eq!(listener.resize(i32::MAX as u32).map(u64::from), Ok(somaxconn));
    drop(socket);
    assert_eq!(listener.resize(1), Err(Error::Closed));
}

#[test]
fn the_longest_held_connection_comes_first() {
    let socket = listen("127.0.0.1:0", 10);
    let listener = open(&socket);
    let at = address_of(&socket);
    let clients = [connect(at), connect(at), connect(at)];
    let accepted = [0, 1, 2].map(|_| socket.accept().expect("accepted").0);
    let [first, second, _open] = clients;
    let peers = [&first, &second].map(|client| client.local_addr().expect("its address"));
    drop(first);
    counts_until(&listener, |counts| counts.close_wait == 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while held::by(&listener.clone().into()).expect("held")[0].silent < Duration::from_millis(50) {
        assert!(Instant::now() < deadline, "the age does not grow");
    }
    drop(second);
    counts_until(&listener, |counts| counts.close_wait == 2);
    let held = held::by(&listener.clone().into()).expect("held");
    let found: Vec<_> = held.iter().map(|held| (held.peer.socket_addr(), held.fd, held.unread)).collect();
    let expected: Vec<_> =
        peers.iter().zip(&accepted).map(|(&peer, socket)| (peer, Some(socket.as_raw_fd()), 0)).collect();
    assert_eq!(found, expected);
}

#[test]
fn this_process_finds_its_own_listeners() {
    let socket = listen("127.0.0.1:0", 10);
    let opened = open(&socket);
    assert!(survey::own().expect("own listeners").contains(&opened));
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let own = survey::own().expect("own listeners");
    assert!(own.iter().all(|listener| ![ours.as_raw_fd(), theirs.as_raw_fd()].contains(&listener.fd())));
}

/// This process, as if from outside.
fn from_outside() -> Scope {
    Scope::Process(std::process::id() as i32)
}

#[test]
fn a_queue_is_found_from_outside_with_its_owner_and_descriptor() {
    let socket = listen("127.0.0.1:0", 10);
    let at = address_of(&socket);
    let _client = connect(at);
    let Snapshot { queues, gaps } = snapshot::take(&from_outside()).expect("a snapshot");
    assert_eq!(gaps, vec![]);
    let endpoint = Endpoint::Tcp(at.into());
    let owned = queues.iter().find(|owned| owned.queue.endpoint == endpoint).expect("the listener");
    assert_eq!(owned.owners.iter().map(|owner| owner.fd).collect::<Vec<_>>(), [socket.as_raw_fd()]);
    assert_eq!((owned.queue.census.counts.queued, owned.queue.census.counts.limit), (1, 10));

    let on_port = snapshot::take(&Scope::Port(at.port())).expect("a snapshot");
    assert!(
        on_port.queues.iter().all(|owned| matches!(&owned.queue.endpoint, Endpoint::Tcp(a) if a.port == at.port()))
    );
    assert!(on_port.queues.iter().any(|owned| owned.queue.endpoint == endpoint));
}

#[test]
fn the_sockets_of_a_process_that_is_not_there_are_not_found() {
    assert_eq!(snapshot::take(&Scope::Process(i32::MAX)), Err(Error::NotFound));
}

#[test]
fn an_observer_finds_a_listener_judges_it_and_reports_it_when_it_is_gone() {
    let mut observer = Observer::new(from_outside(), Settings::default());
    observer.sample(Duration::from_secs(100), CensusScope::Wanted).expect("a first sample");
    let socket = listen("127.0.0.1:0", 1);
    let at = address_of(&socket);
    let endpoint = Endpoint::Tcp(at.into());
    let mut read = |ms, scope| {
        let sample = observer.sample(Duration::from_millis(ms), scope).expect("a sample");
        let Sample { readings, gone, .. } = sample;
        (readings.into_iter().find(|reading| reading.endpoint == endpoint), gone)
    };
    let is_new = |reading: &Option<Reading>| reading.as_ref().map(|reading| reading.is_new);

    assert_eq!(is_new(&read(100_100, CensusScope::Wanted).0), Some(true), "found as soon as it listens");
    let _clients = [connect(at), connect(at)];
    let (reading, _) = read(100_200, CensusScope::All);
    assert_eq!(is_new(&reading), Some(false));
    let reading = reading.expect("the listener");
    assert_eq!(reading.census.expect("a census of all").counts.queued_alive, Some(2));
    // The clock is ours: a second in which no process accepts. How long the clients wait is the kernel's: more may be wrong by then.
    let changes: Vec<_> = (3..15)
        .flat_map(|tick| read(100_000 + tick * 100, CensusScope::Wanted).0.expect("the listener").depth_reading.changes)
        .collect();
    let is_full = |change: &Change| matches!(change, Change::Raised { condition: Condition::Overflowing, .. });
    assert!(changes.iter().any(is_full), "{changes:?}");

    drop(socket);
    let (reading, gone) = read(101_500, CensusScope::Wanted);
    assert!(reading.is_none());
    assert!(!gone.iter().any(|gone| gone.endpoint == endpoint), "it may be opened again");
    let again = listen(&at.to_string(), 1);
    let (reading, _) = read(102_900, CensusScope::Wanted);
    assert_eq!(is_new(&reading), Some(false), "the same listener");
    let held = reading.expect("the listener").status.conditions;
    assert!(held.iter().any(|held| held.0 == Condition::Overflowing), "{held:?}");

    drop(again);
    assert!(!read(104_800, CensusScope::Wanted).1.iter().any(|gone| gone.endpoint == endpoint), "for two seconds");
    let (reading, gone) = read(104_900, CensusScope::Wanted);
    assert!(reading.is_none());
    let gone = gone.iter().find(|gone| gone.endpoint == endpoint).expect("gone");
    assert!(gone.conditions.iter().any(|held| held.0 == Condition::Overflowing), "{:?}", gone.conditions);
}

/// A process that looks like the BEAM of this node and holds the listener, which is no other's from here on. It has stopped
/// itself: only SIGKILL ends it.
fn stand_in_for_a_beam(node: &str, listener: Socket) -> Child {
    let arguments = [
        "-c",
        "printf 1_scheduler >/proc/$$/comm && kill -STOP $$",
        "sh",
        "-root",
        "/",
        "-bindir",
        "/",
        "-progname",
        "erl",
        "-sname",
        node,
    ];
    let child = Command::new("sh").args(arguments).stdin(OwnedFd::from(listener)).spawn().expect("a shell");
    // The parent goes on before the kernel has closed what the child does not inherit: the listeners of other tests.
    let comm = format!("/proc/{}/comm", child.id());
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::read_to_string(&comm).expect("its name").trim_end() != "1_scheduler" {
        assert!(Instant::now() < deadline, "it takes no name");
    }
    child
}

fn end(mut child: Child) {
    child.kill().expect("ours to kill");
    child.wait().expect("ours to wait for");
}

#[test]
fn the_listeners_of_a_vm_that_has_ended_are_gone_though_no_process_is_left_in_the_scope() {
    let node = format!("observed{}", std::process::id());
    let socket = listen("127.0.0.1:0", 1);
    let endpoint = Endpoint::Tcp(address_of(&socket).into());
    let mut observer = Observer::new(Scope::Node(node.clone()), Settings::default());
    let vm = stand_in_for_a_beam(&node, socket);
    // Each sample is late enough for a search.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut searches = (1..).map(|search| Duration::from_secs(100 + 10 * search));
    let mut sample = || observer.sample(searches.next().expect("no end"), CensusScope::Wanted).expect("a sample");
    let met = loop {
        let readings = sample().readings;
        if !readings.is_empty() || Instant::now() > deadline {
            break readings;
        }
    };
    assert_eq!(met.iter().map(|reading| &reading.endpoint).collect::<Vec<_>>(), [&endpoint]);
    end(vm);
    let gone = sample().gone;
    assert_eq!(gone.iter().map(|gone| &gone.endpoint).collect::<Vec<_>>(), [&endpoint]);
    assert!(observer.forget(Duration::from_secs(1_000_000)).is_empty(), "reported once");
}

#[test]
fn what_was_followed_of_a_process_that_has_ended_can_be_forgotten() {
    let socket = listen("127.0.0.1:0", 1);
    let endpoint = Endpoint::Tcp(address_of(&socket).into());
    let process = stand_in_for_a_beam("unnamed", socket);
    let mut observer = Observer::new(Scope::Process(process.id() as i32), Settings::default());
    observer.sample(Duration::from_secs(100), CensusScope::Wanted).expect("a sample");
    end(process);
    let late = observer.sample(Duration::from_secs(110), CensusScope::Wanted);
    assert_eq!(late.map(|sample| sample.readings.len()), Err(Error::NotFound));
    let gone = observer.forget(Duration::from_secs(111));
    assert_eq!(gone.iter().map(|gone| &gone.endpoint).collect::<Vec<_>>(), [&endpoint]);
}

#[test]
fn a_unix_socket_is_found_from_outside_too() {
    let path = std::env::temp_dir().join(format!("accept-queue-outside-{}", std::process::id()));
    let _listener = UnixListener::bind(&path).expect("bind");
    let _client = UnixStream::connect(&path).expect("a client");
    let snapshot = snapshot::take(&from_outside()).expect("a snapshot");
    std::fs::remove_file(&path).expect("the path");
    let endpoint = Endpoint::Unix(path.into_os_string().into_encoded_bytes());
    let counts = snapshot.queues.iter().find(|owned| owned.queue.endpoint == endpoint).expect("it").queue.census.counts;
    assert_eq!((counts.queued, counts.queued_alive, counts.drops, counts.syn_recv), (1, Some(1), None, None));
}
