//! The rules against simulated queues: what raises a condition, what does not, and what clears it.

use std::collections::VecDeque;
use std::time::Duration;

use accept_queue_core::rules::detector::{Change, Condition, ConditionEvidence, Detector, Settings, Time, on_clock};
use accept_queue_core::rules::history::History;
use accept_queue_core::rules::overflows::Overflowed;
use accept_queue_core::{Census, Cookie, Counts, Depth, Members};
use proptest::prelude::*;

const SOCKET: Cookie = Cookie(1);
const TICK: Duration = Duration::from_millis(100);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A first-in first-out queue with a limit, and the detector that watches it.
struct Simulation {
    now: Time,
    limit: u32,
    queue: VecDeque<Client>,
    drops: u32,
    close_wait: u32,
    detector: Detector,
    changes: Vec<(Time, Change)>,
    censuses: u32,
    is_unix: bool,
    /// How long the dump behind a census takes; the ages are those at its end.
    dump_takes: Duration,
    /// By 80 ms: on the way from the clock to the dump.
    comes_late: bool,
}

struct Client {
    arrived: Time,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Alive,
    Closed,
    Reset,
}

impl Simulation {
    fn new(limit: u32) -> Simulation {
        Simulation {
            now: ms(1_000_000),
            limit,
            queue: VecDeque::new(),
            drops: u32::MAX - 1,
            close_wait: 0,
            detector: Detector::new(Settings::default()),
            changes: Vec::new(),
            censuses: 0,
            is_unix: false,
            dump_takes: Duration::ZERO,
            comes_late: false,
        }
    }

    fn arrive(&mut self, count: u32) {
        for _ in 0..count {
            if self.queue.len() > self.limit as usize {
                self.drops = self.drops.wrapping_add(1);
            } else {
                self.queue.push_back(Client { arrived: self.now, state: State::Alive });
            }
        }
    }

    fn accept(&mut self, count: usize) {
        self.queue.drain(..count.min(self.queue.len()));
    }

    fn leave(&mut self, count: usize) {
        self.queue.iter_mut().take(count).for_each(|client| client.state = State::Closed);
    }

    fn reset(&mut self, count: usize) {
        let rest = self.queue.iter_mut().filter(|client| client.state != State::Reset);
        rest.take(count).for_each(|client| client.state = State::Reset);
    }

    /// In jiffies of 4 ms, and not in order.
    fn waits(&self) -> Option<Vec<Duration>> {
        let rows = self.queue.iter().rev().filter(|client| client.state != State::Reset);
        let late = if self.comes_late { ms(80) } else { ms(0) };
        let jiffies =
            |client: &Client| ms((self.now + late + self.dump_takes - client.arrived).as_millis() as u64 / 4 * 4);
        (!self.is_unix).then(|| rows.map(jiffies).collect())
    }

    fn read(&mut self) {
        self.read_depth();
        if self.detector.wants_census(self.now, None) {
            self.census();
        }
    }

    fn read_depth(&mut self) {
        let depth = Depth { queued: self.queue.len() as u32, limit: self.limit, drops: Some(self.drops) };
        let changes = self.detector.depth_read(self.now, &Members::one(SOCKET, depth), self.overflowed());
        self.changes.extend(changes.into_iter().map(|change| (self.now, change)));
    }

    /// Without the counter of the namespace.
    fn overflowed(&self) -> Overflowed {
        Overflowed::default()
    }

    fn census(&mut self) {
        self.censuses += 1;
        let census = Census {
            counts: self.counts(),
            waits: self.waits(),
            clients: None,
            took: self.dump_takes,
            sockets: Vec::new(),
        };
        let changes = self.detector.census_taken(self.now, &census);
        self.changes.extend(changes.into_iter().map(|change| (self.now, change)));
    }

    fn counts(&self) -> Counts {
        let closed = self.queue.iter().filter(|client| client.state == State::Closed).count() as u32;
        let alive = self.queue.iter().filter(|client| client.state == State::Alive).count() as u32;
        Counts {
            queued: self.queue.len() as u32,
            limit: self.limit,
            drops: Some(self.drops),
            syn_recv: Some(0),
            queued_alive: Some(alive),
            queued_closed: Some(closed),
            queued_bytes: Some(0),
            oldest_wait: self.waits().and_then(|waits| waits.into_iter().max()),
            established: 0,
            close_wait: self.close_wait,
            sockets: 1,
            full_sockets: 0,
        }
    }

    /// Ticks for so long; before each the pool does something.
    fn run(&mut self, duration: Duration, mut pool: impl FnMut(&mut Simulation)) -> &mut Simulation {
        let end = self.now + duration;
        while self.now < end {
            pool(self);
            self.read();
            self.now += TICK;
        }
        self
    }

    fn idle(&mut self, duration: Duration) -> &mut Simulation {
        self.run(duration, |_| {})
    }

    fn raised(&self) -> Vec<Condition> {
        let raised = |(_, change): &(Time, Change)| match change {
            Change::Raised { condition, .. } => Some(*condition),
            Change::Cleared { .. } => None,
        };
        self.changes.iter().filter_map(raised).collect()
    }

