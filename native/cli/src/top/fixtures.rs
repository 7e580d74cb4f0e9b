//! What the tests of this folder share: an application, keys, and readings that they make up.

use std::sync::Arc;
use std::time::Duration;

use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::{Reading, Sample};
use accept_queue_core::outside::snapshot::{Gap, Missing, Owner};
use accept_queue_core::rules::detector::{Condition, Outlook, Time};
use accept_queue_core::rules::facts::{Blocked, Doing, ListenerFacts, ProcessFacts, ThreadFacts, Unread};
use accept_queue_core::rules::history::{DepthReading, Span, Status};
use accept_queue_core::vm::find::Candidate;
use accept_queue_core::vm::pollset::{Accepting, Events, Registration, Set};
use accept_queue_core::vm::threads::{Call, Role, Stand, State, Thread};
use accept_queue_core::{Address, Cookie, Counts, Depth, Endpoint, Errno, Error, Inode};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::App;
use super::epoll::EpollState;
use super::examiner::Examined;
use super::sampler::Observation;
use crate::args::ScopeOptions;
use crate::findings::Diagnosis;

pub(super) fn app() -> App {
    app_for(None)
}

pub(super) fn press(app: &mut App, keys: &str) {
    for character in keys.chars() {
        let code = match character {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            character => KeyCode::Char(character),
        };
        app.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
}

/// Whose scope is this process, or every BEAM.
pub(super) fn app_for(pid: Option<i32>) -> App {
    let scope = ScopeOptions { pid, node: None, port: None, all: false };
    App::new(scope, Duration::from_millis(500))
}

/// A reading that a test makes up.
#[derive(Clone)]
pub(super) struct MadeUp {
    port: u16,
    queued: u32,
    limit: u32,
    drops: Option<u32>,
    owner: String,
    conditions: Vec<(Condition, Duration)>,
    oldest: Option<Duration>,
    closed: u32,
    close_wait: u32,
    is_new: bool,
    mask: Option<u32>,
    is_emptied: bool,
    has_owner: bool,
}

impl MadeUp {
    pub(super) fn new(port: u16, queued: u32, limit: u32) -> MadeUp {
        MadeUp {
            port,
            queued,
            limit,
            drops: Some(0),
            owner: "shop@host".to_owned(),
            conditions: Vec::new(),
            oldest: None,
            closed: 0,
            close_wait: 0,
            is_new: false,
            mask: Some(0x4000_0019),
            is_emptied: false,
            has_owner: true,
        }
    }

    pub(super) fn raising(mut self, condition: Condition) -> MadeUp {
        self.conditions.push((condition, Duration::from_secs(12)));
        self
    }

    pub(super) fn owned_by(self, owner: &str) -> MadeUp {
        MadeUp { owner: owner.to_owned(), ..self }
    }

    /// As with `--port`.
    pub(super) fn without_owner(self) -> MadeUp {
        MadeUp { has_owner: false, ..self }
    }

    pub(super) fn dropped(self, drops: u32) -> MadeUp {
        MadeUp { drops: Some(drops), ..self }
    }

    pub(super) fn reopened(self) -> MadeUp {
        MadeUp { is_new: true, ..self }
    }

    pub(super) fn waiting(self, oldest: Duration, closed: u32) -> MadeUp {
        MadeUp { oldest: Some(oldest), closed, ..self }
    }

    pub(super) fn holding(self, close_wait: u32) -> MadeUp {
        MadeUp { close_wait, ..self }
    }

    /// The mask of its descriptor in the poll thread's set; `None`: not in it.
    pub(super) fn polled(self, mask: Option<u32>) -> MadeUp {
        MadeUp { mask, ..self }
    }

    /// Since the last census.
    pub(super) fn since_emptied(self) -> MadeUp {
        MadeUp { is_emptied: true, ..self }
    }

    fn owners(&self) -> Vec<Owner> {
        let owner = || Owner { process: Arc::new(beam(&self.owner)), fd: 18 };
        self.has_owner.then(owner).into_iter().collect()
    }

    fn epoll(&self) -> EpollState {
        let registration = |mask| Registration { set: Set::PollThread, epoll: 4, events: Events(mask) };
        let found: Vec<_> = self.mask.into_iter().map(registration).collect();
        EpollState {
            socket: Inode(self.port.into()),
            accepting: Some(Accepting::of(&found)),
            found: found.into_iter().map(|found| (Arc::new(beam(&self.owner)), found)).collect(),
        }
    }

    fn reading(&self) -> Reading {
        let queued = if self.is_emptied { 0 } else { self.queued };
        let depth = Depth { queued, limit: self.limit, drops: self.drops };
        let counts = Counts {
            queued: self.queued,
            limit: self.limit,
            drops: self.drops,
            syn_recv: Some(0),
            queued_alive: Some(self.queued - self.closed),
            queued_closed: Some(self.closed),
            queued_bytes: Some(0),
            oldest_wait: self.oldest,
            established: 7,
            close_wait: self.close_wait,
            sockets: 1,
            full_sockets: 0,
        };
        Reading {
            namespace: Namespace(1),
            endpoint: Endpoint::Tcp(Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], self.port)))),
            owners: self.owners(),
            sockets: vec![(Cookie(self.port.into()), Inode(self.port.into()))],
            is_new: self.is_new,
            depth_reading: DepthReading {
                depth,
                drops: self.drops.map(u64::from),
                changes: Vec::new(),
                wants_census: false,
                outlook: Outlook::default(),
                resumed: false,
                is_sample: false,
            },
            census: None,
            status: Status {
                conditions: self.conditions.clone(),
                depth: Some(depth),
                drops: self.drops.map(u64::from),
                counts: Some((counts, Duration::ZERO)),
                census_every: Duration::ZERO,
                window: Some(Span {
                    min: 0,
                    max: self.queued,
                    mean: f64::from(self.queued) / 2.0,
                    readings: 1,
                    peak_ago: Duration::from_millis(2500),
                }),
                watched_for: Duration::from_secs(90),
                read_ago: Some(Duration::ZERO),
            },
        }
    }
}

