//! The poller, on real sockets of this process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use accept_queue_core::monitor::poller::{Notice, Poller, Report, Reporter};
use accept_queue_core::monitor::watch::Watch;
use accept_queue_core::rules::detector::{Change, Condition, Settings, Time, on_clock};
use accept_queue_core::rules::history::Status;
use accept_queue_core::{Error, Listener};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const DEADLINE: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

fn now() -> Time {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    on_clock(BEGUN.elapsed())
}

fn quick() -> Settings {
    let (interval, sample) = (10 * MS, 10 * MS);
    Settings { interval, sample, hold_for: 100 * MS, stuck: 300 * MS, clear: 100 * MS, ..Settings::default() }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

fn watch(id: u64, listener: &TcpListener, settings: Settings) -> Arc<Watch> {
    let handle = Listener::open(listener.as_raw_fd()).expect("a listener");
    let watch = Watch::new(id, handle.into(), settings, now());
    watch.read(now()).expect("a first reading");
    Arc::new(watch)
}

fn mailbox() -> (Reporter, Receiver<Report>) {
    let (sender, reports) = channel();
    let reporter = Box::new(move |report| {
        // The test may have ended.
        let _ = sender.send(report);
    });
    (reporter, reports)
}

/// The next notice of a watch; other tests make and close listeners meanwhile.
fn next_notice(reports: &Receiver<Report>) -> (u64, Notice) {
    loop {
        match reports.recv_timeout(DEADLINE).expect("a report within the deadline") {
            Report::Notices(mut notices) | Report::Samples(mut notices) => return notices.remove(0),
            Report::Late(_) | Report::ListenersChanged => {}
        }
    }
}

fn changes(notice: Notice) -> Vec<Change> {
    match notice {
        Notice::Depth(reading) => reading.changes,
        Notice::Census(census) => census.changes,
        Notice::Failed(error) | Notice::CensusFailed(error) => panic!("a reading failed: {error}"),
        Notice::CensusRecovered => Vec::new(),
    }
}

fn raised(change: &Change) -> Option<Condition> {
    match *change {
        Change::Raised { condition, .. } => Some(condition),
        Change::Cleared { .. } => None,
    }
}

#[test]
fn nothing_is_reported_while_a_queue_is_empty() {
    let (listener, _) = listener();
    let (reporter, reports) = mailbox();
    let poller = Poller::start(now, reporter).expect("a thread");
    let watch = watch(7, &listener, quick());
    poller.watch(vec![Arc::clone(&watch)], false);
    let readings = |status: Status| status.window.map_or(0, |window| window.readings);
    let begun = Instant::now();
    while readings(watch.status(now())) < 30 {
        assert!(begun.elapsed() < DEADLINE, "it is read at its interval");
        std::thread::sleep(MS);
    }
    assert!(
        reports.try_iter().all(|report| !matches!(report, Report::Notices(_) | Report::Samples(_))),
        "thirty readings and nothing to report"
    );
}

#[test]
fn a_client_that_is_not_accepted_is_behind_then_stuck_and_no_more_when_it_is_accepted() {
    let (listener, address) = listener();
    let (reporter, reports) = mailbox();
    let poller = Poller::start(now, reporter).expect("a thread");
    poller.watch(vec![watch(7, &listener, quick())], false);
    let _client = TcpStream::connect(address).expect("a client");
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let (id, notice) = next_notice(&reports);
        assert_eq!(id, 7);
        heard.extend(changes(notice).iter().filter_map(raised));
    }
    assert_eq!(heard, [Condition::Behind, Condition::Stuck]);
    let _accepted = listener.accept().expect("the client");
    let mut cleared = 0;
    while cleared < 2 {
        let changes = changes(next_notice(&reports).1);
        assert!(changes.iter().all(|change| raised(change).is_none()));
        cleared += changes.len();
    }
}

