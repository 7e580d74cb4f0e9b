//! A process read from outside says of its sockets what it would say itself. The process is this one: nothing here knows that.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use accept_queue_core::outside::remote::{Remote, is_descendant_of};
use accept_queue_core::outside::remote_watch::{Lost, Watches};
use accept_queue_core::reading::{accepted, held};
use accept_queue_core::rules::detector::Settings;
use accept_queue_core::{Error, Listener};

fn remote() -> Remote {
    Remote::new(std::process::id() as i32)
}

/// One listener, so many clients that wait.
fn queue(clients: usize) -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let clients = (0..clients).map(|_| TcpStream::connect(address).expect("a client")).collect();
    (listener, clients)
}

fn until<T: PartialEq + std::fmt::Debug>(expected: &T, mut read: impl FnMut() -> T) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = read();
        if found == *expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?} is not {expected:?}");
    }
}

#[test]
fn depth_and_counts_are_those_of_the_owner() {
    let (listener, clients) = queue(3);
    let mut remote = remote();
    let own = Listener::open(listener.as_raw_fd()).expect("a listener");
    let socket = remote.open(listener.as_raw_fd()).expect("the same");
    assert_eq!((socket.cookie, Ok(socket.inode), &socket.endpoint), (own.cookie(), own.inode(), own.endpoint()));
    assert_eq!(remote.depth(std::slice::from_ref(&socket)), own.depth());
    drop(clients.into_iter().next());
    let timeless = |counts: Result<accept_queue_core::Counts, Error>| {
        counts.map(|counts| {
            (counts.queued, counts.queued_alive, counts.queued_closed, counts.queued_reset(), counts.limit)
        })
    };
    until(&own.counts().map(|counts| (3, Some(0), Some(3), Some(0), counts.limit)), || timeless(own.counts()));
    assert_eq!(
        timeless(remote.census(std::slice::from_ref(&socket)).map(|census| census.counts)),
        timeless(own.counts())
    );
    assert!(remote.own().expect("its listeners").contains(&(socket.clone(), None)));
}

#[test]
fn a_unix_listener_is_read_as_well() {
    let path = std::env::temp_dir().join(format!("accept-queue-remote-{}", std::process::id()));
    let listener = UnixListener::bind(&path).expect("a listener");
    let mut remote = remote();
    let socket = remote.open(listener.as_raw_fd()).expect("the same");
    let own = Listener::open(listener.as_raw_fd()).expect("a listener");
    assert_eq!(remote.depth(std::slice::from_ref(&socket)), own.depth());
    assert_eq!(remote.held(&[socket]), Err(Error::Unsupported));
    std::fs::remove_file(path).expect("its path");
}

#[test]
fn a_number_that_was_given_away_is_closed() {
    let (listener, _clients) = queue(1);
    let mut remote = remote();
    let mut socket = remote.open(listener.as_raw_fd()).expect("a listener");
    let other = TcpListener::bind("127.0.0.1:0").expect("another listener");
    socket.fd = other.as_raw_fd();
    let sockets = [socket];
    assert_eq!(remote.depth(&sockets), Err(Error::Closed));
    assert_eq!(remote.census(&sockets), Err(Error::Closed));
    assert_eq!(remote.held(&sockets), Err(Error::Closed));
    assert_eq!(remote.is_open(&sockets), Ok(false));
    assert_eq!(remote.resize(&sockets, 1), Err(Error::Closed));
    assert_eq!(remote.open(1 << 20), Err(Error::Closed));
    assert_eq!(
        remote.open(TcpStream::connect(other.local_addr().expect("its address")).expect("a client").as_raw_fd()),
        Err(Error::NotListening)
    );
}

#[test]
fn a_new_backlog_is_in_force_at_once() {
    let (listener, _clients) = queue(1);
    let mut remote = remote();
    let sockets = [remote.open(listener.as_raw_fd()).expect("a listener")];
    assert_eq!(remote.resize(&sockets, 7), Ok(7));
    assert_eq!(remote.depth(&sockets).map(|depth| depth.limit), Ok(7));
}

#[test]
fn a_connection_is_what_the_owner_says_of_it() {
    let (listener, mut clients) = queue(1);
    let (mut connection, _) = listener.accept().expect("the client");
    let fd = connection.as_raw_fd();
    let mut remote = remote();
    let (outside, inside) = (remote.waited(fd).expect("its wait"), accepted::waited(fd).expect("its wait"));
    assert!(inside >= outside && inside - outside < Duration::from_secs(1), "{outside:?} {inside:?}");
    assert_eq!(remote.peer_closed(fd), Ok(false));
    connection.write_all(b"hello").expect("a greeting");
    until(&Err(Error::AlreadyWritten), || remote.waited(fd));
    let mut client = clients.remove(0);
    client.read_exact(&mut [0; 5]).expect("the greeting");
    drop(client);
    until(&Ok(true), || remote.peer_closed(fd));
    let sockets = [remote.open(listener.as_raw_fd()).expect("a listener")];
    let own = Listener::open(listener.as_raw_fd()).expect("a listener");
    let known = |held: Result<Vec<held::Held>, Error>| {
        held.map(|held| held.into_iter().map(|held| (held.fd, held.inode, held.peer, held.unread)).collect::<Vec<_>>())
    };
    assert_eq!(known(remote.held(&sockets)), known(held::by(&own.into())));
    assert_eq!(known(remote.held(&sockets)).map(|held| held.len()), Ok(1));
}

#[test]
fn a_watch_of_another_program_is_lost() {
    let (listener, _clients) = queue(2);
    let mut remote = remote();
    let socket = remote.open(listener.as_raw_fd()).expect("a listener");
    let mut watches = Watches::default();
    let at = Duration::from_secs(1);
    watches.begin(7, vec![socket], Settings::default(), at);
    let readings = watches.read(&mut remote, &[7, 8], at);
    assert_eq!(readings[0].clone().map(|reading| reading.map(|reading| reading.depth.queued)), Ok(Ok(2)));
    assert_eq!(readings[1], Err(Lost));
    let censuses = watches.census(&mut remote, &[8, 7], at);
    assert_eq!(censuses[0], Err(Lost));
    assert_eq!(censuses[1].clone().map(|census| census.map(|census| census.counts.queued_alive)), Ok(Ok(Some(2))));
    assert_eq!(watches.status(7, at).map(|status| status.depth.map(|depth| depth.queued)), Ok(Some(2)));
    drop(listener);
    assert_eq!(watches.read(&mut remote, &[7], at), [Ok(Err(Error::Closed))]);
    watches.end(7);
    assert_eq!(watches.status(7, at), Err(Lost));
}

#[test]
fn only_the_process_that_started_another_is_its_ancestor() {
    let parent = std::os::unix::process::parent_id() as i32;
    assert!(is_descendant_of(parent));
    assert!(!is_descendant_of(std::process::id() as i32));
    assert!(!is_descendant_of(i32::MAX));
}