    fn cleared(&self) -> Vec<Condition> {
        let cleared = |(_, change): &(Time, Change)| match change {
            Change::Cleared { condition, .. } => Some(*condition),
            Change::Raised { .. } => None,
        };
        self.changes.iter().filter_map(cleared).collect()
    }

    fn raising(&self, wanted: Condition) -> (Time, ConditionEvidence) {
        let found = self.changes.iter().find_map(|(at, change)| match change {
            Change::Raised { condition, evidence } if *condition == wanted => Some((*at, *evidence)),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{wanted:?} was not raised: {:?}", self.changes))
    }
}

use Condition::{Abandoned, Behind, Leaking, Overflowing, Stuck};

/// A story: what it says, how large the queue is, what happens, which conditions it raises.
type Story = (&'static str, u32, fn(&mut Simulation), &'static [Condition]);

const STORIES: &[Story] = &[
    ("no client comes", 128, no_client_comes, &[]),
    ("a burst that the next acceptor takes raises nothing", 128, burst, &[]),
    ("a deep queue that drains is a burst, however deep", 4096, drains, &[]),
    ("one client waits 900 ms", 128, |queue| waits(queue, ms(900)), &[]),
    ("one client waits 1.3 s", 128, |queue| waits(queue, ms(1300)), &[Behind]),
    ("no process accepts", 128, |queue| waits(queue, ms(10_000)), &[Behind, Stuck]),
    ("no process accepts, and clients go on coming", 4096, |queue| keep_coming(queue, 5, 0), &[Behind, Stuck]),
    ("a pool that accepts half of what arrives", 4096, |queue| keep_coming(queue, 40, 20), &[Behind]),
    ("the same with a queue that fills", 100, |queue| keep_coming(queue, 40, 20), &[Overflowing, Behind]),
    ("a pool that keeps up with a queue that is never empty", 128, |queue| keep_coming(queue, 40, 40), &[]),
    ("a burst that does not fit", 30, overflow, &[Overflowing]),
    ("drops that have nothing to do with the queue", 128, drops_elsewhere, &[]),
    ("full to the last place, without a drop, for a moment", 30, full_for_a_moment, &[]),
    ("half of the queued have left", 128, half_have_left, &[Behind, Abandoned]),
    ("four that have left are too few to say so", 128, four_have_left, &[Behind]),
    (
        "no process accepts, and every client resets after a second",
        30,
        impatient,
        &[Behind, Overflowing, Stuck, Abandoned],
    ),
    (
        "a slow pool, and every client resets after a second and a half",
        30,
        slow_and_impatient,
        &[Behind, Overflowing, Abandoned],
    ),
    ("no process accepts from a Unix socket", 30, stuck_unix, &[Stuck]),
    ("a Unix socket that is always full, and drained", 30, full_unix, &[Overflowing]),
    ("1,200 sockets in CLOSE_WAIT", 128, |queue| leak(queue, 1200), &[Leaking]),
    ("1,000 sockets in CLOSE_WAIT", 128, |queue| leak(queue, 1000), &[]),
    ("the VM slept, and its acceptors go on at once", 128, slept, &[]),
    ("readings failed for ten seconds, and none waits any more", 128, failed, &[]),
];

#[test]
fn every_story_raises_what_it_should_and_clears_it() {
    for (says, limit, happens, raises) in STORIES {
        let mut queue = Simulation::new(*limit);
        happens(&mut queue);
        let mut raised = queue.raised();
        raised.sort();
        let mut expected = raises.to_vec();
        expected.sort();
        assert_eq!(raised, expected, "{says}: {:#?}", queue.changes);
        // The cause ends.
        queue.queue.clear();
        queue.close_wait = 0;
        queue.idle(ms(15_000));
        let mut cleared = queue.cleared();
        cleared.sort();
        assert_eq!(cleared, expected, "{says}: not cleared");
        assert_eq!(queue.detector.conditions().count(), 0, "{says}");
    }
}

fn no_client_comes(queue: &mut Simulation) {
    queue.idle(ms(60_000));
}

fn burst(queue: &mut Simulation) {
    queue.idle(ms(2000));
    for _ in 0..20 {
        queue.arrive(40);
        queue.idle(TICK);
        queue.accept(40);
        queue.idle(ms(500));
    }
}

fn drains(queue: &mut Simulation) {
    queue.idle(ms(2000)).arrive(1000);
    queue.run(ms(1000), |queue| queue.accept(110));
}

fn waits(queue: &mut Simulation, duration: Duration) {
    queue.idle(ms(2000)).arrive(1);
    queue.idle(duration).accept(1);
    queue.idle(ms(200));
}

fn keep_coming(queue: &mut Simulation, arrivals: u32, accepts: usize) {
    queue.idle(ms(2000)).run(ms(8000), |queue| {
        queue.accept(accepts);
        queue.arrive(arrivals);
    });
}

fn overflow(queue: &mut Simulation) {
    queue.idle(ms(2000)).arrive(50);
    queue.idle(TICK).accept(31);
    queue.idle(ms(500));
}

fn drops_elsewhere(queue: &mut Simulation) {
    queue.idle(ms(2000)).run(ms(3000), |queue| queue.drops = queue.drops.wrapping_add(3));
}

fn full_for_a_moment(queue: &mut Simulation) {
    queue.idle(ms(2000)).arrive(31);
    queue.idle(ms(300)).accept(31);
    queue.idle(ms(500));
}

fn half_have_left(queue: &mut Simulation) {
    queue.idle(ms(2000)).arrive(12);
    queue.leave(6);
    queue.idle(ms(3000));
}

fn four_have_left(queue: &mut Simulation) {
    queue.idle(ms(2000)).arrive(4);
    queue.leave(4);
    queue.idle(ms(3000));
}

fn impatient(queue: &mut Simulation) {
    queue.idle(ms(2000));
    for _ in 0..10 {
        queue.arrive(4);
        queue.idle(ms(1000)).reset(4);
    }
}

fn slow_and_impatient(queue: &mut Simulation) {
    queue.idle(ms(2000)).arrive(31);
    for _ in 0..10 {
        queue.idle(ms(1500)).reset(31);
        queue.accept(1);
        queue.arrive(1);
    }
}

fn stuck_unix(queue: &mut Simulation) {
    queue.is_unix = true;
    queue.idle(ms(2000)).arrive(1);
    queue.idle(ms(6000));
}

fn full_unix(queue: &mut Simulation) {
    queue.is_unix = true;
    queue.idle(ms(2000)).run(ms(8000), |queue| {
        let drops = queue.drops;
        queue.accept(10);
        queue.arrive(31);
        // A client of a Unix socket waits for its place.
        queue.drops = drops;
    });
}

fn leak(queue: &mut Simulation, sockets: u32) {
    queue.close_wait = sockets;
    queue.idle(ms(11_000));
}

fn slept(queue: &mut Simulation) {
    queue.idle(ms(2000)).arrive(20);
    queue.now += ms(10_000);
    queue.idle(TICK).accept(20);
    queue.idle(ms(500));
}

fn failed(queue: &mut Simulation) {
    queue.idle(ms(2000)).arrive(5);
    queue.idle(ms(500));
    for _ in 0..100 {
        queue.detector.reading_failed();
        queue.now += TICK;
    }
    queue.idle(TICK).accept(5);
    queue.idle(ms(500));
}

#[test]
fn behind_is_raised_in_time() {
    let mut queue = Simulation::new(4096);
    queue.idle(ms(2000));
    let begins = queue.now;
    queue.run(ms(4000), |queue| {
        queue.accept(20);
        queue.arrive(40);
    });
    let (at, evidence) = queue.raising(Behind);
    // The head has waited for longer than 100 ms for the first time at the second tick at the earliest.
    let Settings { max_wait, hold_for, .. } = Settings::default();
    assert!(at - begins >= max_wait + hold_for && at - begins <= max_wait + hold_for + ms(500), "{:?}", at - begins);
    assert!(evidence.held_for >= hold_for);
}

/// Read as the monitor does: at each tick, and when something is due. What is late counts from when the head of the queue had waited for too
/// long for the first time.
#[test]
fn behind_is_not_later_than_a_census_that_waits_for_it() {
    let Settings { max_wait, hold_for, .. } = Settings::default();
    for phase in 0..10 {
        let mut queue = Simulation::new(4096);
        queue.idle(ms(2000));
        queue.now += ms(phase * 10);
        let (begins, mut next_tick, mut due, mut begun) = (queue.now, queue.now + ms(50), None, None);
        for millisecond in 0..3000 {
            queue.now = begins + ms(millisecond);
            if millisecond % 10 == 0 {
                queue.arrive(4);
                queue.accept(2);
            }
            let waited = queue.queue.front().map_or(ms(0), |head| queue.now - head.arrived);
            if waited > max_wait {
                begun.get_or_insert(queue.now);
            }
            if queue.now >= next_tick || due.is_some_and(|due| queue.now >= due) {
                queue.read();
                due = queue.detector.outlook(queue.now).due_at;
                if queue.now >= next_tick {
                    next_tick += TICK;
                }
            }
        }
        let late = queue.raising(Behind).0 - begun.expect("it grows") - hold_for;
        assert!(late <= ms(50), "{late:?} in phase {phase}");
    }
}

/// A connection comes just before each reading of the grid, and is accepted at once: the queue is empty nearly all of the time. Read as the
/// monitor does.
#[test]
fn connections_in_step_with_the_readings_do_not_make_a_census_of_each() {
    let mut queue = Simulation::new(128);
    queue.idle(ms(2000));
    let (begins, mut due, before) = (queue.now, None, queue.censuses);
    for millisecond in 0..10_000 {
        queue.now = begins + ms(millisecond);
        let is_tick = millisecond % 100 == 0;
        if millisecond % 20 == 0 {
            queue.arrive(1);
        }
        if is_tick || due.is_some_and(|due| queue.now >= due) {
            queue.read();
            due = queue.detector.outlook(queue.now).due_at;
        }
        queue.accept(usize::MAX);
    }
    assert_eq!(queue.changes, []);
    let taken_in_any_case = 10_000 / Settings::default().census.as_millis() as u32 + 1;
    assert!(queue.censuses - before <= taken_in_any_case, "{}", queue.censuses - before);
}

#[test]
fn stuck_is_raised_in_time_and_not_before() {
    let mut queue = Simulation::new(4096);
    queue.idle(ms(2000)).run(ms(3000), |queue| {
        queue.accept(40);
        queue.arrive(40);
    });
    queue.accept(usize::MAX);
    queue.arrive(1);
    let blocked = queue.now;
    queue.run(ms(7000), |queue| queue.arrive(1));
    let (at, _) = queue.raising(Stuck);
    assert!(at - blocked >= ms(5000) && at - blocked <= ms(5500), "{:?}", at - blocked);
}

#[test]
fn dumps_that_take_their_time_on_a_busy_machine_do_not_put_off_stuck() {
    let mut queue = Simulation::new(4096);
    queue.idle(ms(2000)).arrive(3);
    let blocked = queue.now;
    let mut nth = 0;
    queue.run(ms(7000), |queue| {
        nth += 1;
        queue.dump_takes = ms([0, 150, 40, 0, 90][nth % 5]);
        if nth % 7 == 0 {
            queue.arrive(1);
        }
    });
    let (at, _) = queue.raising(Stuck);
    assert!(at - blocked >= ms(5000) && at - blocked <= ms(5500), "{:?}", at - blocked);
}

/// Of these, `stuck` takes longer to be raised than to be cleared.
#[test]
fn what_was_raised_before_a_sleep_stays_raised_after_it_and_is_not_reported_again() {
    let mut queue = Simulation::new(8);
    queue.detector = Detector::new(Settings {
        hold_for: ms(800),
        stuck: ms(1500),
        clear: ms(700),
        census: ms(500),
        ..Settings::default()
    });
    queue.close_wait = 2000;
    queue.arrive(9);
    queue.leave(6);
    queue.idle(ms(3000));
    let raised = queue.raised();
    assert_eq!(raised.len(), Condition::ALL.len(), "{raised:?}");
    queue.now += ms(10_000);
    queue.idle(ms(5000));
    assert_eq!((queue.raised(), queue.cleared()), (raised, vec![]));
    // It wakes up again, and then the pool does.
    queue.now += ms(10_000);
    queue.idle(ms(100));
    queue.accept(usize::MAX);
    queue.close_wait = 0;
    queue.idle(ms(5000));
    assert_eq!((queue.raised().len(), queue.cleared().len()), (Condition::ALL.len(), Condition::ALL.len()));
}

#[test]
fn a_census_that_comes_late_without_saying_so_does_not_make_another_head() {
    let mut queue = Simulation::new(4096);
    queue.idle(ms(2000)).arrive(3);
    let blocked = queue.now;
    let mut nth = 0;
    queue.run(ms(7000), |queue| {
        nth += 1;
        queue.comes_late = nth > 6 && nth % 2 == 0;
    });
    let (at, _) = queue.raising(Stuck);
    assert!(at - blocked >= ms(5000) && at - blocked <= ms(5500), "{:?}", at - blocked);
}

#[test]
fn one_dump_of_two_seconds_does_not_make_a_slow_pool_stuck() {
    let mut queue = Simulation::new(4096);
    queue.idle(ms(2000)).arrive(20);
    let mut nth = 0;
    queue.run(ms(20_000), |queue| {
        queue.dump_takes = if nth == 2 { ms(2000) } else { ms(0) };
        nth += 1;
        queue.arrive(1);
        if nth % 10 == 0 {
            queue.accept(1);
        }
    });
    assert_eq!(queue.raised(), [Behind]);
}

#[test]
fn a_slow_pool_is_behind_but_not_stuck() {
    let mut queue = Simulation::new(4096);
    queue.idle(ms(2000)).arrive(100);
    // One every two seconds: the head is never the same for five.
    let mut ticks = 0;
    queue.run(ms(60_000), |queue| {
        ticks += 1;
        queue.arrive(u32::from(ticks % 20 == 0));
        queue.accept(usize::from(ticks % 20 == 0));
    });
    assert_eq!(queue.raised(), [Behind]);
}

#[test]
fn the_drops_of_an_overflow_are_counted_over_the_wrap() {
    let mut queue = Simulation::new(30);
    queue.idle(ms(2000)).arrive(50);
    queue.idle(TICK);
    let (_, evidence) = queue.raising(Overflowing);
    assert_eq!((evidence.dropped, evidence.dropped_otherwise), (19, 0));
    queue.arrive(7);
    queue.idle(TICK).accept(31);
    queue.idle(ms(10_000));
    let Some((_, Change::Cleared { evidence, .. })) = queue.changes.last() else { panic!("{:?}", queue.changes) };
    assert_eq!(evidence.dropped, 26, "all that were dropped while it was raised");
}

#[test]
fn clients_that_left_say_nothing_of_those_that_come_after_them() {
    let mut queue = Simulation::new(128);
    queue.detector = Detector::new(Settings { clear: ms(1000), ..Settings::default() });
    queue.idle(ms(2000)).arrive(12);
    queue.leave(6);
    queue.idle(ms(1500)).accept(12);
    queue.idle(ms(1200));
    assert_eq!(
        (queue.raised(), queue.cleared()),
        (vec![Behind, Abandoned], vec![Behind, Abandoned]),
        "{:#?}",
        queue.changes
    );
    // Of these no census was taken.
    queue.arrive(1);
    queue.idle(TICK).accept(1);
    queue.idle(ms(2000));
    assert_eq!(queue.raised(), [Behind, Abandoned], "{:#?}", queue.changes);
}

#[test]
fn clients_that_come_and_are_taken_do_not_prolong_what_was_abandoned() {
    let mut queue = Simulation::new(128);
    queue.idle(ms(2000)).arrive(12);
    queue.leave(6);
    queue.idle(ms(1500)).accept(12);
    let ended = queue.now;
    let mut ticks = 0;
    queue.run(ms(12_000), |queue| {
        ticks += 1;
        queue.accept(1);
        queue.arrive(u32::from(ticks % 2 == 0));
    });
    let Some((at, Change::Cleared { condition: Abandoned, .. })) = queue.changes.last() else {
        panic!("{:#?}", queue.changes)
    };
    assert!(*at - ended <= ms(5500), "{:?}", *at - ended);
}

#[test]
fn a_leak_that_one_census_misses_is_not_cleared_and_raised_at_once() {
    let mut queue = Simulation::new(128);
    queue.close_wait = 1010;
    queue.idle(ms(12_000));
    assert_eq!(queue.raised(), [Leaking]);
    queue.close_wait = 990;
    queue.idle(ms(5000)).close_wait = 1010;
    queue.idle(ms(20_000));
    assert_eq!((queue.raised(), queue.cleared()), (vec![Leaking], vec![]), "{:#?}", queue.changes);
}

#[test]
fn one_that_comes_before_each_reading_and_is_gone_at_each_census_is_not_stuck() {
    let mut queue = Simulation::new(128);
    for _ in 0..600 {
        queue.arrive(1);
        queue.read_depth();
        queue.accept(1);
        queue.now += ms(20);
        if queue.detector.wants_census(queue.now, None) {
            queue.census();
        }
        queue.now += ms(80);
    }
    assert_eq!(queue.changes, []);
}

/// All are accepted between two readings, and at the second of them another has just come.
fn accepted_between_readings(queue: &mut Simulation) {
    queue.now += ms(50);
    queue.accept(usize::MAX);
    queue.now += ms(50);
    queue.arrive(1);
}

#[test]
fn one_that_has_just_come_does_not_complete_the_wait_of_the_one_before() {
    let mut queue = Simulation::new(128);
    queue.idle(ms(2000)).arrive(1);
    queue.idle(ms(1000));
    accepted_between_readings(&mut queue);
    queue.idle(TICK).accept(1);
    queue.idle(ms(2000));
    assert_eq!(queue.changes, [], "none has waited for longer than 100 ms throughout a second");
    queue.arrive(1);
    queue.idle(ms(4900));
    assert_eq!(queue.raised(), [Behind]);
    accepted_between_readings(&mut queue);
    queue.idle(TICK).accept(1);
    queue.idle(ms(2000));
    assert_eq!(queue.raised(), [Behind], "and one was accepted within five");
}

#[test]
fn one_short_wait_is_not_behind_however_seldom_it_is_read() {
    let mut queue = Simulation::new(128);
    queue.idle(ms(2000)).arrive(1);
    for _ in 0..10 {
        queue.now += ms(150);
        queue.read();
        queue.accept(1);
        // Another, which has just come.
        queue.now += ms(1000);
        queue.arrive(1);
        queue.read();
        queue.accept(1);
        queue.now += ms(850);
        queue.arrive(1);
    }
    assert_eq!(queue.changes, []);
}

#[test]
fn nothing_suspicious_costs_a_census_every_five_seconds() {
    let mut queue = Simulation::new(128);
    queue.idle(ms(60_000));
    assert_eq!(queue.censuses, 12);
}

/// Arrivals and acceptances in steps of a millisecond, by a linear congruential generator: the same trace every time.
fn steady_load(queue: &mut Simulation, arrivals_per_s: f64, accepts_per_s: f64, duration: Duration) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    let mut exponential = move |rate: f64| Duration::from_secs_f64(-uniform().ln() / rate);
    let end = queue.now + duration;
    let mut next_arrival = queue.now + exponential(arrivals_per_s);
    let mut next_accept = None;
    let mut next_tick = queue.now;
    let service = Duration::from_secs_f64(1.0 / accepts_per_s);
    while queue.now < end {
        let next = next_arrival.min(next_tick).min(next_accept.unwrap_or(Time::MAX));
        queue.now = next;
        if next == next_tick {
            queue.read();
            next_tick += TICK;
        } else if next == next_arrival {
            queue.arrive(1);
            next_arrival += exponential(arrivals_per_s);
            next_accept = next_accept.or(Some(queue.now + service));
        } else {
            queue.accept(1);
            next_accept = (!queue.queue.is_empty()).then(|| queue.now + service);
        }
    }
}

#[test]
fn an_hour_at_95_percent_raises_nothing() {
    let mut queue = Simulation::new(1024);
    steady_load(&mut queue, 950.0, 1000.0, Duration::from_secs(3600));
    assert_eq!(queue.changes, []);
}

#[test]
fn the_same_at_105_percent_is_behind() {
    let mut queue = Simulation::new(60_000);
    steady_load(&mut queue, 1050.0, 1000.0, Duration::from_secs(600));
    assert_eq!(queue.raised(), [Behind]);
    assert_eq!(queue.cleared(), []);
}

/// From census to census the head is another, which came but a moment after the one before.
#[test]
fn a_pool_that_takes_one_of_eight_is_behind_but_not_stuck() {
    let mut queue = Simulation::new(60_000);
    steady_load(&mut queue, 40.0, 5.0, Duration::from_secs(60));
    assert_eq!(queue.raised(), [Behind]);
}

/// What may happen between two readings.
#[derive(Debug, Clone)]
enum Step {
    Arrive(u32),
    Accept(usize),
    Leave(usize),
    Reset(usize),
    Hold(u32),
    Sleep(u64),
    Fail,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..60).prop_map(Step::Arrive),
        4 => (0usize..60).prop_map(Step::Accept),
        1 => (0usize..60).prop_map(Step::Leave),
        1 => (0usize..60).prop_map(Step::Reset),
        1 => (0u32..2000).prop_map(Step::Hold),
        1 => (0u64..20_000).prop_map(Step::Sleep),
        1 => Just(Step::Fail),
    ]
}

