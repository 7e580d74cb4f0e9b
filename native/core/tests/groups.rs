//! The rules against simulated queues that share an address, and against the overflows that the kernel counts: what is judged
//! for each socket, and what for the address.

use std::collections::VecDeque;
use std::time::Duration;

use accept_queue_core::rules::detector::Condition::{Abandoned, Behind, Leaking, Overflowing, Stuck};
use accept_queue_core::rules::detector::{Change, Condition, ConditionEvidence, Settings, Time};
use accept_queue_core::rules::history::History;
use accept_queue_core::rules::overflows::{Overflowed, Overflows};
use accept_queue_core::{Census, Cookie, Counts, Depth, Error, Members};
use proptest::prelude::*;

const TICK: Duration = Duration::from_millis(100);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A socket with a queue of its own.
struct Socket {
    cookie: Cookie,
    limit: u32,
    drops: u32,
    /// When each of the queued came, and whether it has reset since.
    queue: VecDeque<(Time, bool)>,
    /// Another process's.
    is_foreign: bool,
}

/// Sockets that share an address, as the kernel shows them.
struct Group {
    now: Time,
    sockets: Vec<Socket>,
    /// `ListenOverflows`.
    overflows: u64,
    is_counted: bool,
    ledger: Overflows,
    history: History,
    changes: Vec<(Time, Change)>,
    drops: Option<u64>,
    close_wait: u32,
}

impl Group {
    fn new(members: u64, limit: u32) -> Group {
        let now = ms(1_000_000);
        let mut group = Group {
            now,
            sockets: Vec::new(),
            overflows: 7,
            is_counted: true,
            ledger: Overflows::default(),
            history: History::new(Settings::default(), now),
            changes: Vec::new(),
            drops: None,
            close_wait: 0,
        };
        (1..=members).for_each(|cookie| group.join(cookie, limit, false));
        group.read();
        group
    }

    fn join(&mut self, cookie: u64, limit: u32, is_foreign: bool) {
        self.sockets.push(Socket { cookie: Cookie(cookie), limit, drops: 0, queue: VecDeque::new(), is_foreign });
    }

    fn leave(&mut self, cookie: u64) {
        self.sockets.retain(|socket| socket.cookie != Cookie(cookie));
    }

    fn socket(&mut self, cookie: u64) -> &mut Socket {
        self.sockets.iter_mut().find(|socket| socket.cookie == Cookie(cookie)).expect("a member")
    }

    fn arrive(&mut self, cookie: u64, count: u32) {
        let now = self.now;
        for _ in 0..count {
            let socket = self.socket(cookie);
            if socket.queue.len() > socket.limit as usize {
                socket.drops = socket.drops.wrapping_add(1);
                self.overflows += 1;
            } else {
                socket.queue.push_back((now, false));
            }
        }
    }

    fn accept(&mut self, cookie: u64, count: usize) {
        let queue = &mut self.socket(cookie).queue;
        queue.drain(..count.min(queue.len()));
    }

    fn ours(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(|socket| !socket.is_foreign)
    }

    fn read(&mut self) {
        let depth = |socket: &Socket| Depth {
            queued: socket.queue.len() as u32,
            limit: socket.limit,
            drops: Some(socket.drops),
        };
        let read = self.ours().map(|socket| (socket.cookie, Ok::<_, Error>(depth(socket))));
        let Ok(members) = Members::read(read) else { return };
        let (overflows, is_counted) = (self.overflows, self.is_counted);
        let dropped = self.history.dropped(&members);
        let is_due = self.history.wants_census(self.now);
        let overflowed = self.ledger.attribute(&[dropped], is_due, || is_counted.then_some(overflows))[0];
        let reading = self.history.depth_read(self.now, &members, overflowed);
        assert!(reading.drops >= self.drops, "the sum of drops fell from {:?} to {:?}", self.drops, reading.drops);
        self.drops = reading.drops;
        let mut changes = reading.changes;
        if reading.wants_census {
            changes.extend(self.history.census_taken(self.now, &self.census()).changes);
        }
        self.changes.extend(changes.into_iter().map(|change| (self.now, change)));
    }