#[test]
fn every_reading_is_reported_where_all_are_wanted() {
    let (listener, _) = listener();
    let (reporter, reports) = mailbox();
    let poller = Poller::start(now, reporter).expect("a thread");
    poller.watch(vec![watch(7, &listener, quick())], true);
    for _ in 0..5 {
        assert!(matches!(next_notice(&reports), (7, Notice::Depth(_) | Notice::Census(_))));
        poller.samples_taken();
    }
}

#[test]
fn one_report_of_samples_is_under_way_and_a_condition_is_reported_all_the_same() {
    let (listener, address) = listener();
    let (reporter, reports) = mailbox();
    let poller = Poller::start(now, reporter).expect("a thread");
    let watch = watch(7, &listener, quick());
    poller.watch(vec![Arc::clone(&watch)], true);
    let _client = TcpStream::connect(address).expect("a client");
    let (mut samples, mut heard) = (0, Vec::new());
    while heard.len() < 2 {
        match reports.recv_timeout(DEADLINE).expect("a report within the deadline") {
            Report::Samples(_) => samples += 1,
            Report::Notices(notices) => {
                let changes = notices.into_iter().flat_map(|(_, notice)| changes(notice));
                heard.extend(changes.filter_map(|change| raised(&change)));
            }
            Report::Late(_) | Report::ListenersChanged => {}
        }
    }
    assert_eq!((samples, heard), (1, vec![Condition::Behind, Condition::Stuck]));
    assert!(poller.samples_taken() > 10, "300 ms of readings, one each 10 ms, were left out and counted");
    while !matches!(reports.recv_timeout(DEADLINE), Ok(Report::Samples(_))) {}
}

#[test]
fn a_thread_that_is_held_up_is_silent() {
    let (hold, held) = channel::<()>();
    let poller = Poller::start(
        now,
        Box::new(move |_| {
            let _ = held.recv();
        }),
    )
    .expect("a thread");
    let begun = Instant::now();
    // The first search finds other listeners than none, unless none is there.
    let (_listener, _) = listener();
    while poller.silence() < 1500 * MS {
        assert!(begun.elapsed() < DEADLINE, "it is held in its reporter");
        std::thread::sleep(MS);
    }
    drop(hold);
    while poller.silence() > 1000 * MS {
        assert!(begun.elapsed() < 2 * DEADLINE, "it goes on");
        std::thread::sleep(MS);
    }
}

#[test]
fn a_listener_that_is_closed_is_reported_once() {
    let (listener, _) = listener();
    let (other, address) = self::listener();
    let (reporter, reports) = mailbox();
    let poller = Poller::start(now, reporter).expect("a thread");
    poller.watch(vec![watch(7, &listener, quick()), watch(8, &other, quick())], false);
    drop(listener);
    assert_eq!(next_notice(&reports), (7, Notice::Failed(Error::Closed)));
    let _client = TcpStream::connect(address).expect("a client");
    assert_eq!(next_notice(&reports).0, 8, "the other is read as before, and nothing more is reported of the first");
}

