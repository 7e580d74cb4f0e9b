//! What is found: each row is a sentence, what was observed, and the ids of the findings, the strongest first.

use std::net::SocketAddr;
use std::time::Duration;

use accept_queue_core::rules::detector::Condition;
use accept_queue_core::rules::diagnosis::{
    AcceptingFinding, Confidence, CrashDump, Finding, Gravity, NotAccepting, QueueFinding, StoppedThreads, Subject,
    ThreadsFinding, diagnose,
};
use accept_queue_core::rules::facts::{
    Blocked, Circumstances, Doing, ListenerFacts, Member, ProcessFacts, ProcessReading, QueueReading, Run,
    SocketReading, ThreadFacts, Unmoved, Unread,
};
use accept_queue_core::vm::open_files::Descriptors;
use accept_queue_core::vm::pollset::{Accepting, Events, Registration, Set};
use accept_queue_core::vm::process::Process;
use accept_queue_core::vm::stack::{Frame, Origin};
use accept_queue_core::vm::threads::{Call, Role, Stand, State, Thread, Threads};
use accept_queue_core::{Address, Cookie, Counts, Depth, Endpoint, Errno, Error, Inode, Members};

const PID: i32 = 4711;
const EACCES: Error = Error::Errno(Errno(13));
const IDLE: Doing = Doing::Idle { is_sure: true };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A call in which schedulers and pollers wait for work, with this first argument.
fn waits(first: u64, sp: u64) -> Call {
    Call::Waiting { number: libc::SYS_epoll_pwait, first, at: Stand { sp, pc: 0x1000 } }
}

fn thread(tid: i32, name: &str) -> Thread {
    Thread {
        tid,
        name: name.to_owned(),
        role: Role::of(name),
        state: State::Sleeping,
        cpu: Duration::ZERO,
        delayed: Duration::ZERO,
        wait_channel: Some("ep_poll".to_owned()),
        call: Ok(waits(5, 0x7000)),
    }
}

fn does(name: &str, doing: Doing) -> ThreadFacts {
    ThreadFacts { thread: thread(PID + 1, name), used: ms(1), doing }
}

fn held(since: u64) -> Doing {
    let frame = |symbol: &str| Frame {
        origin: Origin::Library("slow.so".to_owned()),
        address: 1,
        symbol: Some(symbol.to_owned()),
    };
    Doing::Blocked(Blocked {
        call: Some(libc::SYS_futex),
        frame: None,
        library: Some(frame("sleep")),
        since: ms(since),
    })
}

fn endpoint() -> Endpoint {
    Endpoint::Tcp(Address::from(SocketAddr::from(([127, 0, 0, 1], 9999))))
}

fn registered(set: Set, mask: u32) -> Registration {
    Registration { set, epoll: if set == Set::PollThread { 4 } else { 5 }, events: Events(mask) }
}

fn counts(queued: u32) -> Counts {
    Counts {
        queued,
        limit: 30,
        drops: Some(0),
        syn_recv: Some(0),
        queued_alive: Some(queued),
        queued_closed: Some(0),
        queued_bytes: Some(0),
        oldest_wait: (queued > 0).then(|| ms(3000)),
        established: 0,
        close_wait: 0,
        sockets: 1,
        full_sockets: 0,
    }
}

/// So many connections wait, and none has been accepted; with these entries in the epoll sets.
fn queue(queued: u32, entries: &[Registration]) -> ListenerFacts {
    ListenerFacts {
        endpoint: endpoint(),
        member: None,
        members: vec![],
        depth: Depth { queued, limit: 30, drops: Some(0) },
        counts: Some(counts(queued)),
        stalled_for: (queued > 0).then(|| ms(3000)),
        has_accepted: false,
        dropped: 0,
        conditions: vec![],
        accepting: Some((Accepting::of(entries), entries.to_vec())),
        is_steady: true,
        is_attended: true,
    }
}

fn armed(queued: u32) -> ListenerFacts {
    queue(queued, &[registered(Set::PollThread, 0x4000_0019)])
}

fn delivered(queued: u32) -> ListenerFacts {
    queue(queued, &[registered(Set::PollThread, 0x4000_0000)])
}

/// A VM of two idle schedulers, and a poll thread that waits.
fn vm(listeners: Vec<ListenerFacts>) -> ProcessFacts {
    ProcessFacts {
        window: ms(2000),
        readings: 11,
        is_beam: true,
        handles_usr1: true,
        threads: vec![does("erts_sched_1", IDLE), does("2_scheduler", IDLE), does("0_poller", IDLE)],
        listeners,
        somaxconn: Some(4096),
        ..ProcessFacts::default()
    }
}

