//! Core against this machine's own kernel, on loopback.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use accept_queue_core::diag::{DiagSocket, Family, Request, States};
use accept_queue_core::{Counts, Error, Listener, kernel, listening};
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

    let counts = counts_until(&listener, |counts| counts.queued_closed == 2 && counts.queued_reset() == 1);
    assert_eq!((counts.queued, counts.queued_alive, counts.limit, counts.sockets), (6, 3, 10, 1));
    assert_eq!(counts.queued_bytes, 8, "5 and 3 request bytes, and no FIN");
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
    assert_eq!((counts.established, counts.queued, counts.queued_alive, counts.queued_closed), (1, 1, 1, 0));
    drop(kept);
}

#[test]
fn a_dual_stack_listener_sees_clients_of_both_families() {
    let socket = listen("[::]:0", 10);
    let listener = open(&socket);
    let port = address_of(&socket).port();
    let _clients = ["127.0.0.1", "::1"].map(|ip| connect(SocketAddr::new(ip.parse().expect("an address"), port)));
    assert_eq!(counts_until(&listener, |counts| counts.queued_alive == 2).queued, 2);
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
    // Other tests of this process may take the number at any moment; whoever has it, it is not this listener.
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
        assert_eq!(row.address.socket_addr(), address_of(socket));
        assert_eq!(row.inode, listener.inode());
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
    let before = kernel::read().expect("counters").listen_overflows.expect("ListenOverflows");
    let socket = listen("127.0.0.1:0", 0);
    let listener = open(&socket);
    let at = address_of(&socket);
    let _fits = connect(at);
    let refused = TcpStream::connect_timeout(&at, Duration::from_millis(200));
    assert!(refused.is_err(), "limit + 1 connections fit, and limit is 0");
    let depth = listener.depth().expect("a depth");
    assert_eq!((depth.queued, depth.limit), (1, 0));
    assert!(depth.drops >= Some(1), "once a SYN, and a SYN is sent again after a second: {depth:?}");
    assert!(kernel::read().expect("counters").listen_overflows.expect("ListenOverflows") > before);
}

#[test]
fn somaxconn_clips_in_silence() {
    let somaxconn = kernel::read().expect("limits").somaxconn.expect("somaxconn");
    let socket = listen("127.0.0.1:0", i32::MAX);
    assert_eq!(u64::from(open(&socket).depth().expect("a depth").limit), somaxconn);
}