#[test]
fn a_client_that_came_before_the_caller_s_clock_began_has_waited_all_the_same() {
    let begun = on_clock(Duration::ZERO);
    let mut queue = Simulation::new(50);
    queue.now = begun - ms(5000);
    queue.arrive(1);
    queue.now = begun;
    queue.idle(ms(1100));
    let behind = queue.changes.iter().find_map(|(at, change)| match change {
        Change::Raised { condition: Condition::Behind, .. } => Some(*at - begun),
        _ => None,
    });
    assert!(behind.is_some_and(|after| after <= Settings::default().hold_for + TICK), "{behind:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_raises_and_clears_alternate_and_never_flap(
        steps in prop::collection::vec((step(), 1u64..20), 1..200),
    ) {
        let mut queue = Simulation::new(50);
        for (step, ticks) in steps {
            match step {
                Step::Arrive(count) => queue.arrive(count),
                Step::Accept(count) => queue.accept(count),
                Step::Leave(count) => queue.leave(count),
                Step::Reset(count) => queue.reset(count),
                Step::Hold(count) => queue.close_wait = count,
                Step::Sleep(duration) => queue.now += ms(duration),
                Step::Fail => queue.detector.reading_failed(),
            }
            queue.idle(TICK * ticks as u32);
        }
        queue.queue.clear();
        queue.close_wait = 0;
        queue.idle(ms(20_000));
        for condition in Condition::ALL {
            let of_this: Vec<_> = queue
                .changes
                .iter()
                .filter_map(|(at, change)| match change {
                    Change::Raised { condition: other, .. } if *other == condition => Some((*at, true)),
                    Change::Cleared { condition: other, .. } if *other == condition => Some((*at, false)),
                    _ => None,
                })
                .collect();
            for pair in of_this.chunks(2) {
                let [(raised, true), (cleared, false)] = pair else { panic!("{condition:?}: {of_this:?}") };
                prop_assert!(*cleared - *raised >= Settings::default().clear, "{:?} flaps: {:?}", condition, of_this);
            }
        }
        prop_assert_eq!(queue.detector.conditions().count(), 0, "a clear after every raise");
    }
}