fn with(doing: &[(&str, Doing)], listeners: Vec<ListenerFacts>) -> ProcessFacts {
    let threads = doing.iter().map(|(name, doing)| does(name, doing.clone())).collect();
    ProcessFacts { threads, ..vm(listeners) }
}

fn ids(found: &[Finding]) -> Vec<&'static str> {
    found.iter().map(Finding::id).collect()
}

#[test]
fn what_is_found() {
    let closed = |left| {
        let mut queue = armed(10);
        queue.counts = Some(Counts { queued_alive: Some(10 - left), queued_closed: Some(left), ..counts(10) });
        queue.stalled_for = None;
        queue.has_accepted = true;
        queue
    };
    let served = |established| ListenerFacts {
        counts: Some(Counts { established, ..counts(2) }),
        ..queue(2, &[registered(Set::PollThread, 0x4000_0018)])
    };
    let unattended = |is_attended| ListenerFacts {
        is_attended,
        ..queue(2, &[registered(Set::PollThread, 0x4000_0000), registered(Set::Schedulers, 0x19)])
    };
    let short = |listener| ListenerFacts { stalled_for: Some(ms(999)), ..listener };
    let run = |run| ProcessFacts { run, ..vm(vec![armed(2)]) };
    let rows: Vec<(&str, ProcessFacts, &[&str])> = vec![
        ("no client waits and one process accepts", vm(vec![armed(0)]), &["healthy"]),
        ("clients wait, not for long enough to be sure", vm(vec![short(armed(2))]), &["healthy"]),
        ("clients wait, and the listener is in no set", vm(vec![queue(2, &[])]), &["never_accepted"]),
        ("no client waits yet, and the listener is in no set", vm(vec![queue(0, &[])]), &["never_accepted"]),
        ("its entry is disarmed", vm(vec![served(0)]), &["nobody_in_accept"]),
        ("disarmed, and connections are served", vm(vec![served(3)]), &["nobody_in_accept", "pool_at_limit"]),
        ("delivered, and all schedulers are free to handle it", vm(vec![delivered(2)]), &["nobody_in_accept"]),
        (
            "delivered, and it is not known whether one scheduler is free",
            with(&[("1_scheduler", IDLE), ("2_scheduler", Doing::Idle { is_sure: false })], vec![delivered(2)]),
            &["event_not_handled"],
        ),
        (
            "delivered, and the thread that has fetched the event is stopped",
            with(&[("1_scheduler", IDLE), ("0_poller", Doing::Stopped)], vec![delivered(2)]),
            &["event_not_handled"],
        ),
        ("armed, clients wait, and no thread fetches the event", vm(vec![armed(2)]), &["nobody_polls"]),
        (
            "armed in the schedulers' set, on which no thread waits",
            vm(vec![unattended(false)]),
            &["unattended_pollset"],
        ),
        ("armed there, and a thread waits on it", vm(vec![unattended(true)]), &["nobody_polls"]),
        (
            "a native call holds a scheduler, and clients wait for it",
            with(&[("1_scheduler", held(2000)), ("2_scheduler", IDLE)], vec![delivered(2)]),
            &["scheduler_blocked"],
        ),
        (
            "a native call holds a scheduler, and no client waits yet",
            with(&[("1_scheduler", held(2000)), ("2_scheduler", IDLE)], vec![armed(0)]),
            &["scheduler_blocked"],
        ),
        (
            "a call that has not lasted for a second",
            with(&[("1_scheduler", held(999)), ("2_scheduler", IDLE)], vec![armed(0)]),
            &["healthy"],
        ),
        (
            "a scheduler computes, and clients wait for it",
            with(&[("1_scheduler", Doing::Spins), ("2_scheduler", IDLE)], vec![delivered(2)]),
            &["scheduler_spinning"],
        ),
        (
            "a scheduler computes, and no client waits",
            with(&[("1_scheduler", Doing::Spins), ("2_scheduler", IDLE)], vec![armed(0)]),
            &["healthy", "scheduler_busy"],
        ),
        (
            "all dirty schedulers of a kind are held up, and accept goes on",
            with(&[("1_scheduler", IDLE), ("erts_dios_1", held(2000)), ("erts_dios_2", held(2000))], vec![armed(0)]),
            &["dirty_schedulers_exhausted"],
        ),
        (
            "some dirty schedulers are held up",
            with(&[("1_scheduler", IDLE), ("erts_dios_1", held(2000)), ("erts_dios_2", IDLE)], vec![armed(0)]),
            &["healthy"],
        ),
        ("stopped: what follows from it is left out", run(Run::Stopped), &["process_stopped"]),
        ("a debugger has stopped it", run(Run::Traced(1)), &["process_stopped"]),
        ("frozen", run(Run::Frozen(None)), &["cgroup_frozen"]),
        ("ended", run(Run::Ended), &["process_ended"]),
        (
            "no descriptor is left",
            ProcessFacts { descriptors: Some(Descriptors { used: 1024, limit: Some(1024) }), ..vm(vec![armed(0)]) },
            &["descriptors_exhausted"],
        ),
        (
            "full, and the reason comes first",
            vm(vec![ListenerFacts { counts: None, ..queue(31, &[]) }]),
            &["never_accepted", "queue_full"],
        ),
        (
            "it was full meanwhile",
            vm(vec![ListenerFacts { conditions: vec![Condition::Overflowing], dropped: 3, ..armed(0) }]),
            &["queue_full"],
        ),
        (
            "accepted, and too late",
            vm(vec![ListenerFacts { conditions: vec![Condition::Behind], ..closed(0) }]),
            &["behind"],
        ),
        ("half of the queued have left", vm(vec![closed(5)]), &["clients_gone"]),
        ("some of the queued have left", vm(vec![closed(4)]), &["healthy"]),
        (
            "more than a thousand connections are held that their peers have closed",
            vm(vec![ListenerFacts { counts: Some(Counts { close_wait: 1001, ..counts(0) }), ..armed(0) }]),
            &["close_wait_held"],
        ),
        (
            "the limit is somaxconn",
            vm(vec![ListenerFacts { depth: Depth { queued: 0, limit: 4096, drops: Some(0) }, ..armed(0) }]),
            &["healthy", "backlog_clipped"],
        ),
        (
            "its sockets cannot be read",
            ProcessFacts { unread: vec![Unread::Sockets(EACCES)], ..vm(vec![]) },
            &["cannot_tell"],
        ),
        (
            "its stacks cannot be read",
            ProcessFacts { unread: vec![Unread::Stacks(EACCES)], ..vm(vec![armed(0)]) },
            &["healthy", "cannot_tell"],
        ),
        ("it runs no BEAM", ProcessFacts { is_beam: false, threads: vec![], ..vm(vec![armed(0)]) }, &["cannot_tell"]),
        ("it listens nowhere", vm(vec![]), &["healthy", "cannot_tell"]),
    ];
    for (what, observed, expected) in rows {
        let found = diagnose(&observed);
        assert_eq!(ids(&found), expected, "{what}: {found:#?}");
        for finding in &found {
            let is_hang = finding.gravity == Gravity::Hang;
            assert!(!is_hang || finding.confidence != Confidence::Possible || finding.id() == "pool_at_limit");
        }
    }
}

