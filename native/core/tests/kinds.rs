//! Listeners whose rows are not like others, on this machine's own kernel. What it or our rights do not allow is skipped, and
//! the reason is printed.

use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use accept_queue_core::linux::sockopt;
use accept_queue_core::{Counts, Listener, listening};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

fn listen(socket: &Socket, address: &str, backlog: i32) -> SocketAddr {
    let address: SocketAddr = address.parse().expect("an address");
    socket.bind(&address.into()).expect("bind");
    socket.listen(backlog).expect("listen");
    socket.local_addr().ok().and_then(|address| address.as_socket()).expect("its address")
}

fn tcp() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket")
}

fn open(socket: &Socket) -> Listener {
    Listener::open(socket.as_raw_fd()).expect("a listener")
}

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

/// In a network namespace of this thread's own, if we may make one.
fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        if let Err(error) = sockopt::into_new_namespace() {
            return skip(&format!("no network namespace: {error}"));
        }
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        if !up.is_ok_and(|status| status.success()) {
            return skip("no program ip, or it may not");
        }
        test();
    });
    thread.join().expect("no panic");
}

#[test]
fn what_is_in_the_queue_of_a_transparent_proxy_is_not_known() {
    let socket = tcp();
    if let Err(error) = socket.set_ip_transparent_v4(true) {
        return skip(&format!("no IP_TRANSPARENT: {error}"));
    }
    let at = listen(&socket, "127.0.0.1:0", 10);
    let listener = open(&socket);
    let _clients = [TcpStream::connect(at).expect("a client"), TcpStream::connect(at).expect("a client")];
    let counts = counts_until(&listener, |counts| counts.queued == 2);
    assert_eq!((counts.queued_alive, counts.queued_closed, counts.queued_reset()), (None, None, None));
    assert_eq!((counts.limit, counts.drops, counts.oldest_wait, counts.queued_bytes), (10, Some(0), None, None));
    assert_eq!(listener.depth().map(|depth| depth.queued), Ok(2));
}

fn run(program: &str, arguments: &str) -> Result<(), String> {
    match Command::new(program).args(arguments.split(' ')).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

#[test]
fn the_clients_of_a_tproxy_rule_have_other_ports_and_are_not_taken_for_reset() {
    in_a_namespace(|| {
        let rules = [
            ("ip", "rule add fwmark 1 lookup 100"),
            ("ip", "route add local default dev lo table 100"),
            ("ip", "route add 198.51.100.0/24 dev lo"),
            ("nft", "add table ip t"),
            ("nft", "add chain ip t c { type filter hook prerouting priority mangle; }"),
            (
                "nft",
                "add rule ip t c ip daddr 198.51.100.1 tcp dport 80 tproxy to 127.0.0.1:8080 meta mark set 1 accept",
            ),
        ];
        if let Some(error) = rules.iter().find_map(|(program, arguments)| run(program, arguments).err()) {
            return skip(&format!("no TPROXY: {error}"));
        }
        let socket = tcp();
        socket.set_ip_transparent_v4(true).expect("a namespace of our own");
        listen(&socket, "127.0.0.1:8080", 10);
        let other = tcp();
        listen(&other, "0.0.0.0:80", 10);
        let target: SocketAddr = "198.51.100.1:80".parse().expect("an address");
        let clients = [(); 3].map(|()| TcpStream::connect_timeout(&target, Duration::from_secs(5)).expect("a client"));
        let counts = counts_until(&open(&socket), |counts| counts.queued == 3);
        assert_eq!((counts.queued_alive, counts.queued_reset(), counts.left()), (None, None, None));
        let counts = open(&other).counts().expect("counts");
        assert_eq!((counts.queued, counts.queued_alive, counts.sockets), (0, Some(0), 1), "its port is not theirs");
        drop(clients);
    });
}

/// A SYN from a host that never answers, with data.
fn syn(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let length = (40 + data.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, 6, 0, 0]);
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    let mut segment = Vec::new();
    segment.extend(from.1.to_be_bytes());
    segment.extend(to.1.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0x10, 0, 0, 0, 0, 0]);
    segment.extend(data);
    let mut summed = packet[12..20].to_vec();
    summed.extend([0, 6]);
    summed.extend((segment.len() as u16).to_be_bytes());
    summed.extend(&segment);
    summed.resize(summed.len().next_multiple_of(2), 0);
    let mut sum: u32 = summed.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    segment[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet.extend(segment);
    packet
}

#[test]
fn a_client_of_tcp_fast_open_is_queued_before_its_handshake_has_ended() {
    in_a_namespace(|| {
        // Server, no cookie needed, no option of the listener needed.
        if let Err(error) = std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "1538") {
            return skip(&format!("no tcp_fastopen: {error}"));
        }
        let absent = Ipv4Addr::new(198, 51, 100, 1);
        let route = Command::new("ip").args(["route", "add", "198.51.100.0/24", "dev", "lo"]).status();
        assert!(route.is_ok_and(|status| status.success()), "a route on which no host answers");
        let socket = tcp();
        let at = listen(&socket, "127.0.0.1:0", 10);
        let listener = open(&socket);
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).expect("a raw socket");
        raw.set_header_included_v4(true).expect("our own header");
        let SocketAddr::V4(v4) = at else { panic!("IPv4") };
        for port in [4001, 4002] {
            let packet = syn((absent, port), (*v4.ip(), at.port()), b"GET /");
            raw.send_to(&packet, &SockAddr::from(at)).expect("sent");
        }
        let counts = counts_until(&listener, |counts| counts.queued == 2);
        assert_eq!((counts.queued_alive, counts.queued_reset(), counts.syn_recv), (Some(2), Some(0), Some(0)));
        assert_eq!(counts.queued_bytes, Some(10));
        assert!(counts.oldest_wait < Some(Duration::from_secs(10)), "{:?}", counts.oldest_wait);

        let (accepted, _) = socket.accept().expect("before the handshake has ended");
        let mut request = [MaybeUninit::uninit(); 5];
        assert_eq!(accepted.recv(&mut request).expect("a request"), 5);
        let counts = counts_until(&listener, |counts| counts.queued == 1);
        assert_eq!((counts.queued_alive, counts.established), (Some(1), 1));
    });
}

#[test]
fn of_a_multipath_listener_everything_is_known_also_its_drops() {
    let Ok(socket) = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)) else {
        return skip("no MPTCP");
    };
    let at = listen(&socket, "127.0.0.1:0", 1);
    let listener = open(&socket);
    let clients = [TcpStream::connect(at).expect("a client"), TcpStream::connect(at).expect("a client")];
    assert!(TcpStream::connect_timeout(&at, Duration::from_millis(200)).is_err(), "limit + 1 connections fit");
    let depth = listener.depth().expect("a depth");
    assert_eq!((depth.queued, depth.limit), (2, 1));
    assert!(depth.drops >= Some(1), "{depth:?}");
    let counts = counts_until(&listener, |counts| counts.queued_alive == Some(2));
    assert_eq!((counts.queued, counts.sockets), (2, 1));
    assert!(counts.drops >= depth.drops);
    assert!(listening().expect("a list").iter().any(|row| row.cookie == listener.cookie()));

    let _accepted = [socket.accept().expect("accepted"), socket.accept().expect("accepted")];
    drop(clients);
    let counts = counts_until(&listener, |counts| counts.queued == 0 && counts.close_wait == 2);
    assert_eq!(counts.established, 0);
    assert_eq!(listener.resize(5), Ok(5));
    drop(socket);
    assert_eq!(listener.depth(), Err(accept_queue_core::Error::Closed));
}