#[test]
fn a_new_reporter_gets_every_report_that_the_one_before_did_not() {
    let (listener, _) = listener();
    let (reporter, before) = mailbox();
    let poller = Poller::start(now, reporter).expect("a thread");
    poller.watch(vec![watch(7, &listener, quick())], true);
    next_notice(&before);
    let (reporter, after) = mailbox();
    poller.report_to(reporter);
    next_notice(&after);
    // The old one has been dropped by then, with whatever it was in the middle of.
    while before.try_recv().is_ok() {}
    assert_eq!(before.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn a_poll_that_is_held_up_is_reported_as_late() {
    let (listener, _) = listener();
    let (mut reporter, reports) = mailbox();
    let mut held_up = false;
    let poller = Poller::start(
        now,
        Box::new(move |report| {
            if matches!(report, Report::Samples(_)) && !std::mem::replace(&mut held_up, true) {
                std::thread::sleep(100 * MS);
            }
            reporter(report);
        }),
    )
    .expect("a thread");
    poller.watch(vec![watch(7, &listener, quick())], true);
    let late = loop {
        if let Report::Late(late) = reports.recv_timeout(DEADLINE).expect("a late poll") {
            break late;
        }
    };
    assert!(late > 10 * MS, "{late:?}");
}

#[test]
fn a_listener_that_comes_is_reported_twice_so_that_it_is_found_when_it_is_ready() {
    let (reporter, reports) = mailbox();
    let _poller = Poller::start(now, reporter).expect("a thread");
    let (_listener, _) = listener();
    for _ in 0..2 {
        assert_eq!(reports.recv_timeout(DEADLINE), Ok(Report::ListenersChanged));
    }
}

#[test]
fn the_thread_ends_when_the_poller_is_dropped() {
    let (reporter, reports) = mailbox();
    let poller = Poller::start(now, reporter).expect("a thread");
    assert!(poller.is_running());
    drop(poller);
    // Its reporter is dropped with it.
    let begun = Instant::now();
    while reports.recv_timeout(DEADLINE) != Err(RecvTimeoutError::Disconnected) {
        assert!(begun.elapsed() < DEADLINE);
    }
}

/// Until the kernel is to say when a connection comes: it is as if its queue had been read just now, at whatever time.
fn wait_until_it_is_waited_for(watch: &Watch) {
    let begun = Instant::now();
    let is_read_now = || {
        std::thread::sleep(MS);
        watch.status(now()).read_ago == Some(Duration::ZERO)
    };
    while !(0..30).all(|_| is_read_now()) {
        assert!(begun.elapsed() < DEADLINE, "it is quiet");
    }
}

/// How often the thread of a poller has slept, by its number.
fn switches(thread: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("its switches");
    line.trim().parse().expect("a number")
}

/// The reporter knows its thread.
fn mailbox_and_thread() -> (Reporter, Receiver<Report>, Receiver<String>) {
    let (reporter, reports) = mailbox();
    let (sender, thread) = channel();
    let mut reporter = reporter;
    let with_thread = Box::new(move |report| {
        let _ = sender.send(rustix::thread::gettid().as_raw_pid().to_string());
        reporter(report);
    });
    (with_thread, reports, thread)
}

#[test]
fn while_no_connection_waits_the_thread_sleeps_and_the_first_one_wakes_it() {
    let (reporter, reports, thread) = mailbox_and_thread();
    let poller = Poller::start(now, reporter).expect("a thread");
    let (listener, address) = listener();
    let watch = watch(7, &listener, quick());
    poller.watch(vec![Arc::clone(&watch)], false);
    let thread = thread.recv_timeout(DEADLINE).expect("a first report");
    // Other tests open listeners meanwhile: one quiet period is enough.
    let begun = Instant::now();
    loop {
        let (since, before) = (Instant::now(), switches(&thread));
        std::thread::sleep(500 * MS);
        let per_second = (switches(&thread) - before) as f64 / since.elapsed().as_secs_f64();
        if per_second < 10.0 {
            break;
        }
        assert!(begun.elapsed() < 3 * DEADLINE, "{per_second} wake-ups a second at an interval of 10 ms");
    }
    wait_until_it_is_waited_for(&watch);
    let _client = TcpStream::connect(address).expect("a client");
    let connected = now();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let (id, notice) = next_notice(&reports);
        assert_eq!(id, 7);
        heard.extend(changes(notice));
    }
    assert_eq!(heard.iter().filter_map(raised).collect::<Vec<_>>(), [Condition::Behind, Condition::Stuck]);
    let Change::Raised { evidence, .. } = &heard[1] else { panic!("{heard:?}") };
    assert!(evidence.held_for >= 300 * MS && evidence.held_for <= now() - connected + 300 * MS, "{evidence:?}");
}

#[test]
fn a_socket_that_takes_the_number_of_one_that_is_waited_for_is_no_matter() {
    let (reporter, reports) = mailbox();
    let poller = Poller::start(now, reporter).expect("a thread");
    let (first, _) = listener();
    let (second, address) = listener();
    let watches = [watch(7, &first, quick()), watch(8, &second, quick())];
    poller.watch(watches.to_vec(), false);
    watches.iter().for_each(|watch| wait_until_it_is_waited_for(watch));
    // Other tests open descriptors as well: the number may be any socket's now, but not the first listener's.
    drop(first);
    let (_third, other) = listener();
    let _clients = [TcpStream::connect(other), TcpStream::connect(address)];
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let (id, notice) = next_notice(&reports);
        if id == 8 {
            heard.extend(changes(notice).iter().filter_map(raised));
        } else {
            assert_eq!((id, notice), (7, Notice::Failed(Error::Closed)));
        }
    }
    assert_eq!(heard, [Condition::Behind, Condition::Stuck]);
}