#[test]
fn a_crash_dump_needs_a_handler_of_sigusr1_and_a_free_scheduler() {
    let blocked = |handles_usr1, second| ProcessFacts {
        handles_usr1,
        ..with(&[("1_scheduler", held(2000)), ("2_scheduler", second)], vec![delivered(2)])
    };
    for (observed, expected) in [
        (blocked(false, IDLE), CrashDump::NotHandled),
        (blocked(true, held(2000)), CrashDump::NoneFree { schedulers: 2 }),
        (blocked(true, IDLE), CrashDump::SomeFree { free: 1, schedulers: 2 }),
    ] {
        let found = diagnose(&observed);
        let Subject::Threads(ThreadsFinding::SchedulerBlocked(blocked)) = &found[0].subject else {
            panic!("{found:#?}")
        };
        assert_eq!(blocked.crash_dump, expected);
    }
}

#[test]
fn a_thread_that_a_debugger_has_stopped_is_named() {
    let stopped = with(&[("1_scheduler", IDLE), ("0_poller", Doing::Stopped)], vec![armed(2)]);
    let found = diagnose(&stopped);
    let stopped = StoppedThreads { count: 1, name: "0_poller".to_owned(), tid: PID + 1 };
    let expected = NotAccepting::NotPolled { blocked_poller: None, stopped: Some(stopped) };
    let Subject::Accepting(AcceptingFinding::NotAccepting(why, _)) = &found[0].subject else { panic!("{found:#?}") };
    assert_eq!(why, &expected);
}