    fn census(&self) -> Census {
        let all = || self.sockets.iter().flat_map(|socket| &socket.queue);
        let waits: Vec<_> = all().filter(|(_, reset)| !reset).map(|&(arrived, _)| self.now - arrived).collect();
        let counts = Counts {
            queued: all().count() as u32,
            limit: self.sockets.iter().map(|socket| socket.limit).sum(),
            drops: Some(self.sockets.iter().fold(0, |sum, socket| sum.wrapping_add(socket.drops))),
            queued_alive: Some(waits.len() as u32),
            queued_closed: Some(0),
            oldest_wait: waits.iter().max().copied(),
            close_wait: self.close_wait,
            sockets: self.sockets.len() as u32,
            ..Counts::default()
        };
        let sockets = self.sockets.iter().map(|socket| (socket.cookie, socket.queue.len() as u32)).collect();
        Census { counts, waits: Some(waits), clients: None, took: Duration::ZERO, sockets }
    }

    fn run(&mut self, duration: Duration, mut act: impl FnMut(&mut Group)) -> &mut Group {
        let end = self.now + duration;
        while self.now < end {
            self.now += TICK;
            act(self);
            self.read();
        }
        self
    }

    fn idle(&mut self, duration: Duration) -> &mut Group {
        self.run(duration, |_| {})
    }

    /// These are given so many connections a tick, and accept them all.
    fn serve(&mut self, cookies: std::ops::RangeInclusive<u64>, count: u32) {
        for cookie in cookies {
            self.accept(cookie, usize::MAX);
            self.arrive(cookie, count);
        }
    }

    fn raised(&self) -> Vec<Condition> {
        let mut raised: Vec<_> = self
            .changes
            .iter()
            .filter_map(|(_, change)| match change {
                Change::Raised { condition, .. } => Some(*condition),
                Change::Cleared { .. } => None,
            })
            .collect();
        raised.sort();
        raised
    }

    fn cleared(&self) -> usize {
        self.changes.iter().filter(|(_, change)| matches!(change, Change::Cleared { .. })).count()
    }