#[test]
fn a_closed_listener_that_another_process_holds_is_not_waited_for_for_ever() {
    let (reporter, reports) = mailbox();
    let poller = Poller::start(now, reporter).expect("a thread");
    let (listener, _) = listener();
    let held = listener.try_clone().expect("another descriptor of the same socket");
    let watch = watch(7, &listener, Settings { census: 100 * MS, ..quick() });
    poller.watch(vec![Arc::clone(&watch)], false);
    wait_until_it_is_waited_for(&watch);
    drop(listener);
    assert_eq!(next_notice(&reports), (7, Notice::Failed(Error::Closed)));
    drop(held);
}

/// A queue that fills and drains while the thread is on its way is empty when the thread arrives: the counter of the kernel tells.
#[test]
fn a_burst_that_overflows_and_drains_unseen_is_reported() {
    let (mut reporter, reports) = mailbox();
    let (is_held, held) = channel();
    let (let_go, may_go) = channel::<()>();
    let poller = Poller::start(
        now,
        Box::new(move |report| {
            // It tells of the listener that the test opens when it is to be held, and of those of other tests.
            if report == Report::ListenersChanged && is_held.send(()).is_ok() {
                let _ = may_go.recv();
            }
            reporter(report);
        }),
    )
    .expect("a thread");
    let (listener, address) = listener();
    listener.set_nonblocking(true).expect("no wait");
    let handle = Listener::open(listener.as_raw_fd()).expect("a listener");
    handle.resize(1).expect("a short queue");
    let watch = Arc::new(Watch::new(7, handle.clone().into(), quick(), now()));
    poller.watch(vec![Arc::clone(&watch)], false);
    // Other tests open listeners meanwhile.
    let (is_quiet, quiet) = channel();
    let gate = std::thread::spawn(move || {
        while quiet.recv_timeout(MS) == Err(RecvTimeoutError::Timeout) {
            if held.try_recv().is_ok() {
                let_go.send(()).expect("a thread that is held");
            }
        }
        (held, let_go)
    });
    wait_until_it_is_waited_for(&watch);
    is_quiet.send(()).expect("a gate");
    let (held, let_go) = gate.join().expect("no panic");
    let _new = self::listener();
    held.recv_timeout(DEADLINE).expect("the thread is held");
    let overflow = || {
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a client");
        client.set_nonblocking(true).expect("no wait");
        let _ = client.connect(&address.into());
        client
    };
    let clients: Vec<_> = (0..4).map(|_| overflow()).collect();
    assert!(handle.depth().expect("a depth").drops > Some(0), "there was no room");
    drop(clients);
    while listener.accept().is_ok() {}
    assert_eq!(handle.depth().expect("a depth").queued, 0);
    drop(held);
    let_go.send(()).expect("a thread that is held");
    loop {
        let found = changes(next_notice(&reports).1);
        if found.iter().filter_map(raised).any(|condition| condition == Condition::Overflowing) {
            break;
        }
    }
}