fn any_ms() -> impl Strategy<Value = Duration> {
    prop_oneof![0u64..10_000, any::<u64>(), Just(u64::MAX)].prop_map(Duration::from_millis)
}

prop_compose! {
    fn any_settings()(
        times in prop::array::uniform7(any_ms()), ratio in any::<f64>(), min in any::<u32>(), max in any::<u32>(),
    ) -> Settings {
        let [interval, max_wait, hold_for, stuck, clear, census, sample] = times;
        let (abandoned_ratio, abandoned_min, close_wait_max) = (ratio, min, max);
        Settings {
            interval,
            max_wait,
            hold_for,
            stuck,
            abandoned_ratio,
            abandoned_min,
            close_wait_max,
            clear,
            census,
            sample,
        }
    }
}

proptest! {
    #[test]
    fn any_settings_and_any_times_make_a_history_that_answers(
        settings in any_settings(),
        steps in prop::collection::vec((any_ms(), 0u8..4, any::<u32>(), any::<u32>(), any_ms()), 1..40),
    ) {
        let mut history = History::new(settings, on_clock(Duration::ZERO));
        for (passed, step, queued, limit, waited) in steps {
            let at = on_clock(passed);
            match step {
                0 => {
                    let depth = Depth { queued, limit, drops: Some(limit) };
                    let _ = history.depth_read(at, &Members::one(SOCKET, depth), Overflowed::default());
                }
                1 => {
                    let counts = Counts { queued, limit, queued_alive: Some(0), queued_closed: Some(queued / 2), oldest_wait: Some(waited), ..Counts::default() };
                    let census = Census { counts, waits: Some(vec![waited]), clients: None, took: waited, sockets: vec![(SOCKET, queued)] };
                    let _ = history.census_taken(at, &census);
                }
                2 => history.reading_failed(),
                _ => prop_assert!(history.status(at).conditions.len() <= Condition::ALL.len()),
            }
        }
    }
}

