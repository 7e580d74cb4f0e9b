//! What other processes and file systems do to hold us up, or to eat our memory.

mod sandbox;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use accept_queue_core::linux::sockopt;
use accept_queue_core::outside::examination::examine;
use accept_queue_core::outside::observer::{CensusScope, Observer, Reading};
use accept_queue_core::outside::snapshot::{self, Missing, Owned, Scope};
use accept_queue_core::rules::detector::{Condition, Settings, on_clock};
use accept_queue_core::rules::diagnosis::diagnose;
use accept_queue_core::rules::facts::Unread;
use accept_queue_core::{Endpoint, Errno, Error, Listener};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A file whose server has stopped answering, as that of a dead NFS mount: a FUSE file system of one file.
struct DeadFile {
    at: PathBuf,
    file: File,
    /// The requests that came (include/uapi/linux/fuse.h).
    asked: Arc<Mutex<Vec<u32>>>,
}

const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const INIT: u32 = 26;
const HEADER: usize = 40;

impl DeadFile {
    /// Why there can be none here, if so.
    fn new() -> Result<DeadFile, String> {
        let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
        let fuse =
            File::options().read(true).write(true).open("/dev/fuse").map_err(|error| failed("/dev/fuse", error))?;
        let at = std::env::temp_dir().join(format!("accept-queue-dead-{}", std::process::id()));
        File::create(&at).map_err(|error| failed("a file", error))?;
        let options = format!("fd={},rootmode=100000,user_id=0,group_id=0\0", fuse.as_raw_fd());
        let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).expect("one NUL");
        if let Err(error) = mount("dead", &at, "fuse", MountFlags::NOSUID | MountFlags::NODEV, options) {
            let _ = fs::remove_file(&at);
            return Err(failed("a mount of FUSE", error.into()));
        }
        let asked = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&asked);
        thread::spawn(move || serve(fuse, &requests));
        let file = File::open(&at).map_err(|error| failed("the file", error))?;
        Ok(DeadFile { at, file, asked })
    }

    fn was_asked_for_its_attributes(&self) -> bool {
        self.asked.lock().expect("the requests").contains(&GETATTR)
    }
}

impl Drop for DeadFile {
    fn drop(&mut self) {
        // What still waits for an answer gets an error.
        let _ = unmount(&self.at, UnmountFlags::FORCE | UnmountFlags::DETACH);
        let _ = fs::remove_file(&self.at);
    }
}

/// Says what it is and opens its file. After its attributes it can be asked for ever; it does nothing else.
fn serve(mut fuse: File, requests: &Mutex<Vec<u32>>) {
    let mut request = vec![0; 1 << 20];
    while let Ok(length) = fuse.read(&mut request) {
        if length < HEADER {
            return;
        }
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().expect("four bytes"));
        let kind = word(4);
        requests.lock().expect("the requests").push(kind);
        let mut body = match kind {
            INIT => [word(HEADER), 31].iter().flat_map(|word| word.to_ne_bytes()).collect(),
            OPEN => vec![0; 16],
            _ => vec![],
        };
        if kind == INIT {
            body.resize(64, 0);
        }
        let error = if body.is_empty() { -libc::ENOSYS } else { 0 };
        let mut answer = Vec::from((16 + body.len() as u32).to_ne_bytes());
        answer.extend(error.to_ne_bytes());
        answer.extend(&request[8..16]);
        answer.extend(body);
        if kind != GETATTR && fuse.write_all(&answer).is_err() {
            return;
        }
    }
}

/// The answer, if it comes.
fn answered<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, answer) = channel();
    thread::spawn(move || sender.send(ask()));
    answer.recv_timeout(Duration::from_secs(5)).ok()
}

#[test]
fn a_file_that_does_not_answer_is_no_socket_at_once() {
    let dead = match DeadFile::new() {
        Ok(dead) => dead,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let fd: RawFd = dead.file.as_raw_fd();
    assert_eq!(answered(move || sockopt::inode(fd)), Some(Err(Error::Errno(Errno(libc::ENOTSOCK)))));
    assert_eq!(answered(move || Listener::open(fd)), Some(Err(Error::NotListening)));
    assert!(answered(|| accept_queue_core::reading::survey::own().is_ok()).is_some());
    assert!(!dead.was_asked_for_its_attributes());
    // The file is what it is said to be.
    let place = dead.at.clone();
    thread::spawn(move || fs::metadata(place));
    until(|| dead.was_asked_for_its_attributes());
}

fn refuse_sock_diag() {
    sandbox::refuse_sock_diag(libc::EPROTONOSUPPORT).expect("a sandbox");
}

#[test]
fn without_inet_diag_the_files_say_what_they_can_and_that_it_is_not_all() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let _clients = [(); 2].map(|()| TcpStream::connect(address).expect("a client"));
    let taken = thread::spawn(move || {
        refuse_sock_diag();
        [Scope::Port(address.port()), Scope::Process(std::process::id() as i32)].map(|scope| snapshot::take(&scope))
    });
    for snapshot in taken.join().expect("no panic") {
        let snapshot = snapshot.expect("a part");
        let is_it = |owned: &&Owned| owned.queue.endpoint == Endpoint::Tcp(address.into());
        let counts = snapshot.queues.iter().find(is_it).expect("the listener").queue.census.counts;
        assert_eq!((counts.queued, counts.queued_alive, counts.oldest_wait), (2, Some(2), None));
        assert_eq!((counts.depth().known_limit(), counts.drops), (None, None));
        assert_eq!(snapshot.gaps.iter().map(|gap| gap.missing).collect::<Vec<_>>(), [Missing::Diag]);
    }
    assert!(Missing::Diag.to_string().contains("no sock_diag for TCP (modules inet_diag and tcp_diag)"));
}