/// Each sixth census of a listener at which no connection waits counts what is established; what is held in CLOSE_WAIT each one does.
#[test]
fn at_rest_a_leak_is_found_by_any_census_and_what_is_established_by_each_sixth() {
    let (listener, address) = listener();
    let (reporter, reports) = mailbox();
    let poller = Poller::start(now, reporter).expect("a thread");
    let census = Duration::from_millis(100);
    let watch = watch(7, &listener, Settings { census, close_wait_max: 2, ..Settings::default() });
    poller.watch(vec![Arc::clone(&watch)], false);
    let mut connections = Vec::new();
    let mut connect = || {
        let client = TcpStream::connect(address).expect("a client");
        connections.push((client, listener.accept().expect("accepted").0));
    };
    let established = || watch.status(now()).counts.map(|(counts, _)| counts.established);
    let wait_for = |count| {
        let begun = Instant::now();
        while established() != Some(count) {
            assert!(begun.elapsed() < DEADLINE, "{:?} and not {count}", watch.status(now()));
            std::thread::sleep(5 * MS);
        }
    };
    connect();
    wait_for(1);
    connect();
    connect();
    wait_for(3);
    let every = watch.status(now()).census_every;
    assert!(every == census || every == census * 6, "{every:?}");
    // The clients leave, and this process still holds its ends.
    let _held: Vec<_> = connections.into_iter().map(|(_client, server)| server).collect();
    let raised = std::iter::repeat_with(|| next_notice(&reports)).flat_map(|(_, notice)| changes(notice));
    assert_eq!(raised.filter_map(|change| self::raised(&change)).next(), Some(Condition::Leaking));
}

#[test]
fn a_unix_listener_is_waited_for_as_well() {
    let (reporter, reports) = mailbox();
    let poller = Poller::start(now, reporter).expect("a thread");
    let folder = std::env::temp_dir().join(format!("accept_queue_poller_{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let path = folder.join("socket");
    let listener = UnixListener::bind(&path).expect("a listener");
    let handle = Listener::open(listener.as_raw_fd()).expect("a listener");
    let watch = Arc::new(Watch::new(7, handle.into(), quick(), now()));
    poller.watch(vec![Arc::clone(&watch)], false);
    wait_until_it_is_waited_for(&watch);
    let _client = UnixStream::connect(&path).expect("a client");
    while !changes(next_notice(&reports).1).iter().filter_map(raised).any(|condition| condition == Condition::Stuck) {}
    std::fs::remove_dir_all(&folder).expect("the folder");
}

/// As many as the process may have descriptors, up to ten thousand; two thousand at least.
#[test]
fn of_thousands_that_are_waited_for_the_one_to_which_a_client_comes_is_reported() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("up to the hard limit");
    let most = limit.maximum.map_or(10_000, |maximum| 10_000.min(maximum as usize / 2));
    assert!(most >= 2_000, "{limit:?}");
    let (reporter, reports) = mailbox();
    let poller = Poller::start(now, reporter).expect("a thread");
    let listeners: Vec<_> = (0..most).map(|_| listener()).collect();
    // A round of so many takes longer than ten milliseconds.
    let settings = Settings { interval: 100 * MS, hold_for: 500 * MS, stuck: 1000 * MS, ..Settings::default() };
    let watches: Vec<_> = (0..).zip(&listeners).map(|(id, (listener, _))| watch(id, listener, settings)).collect();
    poller.watch(watches.clone(), false);
    watches.iter().step_by(most / 4).for_each(|watch| wait_until_it_is_waited_for(watch));
    let chosen = most / 2;
    let _client = TcpStream::connect(listeners[chosen].1).expect("a client");
    loop {
        let (id, notice) = next_notice(&reports);
        let found = changes(notice);
        assert!(found.is_empty() || id == chosen as u64, "{id}: {found:?}");
        if found.iter().filter_map(raised).any(|condition| condition == Condition::Stuck) {
            break;
        }
    }
}