/// What goes wrong for a while, in a queue of 30; between such times all are accepted, and the pool keeps up.
#[derive(Debug, Clone)]
enum Trouble {
    /// So many wait for so long, and none is accepted.
    Blocked {
        clients: u32,
        lasts_ms: u64,
    },
    /// More come than there is room for.
    Overrun {
        dropped: u32,
        lasts_ms: u64,
    },
    /// Each client finds so many before it.
    Behind {
        clients: u32,
        every_ms: u64,
        lasts_ms: u64,
    },
    /// None is accepted, and some do not wait for it.
    Deserted {
        clients: u32,
        closed: usize,
        reset: usize,
        lasts_ms: u64,
    },
    Leak {
        sockets: u32,
        lasts_ms: u64,
    },
}

/// Longer than all that a condition has to hold for, a census and the coarsest gap together.
fn long() -> impl Strategy<Value = u64> {
    7000u64..9000
}

/// Or shorter than any.
fn short_or_long() -> impl Strategy<Value = u64> {
    prop_oneof![50u64..1050, long()]
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        (1u32..=30, short_or_long()).prop_map(|(clients, lasts_ms)| Trouble::Blocked { clients, lasts_ms }),
        (0u32..20, long()).prop_map(|(dropped, lasts_ms)| Trouble::Overrun { dropped, lasts_ms }),
        // Each waits for 200 ms at least.
        (10u32..=20, 20u64..100, long()).prop_map(|(clients, every_ms, lasts_ms)| Trouble::Behind {
            clients,
            every_ms,
            lasts_ms
        }),
        (1u32..=30, 0usize..=30, 0usize..=30, long())
            .prop_map(|(clients, closed, reset, lasts_ms)| Trouble::Deserted { clients, closed, reset, lasts_ms }),
        (1001u32..2000, long()).prop_map(|(sockets, lasts_ms)| Trouble::Leak { sockets, lasts_ms }),
    ]
}

