use accept_queue_core::rules::advice::{Advice, AdviceSeverity};
use accept_queue_core::rules::diagnosis::{
    AcceptingFinding, BlockedScheduler, CoverageFinding, CrashDump, DirtyKind, NotAccepting, ProcessFinding,
    QueueFigures, QueueFinding, QueueTrouble, SchedulerThread, StoppedThreads, ThreadsFinding, WaitingClients,
};
use accept_queue_core::rules::facts::{Blocked, Unread};
use accept_queue_core::vm::pollset::Events;
use accept_queue_core::vm::stack::{Frame, Origin};
use accept_queue_core::{Counts, Depth, Errno, Error};

use super::*;

const PID: i32 = 4711;
/// A process chooses the names of its threads, libraries and functions.
const NAME: &str = "a\x1b[2J\nb";
const SOME_FREE: CrashDump = CrashDump::SomeFree { free: 1, schedulers: 2 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn worded(subject: Subject) -> Worded {
    let listener = Some(Endpoint::Unix(b"/run/a\x1b".to_vec()));
    Worded::of(&Finding { subject, gravity: Gravity::Hang, confidence: Confidence::Certain, listener, more: 0 }, PID)
}

#[test]
fn the_last_of_many_that_are_alike_says_how_many_more_there_are() {
    let subject = Subject::Queue(QueueFinding::Trouble(QueueTrouble::Full, queue()));
    let finding =
        Finding { subject, gravity: Gravity::Trouble, confidence: Confidence::Certain, listener: None, more: 41 };
    let text = Worded::of(&finding, PID).text;
    assert!(text.ends_with(". 41 more are like this one, and not listed."), "{text}");
}

fn scheduler() -> SchedulerThread {
    SchedulerThread { number: 1, tid: PID + 1, used: ms(7) }
}

fn waiting(listeners: usize) -> Option<WaitingClients> {
    Some(WaitingClients { listeners, queued: 31, longest: ms(2000) })
}

fn blocked(blocked: Blocked, waiting: Option<WaitingClients>, crash_dump: CrashDump) -> Subject {
    let wait_channel = Some(NAME.to_owned());
    let found = BlockedScheduler { scheduler: scheduler(), blocked, wait_channel, waiting, crash_dump };
    Subject::Threads(ThreadsFinding::SchedulerBlocked(Box::new(found)))
}

fn in_call(origin: Origin, symbol: Option<&str>) -> Blocked {
    let frame = Some(Frame { origin, address: 1, symbol: symbol.map(str::to_owned) });
    Blocked { call: Some(100_000), library: None, frame, since: ms(2000) }
}

fn queue() -> Box<QueueFigures> {
    let counts = Counts { queued: 31, limit: 30, oldest_wait: Some(ms(1500)), ..Counts::default() };
    Box::new(QueueFigures {
        member: None,
        depth: Depth { queued: 31, limit: 30, drops: Some(0) },
        dropped: 3,
        counts: Some(counts),
        stalled_for: Some(ms(3000)),
        epoll_events: Some(vec![Events(0x4000_0019), Events(0x19)]),
    })
}

fn stopped(count: usize) -> Option<StoppedThreads> {
    Some(StoppedThreads { count, name: NAME.to_owned(), tid: PID + 1 })
}

/// Every finding at least once.
fn all() -> Vec<Subject> {
    let library = || Origin::Library(NAME.to_owned());
    let refused = Error::Errno(Errno(13));
    let process = [
        ProcessFinding::Ended,
        ProcessFinding::Stopped,
        ProcessFinding::Traced { tracer: 7 },
        ProcessFinding::Frozen { file: None },
        ProcessFinding::Frozen { file: Some(format!("/sys/fs/cgroup/{NAME}/cgroup.events")) },
        ProcessFinding::Frozen { file: Some(format!("/sys/fs/cgroup/{NAME}/freezer.state")) },
        ProcessFinding::DescriptorsExhausted { used: 1024, limit: 1024 },
        ProcessFinding::NoHeartbeat { silent_for: ms(5000), crash_dump: SOME_FREE },
    ];
    let spinning = |others_idle, waiting| ThreadsFinding::SchedulerSpinning {
        scheduler: scheduler(),
        window: ms(2000),
        others_idle,
        waiting,
        crash_dump: SOME_FREE,
    };
    let threads = [
        spinning(true, waiting(1)),
        spinning(false, None),
        ThreadsFinding::DirtySchedulersExhausted { kind: DirtyKind::Io, count: 10, library: Some(NAME.to_owned()) },
        ThreadsFinding::DirtySchedulersExhausted { kind: DirtyKind::Cpu, count: 2, library: None },
        ThreadsFinding::SchedulerBusy { busy: 1, schedulers: 2, tid: PID + 1 },
    ];
    let nowhere = || Blocked { call: None, library: None, frame: None, since: ms(2000) };
    let blocked = [
        blocked(nowhere(), None, CrashDump::NotHandled),
        blocked(in_call(library(), Some(NAME)), waiting(1), SOME_FREE),
        blocked(in_call(library(), None), waiting(3), SOME_FREE),
        blocked(in_call(Origin::Emulator, Some(NAME)), waiting(1), CrashDump::NoneFree { schedulers: 2 }),
        blocked(in_call(Origin::Emulator, None), waiting(1), SOME_FREE),
    ];
    let accepting = [
        NotAccepting::NeverAccepted,
        NotAccepting::NotYetAccepted,
        NotAccepting::NoneInAccept,
        NotAccepting::NoneInAcceptIdle { window: ms(2000) },
        NotAccepting::NoneAfterDelivery,
        NotAccepting::EventNotHandled { stopped: stopped(2), crash_dump: SOME_FREE },
        NotAccepting::UnattendedPollset { stopped: None },
        NotAccepting::NotPolled { blocked_poller: Some(NAME.to_owned()), stopped: stopped(1) },
    ];
    let troubles = [
        QueueTrouble::Behind,
        QueueTrouble::Full,
        QueueTrouble::WasFull,
        QueueTrouble::ClientsGone { queued: 31, closed: 20, reset: 1 },
        QueueTrouble::CloseWaitHeld { close_wait: 1001 },
    ];
    let clipped = Advice {
        id: "somaxconn_clips",
        severity: AdviceSeverity::Warning,
        text: "Text.".to_owned(),
        evidence: vec![("limit", 4096)],
    };
    let unread = [
        Unread::Sockets(refused),
        Unread::Namespace(refused),
        Unread::Diag,
        Unread::Unix,
        Unread::Queues(refused),
        Unread::Pollsets(refused),
        Unread::Calls(refused),
        Unread::Stacks(refused),
        Unread::Threads,
    ];
    let coverage = [
        CoverageFinding::NoBeam,
        CoverageFinding::NoListener,
        CoverageFinding::Healthy { readings: 11, window: ms(2000), listeners: 1, queued: 0 },
    ];
    let mut all: Vec<_> = process.into_iter().map(Subject::Process).collect();
    all.extend(threads.into_iter().map(Subject::Threads));
    all.extend(blocked);
    all.extend(accepting.into_iter().map(|why| Subject::Accepting(AcceptingFinding::NotAccepting(why, queue()))));
    all.push(Subject::Accepting(AcceptingFinding::PoolAtLimit { established: 3, close_wait: 1 }));
    all.extend(troubles.into_iter().map(|trouble| Subject::Queue(QueueFinding::Trouble(trouble, queue()))));
    all.push(Subject::Queue(QueueFinding::BacklogClipped { limit: 4096, advice: clipped }));
    all.extend(unread.into_iter().map(|unread| Subject::Coverage(CoverageFinding::Unread(unread))));
    all.extend(coverage.into_iter().map(Subject::Coverage));
    all
}

#[test]
fn every_finding_has_printable_sentences_and_something_to_try() {
    for subject in all() {
        let Worded { text, advice, .. } = worded(subject);
        assert!(text.ends_with('.') && !text.contains("  "), "{text:?}");
        assert!(!advice.is_empty() && !advice.contains("  ") && advice.trim() == advice, "{advice:?}");
        assert!(!text.contains("PID") && !advice.contains("PID"), "{text:?} {advice:?}");
        assert!(text.chars().chain(advice.chars()).all(|char| !char.is_control()), "{text:?} {advice:?}");
    }
}

#[test]
fn sigusr1_is_not_advised_where_it_would_only_end_the_vm() {
    for (crash_dump, said) in [
        (CrashDump::NotHandled, "Do not send SIGUSR1"),
        (CrashDump::NoneFree { schedulers: 2 }, "SIGUSR1 brings no crash dump now"),
        (SOME_FREE, "1 of 2 schedulers are free"),
    ] {
        let found = worded(blocked(in_call(Origin::Emulator, None), waiting(1), crash_dump));
        assert!(found.advice.contains(said), "{}", found.advice);
    }
}

#[test]
fn a_thread_that_a_debugger_has_stopped_is_named() {
    let stopped = Some(StoppedThreads { count: 1, name: "0_poller".to_owned(), tid: 4712 });
    let why = NotAccepting::NotPolled { blocked_poller: None, stopped };
    let found = worded(Subject::Accepting(AcceptingFinding::NotAccepting(why, queue())));
    assert!(found.text.contains("a debugger has stopped 0_poller (thread 4712)"), "{}", found.text);
}

#[test]
fn the_figures_of_a_queue_keep_their_names() {
    let found = worded(Subject::Accepting(AcceptingFinding::NotAccepting(NotAccepting::NeverAccepted, queue())));
    let expected: NamedFigures = vec![
        ("queued", 31.into()),
        ("limit", 30.into()),
        ("dropped", 3.into()),
        ("oldest_wait_ms", 1500.into()),
        ("established", 0.into()),
        ("close_wait", 0.into()),
        ("epoll_events", "40000019 19".into()),
    ];
    assert_eq!(found.figures, expected);
}