/// Reads this listener from outside, over and over without sock_diag, until what is read of it is what is wanted. Each reading has a census.
/// Those of a busy machine may be seconds apart; the interval of the settings says that nothing is wrong with that.
fn observed_without_sock_diag(
    address: SocketAddr,
    settings: Settings,
    mut is_wanted: impl FnMut(&Reading) -> bool + Send + 'static,
) {
    let observed = thread::spawn(move || {
        refuse_sock_diag();
        let mut observer = Observer::new(Scope::Process(std::process::id() as i32), settings);
        let begun = Instant::now();
        let mut next = || {
            thread::sleep(Duration::from_millis(10));
            let sample = observer.sample(on_clock(begun.elapsed()), CensusScope::All).expect("a sample");
            assert!(sample.gaps.iter().any(|gap| gap.missing == Missing::Diag), "{:?}", sample.gaps);
            let is_it = |reading: &&Reading| reading.endpoint == Endpoint::Tcp(address.into());
            is_wanted(sample.readings.iter().find(is_it).expect("the listener"))
        };
        let deadline = Instant::now() + Duration::from_secs(120);
        while !next() {
            assert!(Instant::now() < deadline, "it did not come about in time");
        }
    });
    observed.join().expect("no panic");
}

fn holds(reading: &Reading, condition: Condition) -> bool {
    reading.status.conditions.iter().any(|&(held, _)| held == condition)
}

#[test]
fn without_inet_diag_an_observer_finds_what_is_stuck_and_behind_and_when_it_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let _clients = [(); 3].map(|()| TcpStream::connect(address).expect("a client"));
    let ms = Duration::from_millis;
    let settings =
        Settings { interval: ms(2500), hold_for: ms(200), stuck: ms(500), clear: ms(200), ..Settings::default() };
    let mut served = None;
    observed_without_sock_diag(address, settings, move |reading| {
        assert_eq!((reading.depth_reading.depth.known_limit(), reading.depth_reading.drops), (None, None));
        assert!(!holds(reading, Condition::Overflowing));
        if served.is_none() && [Condition::Stuck, Condition::Behind].iter().all(|&condition| holds(reading, condition))
        {
            let counts = reading.census.as_ref().expect("a census").counts;
            // It had to be seen to wait for longer than this: what passed before it was seen is not known.
            assert!(counts.queued == 3 && counts.oldest_wait > Some(settings.max_wait), "{counts:?}");
            served = Some([(); 3].map(|()| listener.accept().expect("a connection")));
        }
        served.is_some() && reading.status.conditions.is_empty()
    });
}

#[test]
fn without_inet_diag_a_queue_that_is_refilled_as_fast_as_it_is_accepted_from_is_not_stuck() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let connect = move || TcpStream::connect(address).expect("a client");
    let mut clients: Vec<_> = (0..5).map(|_| connect()).collect();
    let settings =
        Settings { interval: Duration::from_millis(2500), stuck: Duration::from_secs(1), ..Settings::default() };
    observed_without_sock_diag(address, settings, move |reading| {
        assert!(!holds(reading, Condition::Stuck), "{reading:?}");
        assert_eq!(reading.depth_reading.depth.queued, 5);
        drop(listener.accept().expect("a connection"));
        clients.push(connect());
        reading.status.watched_for > Duration::from_secs(3)
    });
}

#[test]
fn without_sock_diag_an_examination_says_so() {
    let _listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let examined = thread::spawn(|| {
        refuse_sock_diag();
        examine(std::process::id() as i32, Duration::from_millis(50))
    });
    let (_, facts) = examined.join().expect("no panic").expect("this process");
    assert!(facts.listeners.is_empty() && facts.unread.contains(&Unread::Diag), "{:?}", facts.unread);
    assert!(diagnose(&facts).iter().all(|finding| finding.id() != "healthy"));
}

fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "it did not come about in time");
        thread::sleep(Duration::from_millis(5));
    }
}