    fn raising(&self, wanted: Condition) -> (Time, ConditionEvidence) {
        let found = self.changes.iter().find_map(|(at, change)| match change {
            Change::Raised { condition, evidence } if *condition == wanted => Some((*at, *evidence)),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{wanted:?} was not raised: {:#?}", self.changes))
    }
}

/// A story: what it says, how many sockets share the address, their limit, what happens, which conditions it raises.
type Story = (&'static str, u64, u32, fn(&mut Group), &'static [Condition]);

const STORIES: &[Story] = &[
    ("four members that are served", 4, 30, |group| serve_all(group, 5), &[]),
    ("one of them closes, and had dropped something once", 4, 30, one_closes, &[Overflowing]),
    ("each closes and comes again, as in a rolling restart", 4, 30, rolling_restart, &[]),
    ("no process accepts from one of four", 4, 30, one_is_dead, &[Behind, Overflowing, Stuck]),
    ("no process accepts from one of four, and few come to it", 4, 128, one_is_dead_slowly, &[Behind, Stuck]),
    ("every member is full, and slowly served", 4, 30, all_are_slow, &[Behind, Overflowing]),
    ("connections wait at another process's socket", 1, 30, |group| others_wait(group, 0), &[]),
    ("the same while one comes to us at each reading, and is accepted", 1, 30, |group| others_wait(group, 1), &[]),
    ("more wait than the other process's socket holds", 1, 30, both_wait, &[Behind, Stuck]),
    ("two processes share a port, and one of them leaks", 1, 30, another_may_leak, &[]),
    ("bursts that overflow and drain within an interval", 1, 5, |group| short_bursts(group, true), &[Overflowing]),
    ("the same where the kernel's counter cannot be read", 1, 5, |group| short_bursts(group, false), &[]),
    ("drops that are no overflows", 1, 30, other_drops, &[]),
    ("500 drops while the reader was starved for 1.3 s", 1, 30, starved, &[Overflowing]),
    (
        "full for a minute, read each two seconds, and each third reading fails",
        1,
        5,
        fails_often,
        &[Overflowing, Behind, Stuck],
    ),
    ("six clients that have left at the moment of one census", 1, 30, fire_and_forget, &[]),
];

#[test]
fn every_story_of_a_group_raises_what_it_should_and_clears_it() {
    for (says, members, limit, happens, raises) in STORIES {
        let mut group = Group::new(*members, *limit);
        happens(&mut group);
        let mut expected = raises.to_vec();
        expected.sort();
        assert_eq!(group.raised(), expected, "{says}: {:#?}", group.changes);
        // The cause ends.
        group.sockets.iter_mut().for_each(|socket| socket.queue.clear());
        group.idle(ms(15_000));
        assert_eq!(group.cleared(), expected.len(), "{says}: not cleared: {:#?}", group.changes);
        assert_eq!(group.raised(), expected, "{says}: again: {:#?}", group.changes);
    }
}

fn serve_all(group: &mut Group, count: u32) {
    group.run(ms(20_000), |group| group.serve(1..=4, count));
}

fn one_closes(group: &mut Group) {
    group.idle(ms(1000)).arrive(2, 53);
    group.idle(TICK).accept(2, usize::MAX);
    group.idle(ms(8000));
    let drops = group.drops;
    group.leave(2);
    group.idle(ms(8000));
    assert_eq!(group.drops, drops);
}

fn rolling_restart(group: &mut Group) {
    group.sockets.iter_mut().for_each(|socket| socket.drops = 22);
    group.history = History::new(Settings::default(), group.now);
    for cookie in 1..=4 {
        group.run(ms(1000), |group| group.sockets.iter_mut().for_each(|socket| socket.queue.clear()));
        group.leave(cookie);
        group.idle(ms(500)).join(cookie + 10, 30, false);
    }
    group.idle(ms(3000));
}

fn one_is_dead(group: &mut Group) {
    group.run(ms(12_000), |group| {
        group.serve(1..=3, 5);
        group.arrive(4, 5);
    });
    let lost = group.socket(4).drops;
    let (_, evidence) = group.raising(Overflowing);
    assert_eq!(evidence.socket.map(|socket| (socket.cookie, socket.depth.queued)), Some((Cookie(4), 31)));
    let (at, evidence) = group.raising(Stuck);
    assert_eq!(evidence.socket.map(|socket| socket.cookie), Some(Cookie(4)));
    assert!(at - ms(1_000_000) < ms(6000), "{:?}", at - ms(1_000_000));
    assert!(lost > 500 && evidence.dropped_otherwise == 0, "{evidence:?}");
    assert!(evidence.dropped > 0, "{evidence:?}");
}

fn one_is_dead_slowly(group: &mut Group) {
    let mut tick = 0;
    group.run(ms(12_000), |group| {
        tick += 1;
        group.serve(1..=3, 5);
        group.arrive(4, u32::from(tick % 10 == 0));
    });
    assert_eq!(group.raising(Stuck).1.socket.map(|socket| socket.cookie), Some(Cookie(4)));
}

fn all_are_slow(group: &mut Group) {
    (1..=4).for_each(|cookie| group.arrive(cookie, 31));
    let mut tick = 0;
    // Each is served within seven seconds, and always full when it is read.
    group.run(ms(30_000), |group| {
        tick += 1;
        if tick % 2 == 0 {
            (1..=4).for_each(|cookie| {
                group.accept(cookie, 1);
                group.arrive(cookie, 1);
            });
        }
    });
}

fn others_wait(group: &mut Group, ours: u32) {
    group.join(9, 128, true);
    group.arrive(9, 50);
    group.run(ms(12_000), |group| {
        group.accept(1, usize::MAX);
        group.arrive(1, ours);
    });
}

fn both_wait(group: &mut Group) {
    group.join(9, 128, true);
    group.arrive(9, 5);
    group.arrive(1, 10);
    group.idle(ms(7000));
}

fn another_may_leak(group: &mut Group) {
    group.join(9, 128, true);
    group.close_wait = 2000;
    group.idle(ms(12_000)).close_wait = 0;
}

fn short_bursts(group: &mut Group, is_counted: bool) {
    group.is_counted = is_counted;
    group.idle(ms(6000));
    group.run(ms(3000), |group| {
        group.arrive(1, 20);
        group.accept(1, usize::MAX);
    });
    let lost = group.socket(1).drops;
    assert_eq!(lost, 30 * 14);
    if is_counted {
        group.idle(ms(6000));
        let dropped: u64 = group
            .changes
            .iter()
            .filter_map(|(_, change)| match change {
                Change::Cleared { evidence, .. } => Some(evidence.dropped),
                Change::Raised { .. } => None,
            })
            .sum();
        assert_eq!(dropped, lost.into(), "every one is reported, and as one overflow");
    }
}

fn other_drops(group: &mut Group) {
    group.run(ms(3000), |group| group.socket(1).drops += 3);
}

fn starved(group: &mut Group) {
    group.idle(ms(2000)).now += ms(1300);
    group.arrive(1, 531);
    group.accept(1, usize::MAX);
    group.read();
    assert_eq!(group.raising(Overflowing).1.dropped, 500);
}

fn fails_often(group: &mut Group) {
    let settings = Settings { interval: ms(2000), ..Settings::default() };
    group.history = History::new(settings, group.now);
    group.arrive(1, 6);
    for nth in 0..30 {
        group.now += ms(2000);
        if nth % 3 == 2 { group.history.reading_failed() } else { group.read() }
    }
}

fn fire_and_forget(group: &mut Group) {
    group.idle(ms(5000));
    group.arrive(1, 6);
    group.socket(1).queue.iter_mut().for_each(|client| client.1 = true);
    // A busy server's next ones are there when it is read again.
    group.run(ms(3000), |group| {
        group.accept(1, usize::MAX);
        group.arrive(1, 6);
    });
}

#[test]
fn a_member_that_joins_or_leaves_neither_clears_nor_restarts_what_stands() {
    let mut group = Group::new(3, 30);
    group.run(ms(3000), |group| {
        group.serve(1..=2, 5);
        group.arrive(3, 1);
    });
    group.leave(1);
    group.run(ms(500), |group| {
        group.serve(2..=2, 5);
        group.arrive(3, 1);
    });
    group.join(4, 30, false);
    group.run(ms(2500), |group| {
        group.serve(2..=2, 5);
        group.serve(4..=4, 5);
    });
    let (at, evidence) = group.raising(Stuck);
    assert_eq!(evidence.socket.map(|socket| socket.cookie), Some(Cookie(3)));
    assert!(at - ms(1_000_000) < ms(5600), "not restarted: {:?}", at - ms(1_000_000));
    group.leave(2);
    group.idle(ms(7000)).join(5, 30, false);
    group.idle(ms(7000));
    assert_eq!((group.raised(), group.cleared()), (vec![Behind, Overflowing, Stuck], 0), "{:#?}", group.changes);
}

/// What may happen between two readings of a group.
#[derive(Debug, Clone)]
enum Step {
    Arrive(u64, u32),
    Accept(u64, usize),
    Leave(u64),
    Join,
    Sleep(u64),
    Fail,
    OtherDrops(u64, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..6, 0u32..60).prop_map(|(cookie, count)| Step::Arrive(cookie, count)),
        4 => (1u64..6, 0usize..60).prop_map(|(cookie, count)| Step::Accept(cookie, count)),
        1 => (1u64..6).prop_map(Step::Leave),
        1 => Just(Step::Join),
        1 => (0u64..20_000).prop_map(Step::Sleep),
        1 => Just(Step::Fail),
        1 => (1u64..6, 0u32..9).prop_map(|(cookie, count)| Step::OtherDrops(cookie, count)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// And every overflow that the kernel counted is reported, once: those of one that closes before the next reading are lost
    /// with it.
    #[test]
    fn whatever_happens_each_raise_has_one_clear_and_drops_never_fall(
        steps in prop::collection::vec((step(), 1u32..20), 1..150),
    ) {
        let mut group = Group::new(3, 20);
        let mut next = 100;
        for (step, ticks) in steps {
            let nth = |group: &Group, n: u64| {
                let all: Vec<_> = group.ours().map(|socket| socket.cookie.0).collect();
                all[n as usize % all.len()]
            };
            match step {
                Step::Arrive(n, count) => { let cookie = nth(&group, n); group.arrive(cookie, count) }
                Step::Accept(n, count) => { let cookie = nth(&group, n); group.accept(cookie, count) }
                Step::Leave(n) if group.sockets.len() > 1 => { let cookie = nth(&group, n); group.leave(cookie) }
                Step::Leave(_) => {}
                Step::Join => { next += 1; group.join(next, 20, false) }
                Step::Sleep(duration) => group.now += ms(duration),
                Step::Fail => group.history.reading_failed(),
                Step::OtherDrops(n, count) => { let cookie = nth(&group, n); group.socket(cookie).drops += count }
            }
            group.idle(TICK * ticks);
        }
        group.sockets.iter_mut().for_each(|socket| socket.queue.clear());
        group.idle(ms(20_000));
        for condition in [Behind, Overflowing, Stuck, Abandoned, Leaking] {
            let of_this: Vec<_> = group.changes.iter().filter_map(|(_, change)| match change {
                Change::Raised { condition: other, .. } => (*other == condition).then_some(true),
                Change::Cleared { condition: other, .. } => (*other == condition).then_some(false),
            }).collect();
            prop_assert!(of_this.chunks(2).all(|pair| pair == [true, false]), "{:?}: {:?}", condition, of_this);
        }
        let reported: u64 = group.changes.iter().filter_map(|(_, change)| match change {
            Change::Cleared { condition: Overflowing, evidence } => Some(evidence.dropped),
            _ => None,
        }).sum();
        prop_assert_eq!(reported, group.overflows - 7);
    }
}

proptest! {
    /// Neither on which polls were made, nor on the order in which the sockets were read.
    #[test]
    fn what_a_group_drops_does_not_depend_on_how_its_polls_are_split(
        before in any::<[u32; 3]>(),
        ticks in prop::collection::vec((any::<[u8; 3]>(), any::<bool>(), 0usize..3), 1..40),
    ) {
        let total = |is_polled: fn(bool) -> bool, turned: fn(usize) -> usize| {
            let mut history = History::new(Settings::default(), ms(1_000_000));
            let mut read = |at, drops: [u32; 3], turn| {
                let depth = |drops| Ok::<_, Error>(Depth { queued: 0, limit: 8, drops: Some(drops) });
                let mut sockets = [0, 1, 2].map(|member| (Cookie(member as u64), depth(drops[member])));
                sockets.rotate_left(turn);
                let members = Members::read(sockets).expect("all are open");
                history.depth_read(at, &members, Overflowed::default()).drops
            };
            let mut drops = before;
            let mut total = read(ms(1_000_000), drops, 0);
            for (tick, &(dropped, flag, turn)) in (1u64..).zip(&ticks) {
                drops = [0, 1, 2].map(|member| drops[member].wrapping_add(u32::from(dropped[member])));
                if is_polled(flag) || tick as usize == ticks.len() {
                    total = read(ms(1_000_000 + 100 * tick), drops, turned(turn));
                }
            }
            total
        };
        prop_assert_eq!(total(|flag| flag, |turn| turn), total(|_| true, |_| 0));
    }
}