/// Longer than it takes to find that a leak has ended, and to clear it.
fn calm() -> impl Strategy<Value = Calm> {
    let lasts_ms = 18_000u64..20_000;
    (lasts_ms, 5u64..200, 1u64..70).prop_map(|(lasts_ms, every_ms, waits_ms)| Calm { lasts_ms, every_ms, waits_ms })
}

/// Clients come, and none of them waits for long.
#[derive(Debug, Clone)]
struct Calm {
    lasts_ms: u64,
    every_ms: u64,
    waits_ms: u64,
}

/// What happens at which millisecond, whenever it is read.
#[derive(Debug, Clone, Default)]
struct Script {
    now_ms: u64,
    acts: Vec<(u64, Act)>,
    /// Ends of those troubles that last long enough for everything to be raised that is going to.
    steady_ms: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Arrive(u32),
    Accept(usize),
    Leave(usize),
    Reset(usize),
    Hold(u32),
}

impl Script {
    fn of(story: &[(Trouble, Calm)]) -> Script {
        let mut script = Script { now_ms: 1000, ..Script::default() };
        for (trouble, calm) in story {
            script.trouble(trouble);
            script.calm(calm);
        }
        script.acts.sort_by_key(|(at, _)| *at);
        script
    }

    fn act(&mut self, at: u64, act: Act) {
        self.acts.push((at, act));
    }

