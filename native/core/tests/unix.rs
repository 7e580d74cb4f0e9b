//! Unix listeners, on this machine's own kernel: more clients than the kernel lists, paths that are bound again, and queues that
//! are refilled as fast as they are accepted from.

use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use accept_queue_core::linux::sockopt;
use accept_queue_core::monitor::kept::Kept;
use accept_queue_core::monitor::watch::{self, Watch};
use accept_queue_core::rules::detector::{Change, Condition, Settings, Time};
use accept_queue_core::rules::history::{CensusTaken, DepthReading};
use accept_queue_core::{Listener, listening, survey};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, Socket, Type};

fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("accept-queue-{name}-{}", std::process::id()))
}

fn open(socket: &impl AsRawFd) -> Listener {
    Listener::open(socket.as_raw_fd()).expect("a listener")
}

/// An abstract name of the network namespace.
fn name(name: &str) -> SockAddr {
    SockAddr::unix(format!("\0{name}")).expect("a name")
}

fn listen(at: &str, backlog: i32) -> Socket {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    socket.bind(&name(at)).expect("bind");
    socket.listen(backlog).expect("listen");
    socket
}

fn clients(at: &str, number: usize) -> Vec<Socket> {
    let client = |_| {
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        client.connect(&name(at)).expect("a client");
        client
    };
    (0..number).map(client).collect()
}

const MANY: usize = 9000;

#[test]
fn a_listener_with_more_clients_than_the_kernel_lists_hides_none() {
    let thread = std::thread::spawn(|| {
        if let Err(error) = sockopt::into_new_namespace() {
            return skip(&format!("no network namespace: {error}"));
        }
        std::fs::write("/proc/sys/net/core/somaxconn", "20000").expect("a namespace of our own");
        let wanted = MANY as u64 + 1000;
        let limit = getrlimit(Resource::Nofile);
        if limit.current.is_some_and(|current| current < wanted)
            && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_err()
        {
            return skip(&format!("no more than {:?} descriptors", limit.maximum));
        }
        let few: Vec<_> = (0..50).map(|index| listen(&format!("few-{index}"), 5)).collect();
        let _their_clients: Vec<_> = (0..50).map(|index| clients(&format!("few-{index}"), 1)).collect();
        let some = listen("some", 5000);
        let _its_clients = clients("some", 2000);
        let counts = open(&some).counts().expect("counts");
        assert_eq!((counts.queued, counts.queued_alive, counts.queued_closed), (2000, Some(2000), Some(0)));

        let many = listen("many", 20_000);
        let mut waiting = clients("many", MANY);
        waiting.truncate(MANY - 10);
        let listed = listening().expect("a list");
        let queues = survey().expect("a survey");
        for socket in few.iter().chain([&some, &many]) {
            let listener = open(socket);
            assert!(listed.iter().any(|row| row.cookie == listener.cookie()), "{:?}", listener.endpoint());
            let queue = queues.iter().find(|queue| queue.endpoint == *listener.endpoint()).expect("in the survey");
            let counts = queue.census.counts;
            match counts.queued {
                1 => assert_eq!((counts.queued_alive, counts.queued_reset()), (Some(1), Some(0))),
                2000 => assert!([Some(2000), None].contains(&counts.queued_alive), "listed, or behind the many"),
                queued => assert_eq!((queued as usize, counts.queued_alive, counts.left()), (MANY, None, None)),
            }
        }
        assert_eq!(open(&many).depth().map(|depth| depth.queued), Ok(MANY as u32));
    });
    thread.join().expect("no panic");
}

#[test]
fn a_path_that_is_bound_again_is_another_listener_with_its_own_connections() {
    let path = path("bound-again");
    let earlier = UnixListener::bind(&path).expect("bind");
    let _served_earlier = (UnixStream::connect(&path).expect("a client"), earlier.accept().expect("accepted"));
    let _waits_earlier = UnixStream::connect(&path).expect("a client");
    std::fs::remove_file(&path).expect("removed");
    let later = UnixListener::bind(&path).expect("bound again");
    let _served_later =
        [(); 2].map(|()| (UnixStream::connect(&path).expect("a client"), later.accept().expect("accepted")));
    std::fs::remove_file(&path).expect("removed");

    let (earlier, later) = (open(&earlier), open(&later));
    let figures = |listener: &Listener| {
        let counts = listener.counts().expect("counts");
        (counts.queued, counts.queued_alive, counts.established, counts.sockets)
    };
    assert_eq!((figures(&earlier), figures(&later)), ((1, Some(1), 1, 1), (0, Some(0), 2, 1)));
    let queues = survey().expect("a survey");
    for (listener, established) in [(earlier, 1), (later, 2)] {
        let queue = queues.iter().find(|queue| queue.sockets == [(listener.cookie(), listener.inode().expect("open"))]);
        assert_eq!(queue.expect("in the survey").census.counts.established, established);
    }
}

fn read(watch: &Watch, at: Time) -> (DepthReading, Option<CensusTaken>) {
    let reading = watch.read(at).expect("a depth");
    let census = || watch::census(&mut Kept::default(), &[watch], at, false).remove(0).expect("a census");
    let census = reading.wants_census.then(census);
    (reading, census.flatten())
}

/// What is raised in ten seconds of our own clock, a reading each tenth of a second.
fn raised(listener: Listener, mut between: impl FnMut()) -> Vec<Condition> {
    let at = |tick: u32| Duration::from_secs(100) + Duration::from_millis(100) * tick;
    let watch = Watch::new(1, listener.into(), Settings::default(), at(0));
    let mut raised = Vec::new();
    for tick in 1..=100 {
        let (reading, census) = read(&watch, at(tick));
        let changes = reading.changes.into_iter().chain(census.into_iter().flat_map(|census| census.changes));
        raised.extend(changes.filter_map(|change| match change {
            Change::Raised { condition, .. } => Some(condition),
            Change::Cleared { .. } => None,
        }));
        between();
    }
    raised
}

#[test]
fn a_unix_queue_is_stuck_where_its_head_stays_and_not_where_it_is_always_as_deep() {
    let path = path("closed-loop");
    let server = UnixListener::bind(&path).expect("bind");
    let connect = || UnixStream::connect(&path).expect("a client");
    let mut loops: Vec<_> = (0..8).map(|_| connect()).collect();
    let _served_first = server.accept().expect("accepted");
    let served = raised(open(&server), || {
        // Its client comes again at once.
        drop(server.accept().expect("accepted"));
        loops.remove(1);
        loops.push(connect());
    });
    assert_eq!(served, [], "seven wait at each reading, and one is served between two");

    let stuck = raised(open(&server), || {});
    assert_eq!(stuck, [Condition::Behind, Condition::Stuck]);

    // The first clients leave, and the head is theirs still.
    let mut left = 0;
    let left_while_stuck = raised(open(&server), || {
        left += 1;
        if left == 20 {
            loops.drain(..4);
        }
    });
    assert!(left_while_stuck.contains(&Condition::Stuck), "{left_while_stuck:?}");
    std::fs::remove_file(&path).expect("removed");
}