#[test]
fn a_socket_that_no_process_accepts_on_is_found_among_those_that_share_the_address() {
    let member = |fd: i32, facts: ListenerFacts| ListenerFacts {
        member: Some(Member { fd, inode: Inode(fd as u32) }),
        counts: None,
        ..facts
    };
    let group = |members: Vec<ListenerFacts>| vec![ListenerFacts { members, ..armed(9) }];
    let full = member(7, queue(31, &[]));
    for (sentence, members, expected) in [
        ("one is dead", vec![member(7, queue(9, &[])), member(8, armed(0))], &[("never_accepted", Some(7))][..]),
        ("all are dead", vec![member(7, queue(5, &[])), member(8, queue(4, &[]))], &[("never_accepted", None)]),
        ("one is full", vec![full, member(8, armed(0))], &[("never_accepted", Some(7)), ("queue_full", Some(7))]),
        ("all are well", vec![member(7, armed(0)), member(8, armed(0))], &[("healthy", None)]),
    ] {
        let found = diagnose(&vm(group(members)));
        let of = |finding: &Finding| match &finding.subject {
            Subject::Accepting(AcceptingFinding::NotAccepting(_, queue))
            | Subject::Queue(QueueFinding::Trouble(_, queue)) => queue.member.map(|member| member.fd),
            _ => None,
        };
        let found: Vec<_> = found.iter().map(|finding| (finding.id(), of(finding))).collect();
        assert_eq!(found, expected, "{sentence}");
    }
}

/// A reading of a VM of one scheduler and a poll thread, with two clients before a listener.
fn reading(at: u64, scheduler: &Thread, poller: &Thread, entries: &[Registration]) -> ProcessReading {
    let socket = SocketReading {
        member: Member { fd: 7, inode: Inode(7) },
        depth: Depth { queued: 2, limit: 30, drops: Some(0) },
        registrations: Some(entries.to_vec()),
    };
    let queue = QueueReading { endpoint: endpoint(), sockets: Members::one(Cookie(7), socket), census: None };
    ProcessReading {
        at: ms(1_000_000 + at),
        process: Process { state: State::Sleeping, tracer: 0, handles_usr1: true, began: 1 },
        threads: Threads { list: vec![scheduler.clone(), poller.clone()], is_cut: false },
        queues: vec![queue],
    }
}

fn observed(
    schedulers: &[Thread],
    poller: &Thread,
    entries: &[Registration],
    unmoved: &[(i32, Unmoved)],
) -> ProcessFacts {
    let readings: Vec<_> =
        (0..).map(|step| step * 500).zip(schedulers).map(|(at, it)| reading(at, it, poller, entries)).collect();
    let circumstances =
        Circumstances { is_beam: true, unmoved: unmoved.iter().cloned().collect(), ..Circumstances::default() };
    ProcessFacts::of(&readings, circumstances)
}

#[test]
fn a_scheduler_that_has_just_become_idle_is_free_although_its_stack_was_not_read() {
    let there = thread(1, "1_scheduler");
    let elsewhere = Thread { call: Ok(waits(5, 0x8000)), ..there.clone() };
    let poller = Thread { call: Ok(waits(4, 0x9000)), ..thread(2, "0_poller") };
    let delivered = [registered(Set::PollThread, 0x4000_0000)];
    let still = observed(&[there.clone(), there.clone(), there.clone(), there.clone()], &poller, &delivered, &[]);
    assert_eq!(still.threads[0].doing, Doing::Idle { is_sure: false });
    assert_eq!(ids(&diagnose(&still)), ["event_not_handled"]);
    let came = observed(&[there.clone(), there.clone(), elsewhere, there.clone()], &poller, &delivered, &[]);
    assert_eq!(came.threads[0].doing, IDLE);
    assert_eq!(ids(&diagnose(&came)), ["nobody_in_accept"]);
}

#[test]
fn a_thread_that_a_debugger_has_stopped_in_epoll_wait_attends_to_nothing() {
    let waiting = thread(1, "1_scheduler");
    let poller = Thread { call: Ok(waits(4, 0x9000)), ..thread(2, "0_poller") };
    let theirs = [registered(Set::PollThread, 0x4000_0000), registered(Set::Schedulers, 0x19)];
    let four = |thread: &Thread| [thread.clone(), thread.clone(), thread.clone(), thread.clone()];
    assert!(observed(&four(&waiting), &poller, &theirs, &[]).listeners[0].is_attended);
    let stopped = Thread { state: State::Traced, ..waiting };
    let stopped = observed(&four(&stopped), &poller, &theirs, &[]);
    assert!(!stopped.listeners[0].is_attended);
    assert_eq!(ids(&diagnose(&stopped)), ["unattended_pollset"]);
}