    fn trouble(&mut self, trouble: &Trouble) {
        let begins = self.now_ms;
        let lasts_ms = match *trouble {
            Trouble::Blocked { clients, lasts_ms } => {
                self.act(begins, Act::Arrive(clients));
                lasts_ms
            }
            Trouble::Overrun { dropped, lasts_ms } => {
                self.act(begins, Act::Arrive(31 + dropped));
                lasts_ms
            }
            Trouble::Behind { clients, every_ms, lasts_ms } => {
                self.act(begins, Act::Arrive(clients));
                for at in (begins + every_ms..begins + lasts_ms).step_by(every_ms as usize) {
                    self.act(at, Act::Accept(1));
                    self.act(at, Act::Arrive(1));
                }
                lasts_ms
            }
            Trouble::Deserted { clients, closed, reset, lasts_ms } => {
                self.act(begins, Act::Arrive(clients));
                self.act(begins + 1, Act::Reset(reset));
                self.act(begins + 2, Act::Leave(closed));
                lasts_ms
            }
            Trouble::Leak { sockets, lasts_ms } => {
                self.act(begins, Act::Hold(sockets));
                lasts_ms
            }
        };
        self.now_ms += lasts_ms;
        if lasts_ms > 2000 {
            self.steady_ms.push(self.now_ms);
        }
        self.act(self.now_ms, Act::Accept(usize::MAX));
        self.act(self.now_ms, Act::Hold(0));
    }