pub(super) fn beam(name: &str) -> Candidate {
    Candidate { pid: 4711, name: name.to_owned(), is_beam: true, is_named: true }
}

pub(super) fn observation(at: Time, rows: &[MadeUp]) -> Observation {
    Observation {
        at,
        elapsed: at,
        took: Duration::from_millis(1),
        sample: Sample { readings: rows.iter().map(MadeUp::reading).collect(), gone: Vec::new(), gaps: Vec::new() },
        epoll: rows.iter().map(|row| vec![row.epoll()]).collect(),
        kernel: None,
        passive_opens: None,
        stopped: Vec::new(),
    }
}

/// A process that could not be read.
pub(super) fn gap(name: &str) -> Gap {
    Gap { process: Arc::new(beam(name)), missing: Missing::Sockets(Error::Errno(Errno(13))) }
}

/// On no machine the number of a system call that has a name here.
const SOME_CALL: i64 = 100_000;

fn thread(tid: i32, name: &str, doing: Doing) -> ThreadFacts {
    let call = Call::Waiting { number: SOME_CALL, first: 0, at: Stand { sp: 0, pc: 0 } };
    let thread = Thread {
        tid,
        name: name.to_owned(),
        role: Role::of(name),
        state: State::Sleeping,
        cpu: Duration::ZERO,
        delayed: Duration::ZERO,
        wait_channel: None,
        call: Ok(call),
    };
    ThreadFacts { thread, used: Duration::from_millis(7), doing }
}

/// A native call holds up one of two schedulers while 31 wait.
pub(super) fn blocked(pid: i32, name: &str, unread: Vec<Unread>) -> Examined {
    let since = Duration::from_secs(2);
    let blocked = Blocked { call: Some(SOME_CALL), frame: None, library: None, since };
    let delivered = Registration { set: Set::PollThread, epoll: 4, events: Events(0x4000_0000) };
    let listener = ListenerFacts {
        endpoint: Endpoint::Tcp(Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 9999)))),
        member: None,
        members: vec![],
        depth: Depth { queued: 31, limit: 30, drops: Some(0) },
        counts: None,
        stalled_for: Some(since),
        has_accepted: false,
        dropped: 0,
        conditions: vec![],
        accepting: Some((Accepting::Delivered, vec![delivered])),
        is_steady: true,
        is_attended: true,
    };
    let observed = ProcessFacts {
        window: since,
        readings: 11,
        is_beam: true,
        threads: vec![
            thread(pid + 1, "1_scheduler", Doing::Blocked(blocked)),
            thread(pid + 2, "2_scheduler", Doing::Idle { is_sure: true }),
            thread(pid + 3, "0_poller", Doing::Idle { is_sure: true }),
        ],
        listeners: vec![listener],
        unread,
        ..ProcessFacts::default()
    };
    let candidate = Candidate { pid, name: name.to_owned(), is_beam: true, is_named: true };
    Examined { pid, outcome: Ok(Diagnosis::without_node(candidate, observed)) }
}