    fn calm(&mut self, calm: &Calm) {
        let ends = self.now_ms + calm.lasts_ms;
        for at in (self.now_ms + 1..ends - calm.waits_ms).step_by(calm.every_ms as usize) {
            self.act(at, Act::Arrive(1));
            self.act(at + calm.waits_ms, Act::Accept(1));
        }
        self.now_ms = ends;
    }
}

/// When the queue is read: these gaps, over and over; and a census is taken so long after the reading that asks for it.
#[derive(Debug, Clone)]
struct Cadence {
    gaps_ms: Vec<u64>,
    lag_ms: u64,
}

fn irregular() -> impl Strategy<Value = Cadence> {
    let gaps = prop::collection::vec(20u64..500, 1..30);
    (gaps, 0u64..20).prop_map(|(gaps_ms, lag_ms)| Cadence { gaps_ms, lag_ms })
}

/// What was reported, as milliseconds of the script, and what was raised when things were steady.
#[derive(Debug)]
struct Reported {
    raised: Vec<(Condition, u64)>,
    cleared: Vec<(Condition, u64)>,
    steady: Vec<Vec<Condition>>,
}

fn read_by(script: &Script, cadence: &Cadence) -> Reported {
    let mut queue = Simulation::new(30);
    let begins = queue.now;
    let mut gaps = cadence.gaps_ms.iter().cycle();
    let mut acts = script.acts.iter().peekable();
    let mut steady_ms = script.steady_ms.iter().peekable();
    let (mut next_reading, mut next_census) = (0, None);
    let mut steady = Vec::new();
    for now in 0..script.now_ms {
        queue.now = begins + ms(now);
        if steady_ms.next_if_eq(&&now).is_some() {
            steady.push(queue.detector.conditions().map(|(condition, _)| condition).collect());
        }
        while let Some((_, act)) = acts.next_if(|(at, _)| *at == now) {
            match *act {
                Act::Arrive(count) => queue.arrive(count),
                Act::Accept(count) => queue.accept(count),
                Act::Leave(count) => queue.leave(count),
                Act::Reset(count) => queue.reset(count),
                Act::Hold(count) => queue.close_wait = count,
            }
        }
        if now == next_reading {
            queue.read_depth();
            if queue.detector.wants_census(queue.now, None) {
                next_census = Some(now + cadence.lag_ms);
            }
            next_reading += gaps.next().expect("a cadence has a gap");
        }
        if next_census == Some(now) {
            queue.census();
            next_census = None;
        }
    }
    let at = |time: &Time| (*time - begins).as_millis() as u64;
    let (mut raised, mut cleared) = (Vec::new(), Vec::new());
    for (time, change) in &queue.changes {
        match change {
            Change::Raised { condition, .. } => raised.push((*condition, at(time))),
            Change::Cleared { condition, .. } => cleared.push((*condition, at(time))),
        }
    }
    raised.sort();
    cleared.sort();
    Reported { raised, cleared, steady }
}

/// By how much two cadences may differ. What begins or ends is read at the next reading, and judged at the one after the
/// time that it has to hold for; a census comes a little later than it is wanted; and a leak is found by a
/// census alone.
fn apart_ms(condition: Condition, gap_ms: u64, lag_ms: u64) -> u64 {
    const CLOSE_CENSUS_MS: u64 = 200;
    let censuses_ms = if condition == Leaking { 2 * Settings::default().census.as_millis() as u64 } else { 0 };
    // And its second census is one reading more.
    let readings = if condition == Abandoned { 3 } else { 2 };
    readings * gap_ms + lag_ms + CLOSE_CENSUS_MS + censuses_ms
}

fn same(one: &[(Condition, u64)], other: &[(Condition, u64)], gap_ms: u64, lag_ms: u64) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|((condition, at), (same, then))| {
            condition == same && at.abs_diff(*then) <= apart_ms(*condition, gap_ms, lag_ms)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_same_is_reported_however_the_readings_are_split(
        story in prop::collection::vec((trouble(), calm()), 1..5),
        irregular in irregular(),
    ) {
        let script = Script::of(&story);
        let usual = read_by(&script, &Cadence { gaps_ms: vec![100], lag_ms: 0 });
        prop_assert!(usual.steady.iter().all(|conditions| !conditions.is_empty()), "{:?}", usual);
        let often = Cadence { gaps_ms: vec![50], lag_ms: 0 };
        let in_steps = Cadence { gaps_ms: vec![100], lag_ms: 19 };
        for cadence in [often, in_steps, irregular] {
            let reported = read_by(&script, &cadence);
            let gap = cadence.gaps_ms.iter().copied().max().unwrap_or(0).max(100);
            prop_assert_eq!(&reported.steady, &usual.steady, "{:?}", cadence);
            prop_assert!(same(&reported.raised, &usual.raised, gap, cadence.lag_ms), "{:?}: {:#?} {:#?}", cadence, reported, usual);
            prop_assert!(same(&reported.cleared, &usual.cleared, gap, cadence.lag_ms), "{:?}: {:#?} {:#?}", cadence, reported, usual);
        }
    }
}
