use accept_queue_core::rules::detector::Condition;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::bounded::MOST_ENTRIES;
use super::super::clock::LATEST_MS;
use super::*;
use crate::recording::tests::entries;
use crate::recording::{CLOSE_WAIT, DROPS, LIMIT, OLDEST_WAIT_MS, QUEUED, QUEUED_CLOSED, QUEUED_RESET};
use crate::report::ranking::Ranking;

proptest! {
    #[test]
    fn whatever_is_recorded_can_be_drawn(entries in vec(entries(), 0..30)) {
        let timeline = drawn(entries);
        let (from, to, step) = (&timeline["from"], &timeline["to"], &timeline["step_ms"]);
        let steps = (to.as_u64().expect("a time") - from.as_u64().expect("a time")) / step.as_u64().expect("a time");
        prop_assert!(steps < MOST_BINS && to.as_u64() <= Some(LATEST_MS));
    }
}

const EPOCH: u64 = 1_764_000_000_000;

fn begun(epoch_ms: u64) -> Entry {
    let [version, host, scope] = ["0.1.0", "vm", "every BEAM"].map(str::to_owned);
    Entry::Begun { epoch_ms, interval_ms: 100, version, host, scope }
}

fn sample(at_ms: u64, quiet: u64, items: Vec<Item>) -> Entry {
    Entry::Sample(SampleEntry { at_ms, quiet, items })
}

fn listener(number: u64, address: &str) -> Item {
    let owners = vec![RecordedOwner { pid: 4711, name: "shop@vm".to_owned() }];
    Item::Listener { number, namespace: 1, address: address.to_owned(), owners }
}

fn depth(number: u64, queued: u64, limit: u64, drops: u64) -> Item {
    let changed = vec![(QUEUED, Some(queued)), (LIMIT, Some(limit)), (DROPS, Some(drops))];
    Item::Figures { number, changed }
}

fn census(closed: u64, oldest: u64, close_wait: u64) -> Item {
    let changed = vec![
        (QUEUED_CLOSED, Some(closed)),
        (QUEUED_RESET, Some(0)),
        (OLDEST_WAIT_MS, Some(oldest)),
        (CLOSE_WAIT, Some(close_wait)),
    ];
    Item::Figures { number: 0, changed }
}

fn drawn(entries: Vec<Entry>) -> Value {
    chosen(Choice::default(), entries)
}

fn chosen(choice: Choice, entries: Vec<Entry>) -> Value {
    let mut ranking = Ranking::new(choice.clone());
    entries.iter().for_each(|entry| ranking.add(entry.clone()));
    let span = ranking.span();
    let mut timeline = Timeline::new("a.aq".to_owned(), choice, ranking.choose());
    entries.into_iter().for_each(|entry| timeline.add(entry));
    serde_json::to_value(timeline.finish(0, span)).expect("JSON")
}

fn between(from: u64, to: u64) -> Choice {
    Choice::between(EPOCH + from, EPOCH + to)
}

#[test]
fn four_minutes_of_a_week_are_drawn_finely_and_begin_with_what_was_there() {
    const BEGIN: u64 = 400_000_000;
    let mut entries =
        vec![begun(EPOCH), sample(0, 0, vec![listener(0, "a:1"), listener(1, "b:2"), depth(0, 0, 900, 0)])];
    let raised = |condition| Item::Raised { number: 0, condition, held_ms: 0 };
    let cleared = |condition| Item::Cleared { number: 0, condition, lasted_ms: 0 };
    let (stuck, behind) = (Condition::Stuck, Condition::Behind);
    entries.push(sample(1000, 0, vec![depth(0, 800, 900, 70), depth(1, 500, 900, 0), raised(stuck), raised(behind)]));
    entries.push(sample(2000, 0, vec![depth(0, 3, 900, 70), Item::Gone { number: 1 }, cleared(behind)]));
    entries.extend((1..=60_480).map(|tens| {
        let at = tens * 10_000;
        let items = if at == BEGIN + 100_000 { vec![depth(0, 7, 900, 75)] } else { vec![] };
        sample(at, 99, items)
    }));
    let timeline = chosen(between(BEGIN + 5, BEGIN + 240_005), entries.clone());
    assert_eq!(
        (&timeline["from"], &timeline["to"], &timeline["step_ms"]),
        (&json!(EPOCH + BEGIN + 5), &json!(EPOCH + BEGIN + 240_005), &json!(256))
    );
    let track = &timeline["listeners"][0];
    assert_eq!(timeline["listeners"].as_array().map(Vec::len), Some(1), "what was closed before is not drawn");
    assert_eq!(track["queued"], json!([[0, 3], [390, 3, 7, 7]]));
    assert_eq!((&track["dropped"], &track["dropped_in_all"]), (&json!([[390, 5]]), &json!(5)));
    assert_eq!(track["worst"], json!({"at": EPOCH + BEGIN + 100_000, "queued": 7, "limit": 900}));
    assert_eq!(track["conditions"]["first"], json!([{"condition": "stuck", "from": EPOCH + 1000, "to": null}]));
    assert!(
        timeline["chosen"].as_str().is_some_and(|text| text.contains("from 2025-11-29T")),
        "{}",
        timeline["chosen"]
    );
    assert_eq!(timeline["runs"]["first"][0]["ended"], "drawn no further");

    // Between two entries in which nothing changed.
    let timeline = chosen(between(BEGIN + 1000, BEGIN + 2000), entries);
    assert_eq!(timeline["listeners"][0]["queued"], json!([[0, 3]]));
    assert_eq!((&timeline["holes"]["first"], &timeline["step_ms"]), (&json!([]), &json!(1)));
}

#[test]
fn a_choice_in_a_time_that_was_not_recorded_shows_that_nothing_is_known() {
    let entries = vec![
        begun(EPOCH),
        sample(0, 0, vec![listener(0, "a:1"), depth(0, 3, 5, 0)]),
        sample(60_000, 0, vec![depth(0, 4, 5, 0)]),
        Entry::Ended { at_ms: 61_000, why: "ended as asked".to_owned() },
        begun(EPOCH + 90_000),
        sample(0, 0, vec![listener(0, "a:1"), depth(0, 5, 5, 0)]),
    ];
    let timeline = chosen(between(50_000, 60_500), entries.clone());
    assert_eq!(timeline["holes"]["first"], json!([{"from": EPOCH + 50_000, "to": EPOCH + 60_000}]));
    assert_eq!(timeline["listeners"][0]["queued"].as_array().map(Vec::len), Some(1));
    assert_eq!(timeline["listeners"][0]["queued"][0][3], 4);
    for (from, to) in [(10_000, 20_000), (70_000, 80_000)] {
        let mut ranking = Ranking::new(between(from, to));
        entries.iter().for_each(|entry| ranking.add(entry.clone()));
        assert!(ranking.is_empty(), "{from}");
    }
}

proptest! {
    #[test]
    fn whatever_is_recorded_can_be_drawn_from_and_to_any_time(
        entries in vec(entries(), 0..30), from in 0..LATEST_MS, lasting in 1..LATEST_MS,
    ) {
        let to = from.saturating_add(lasting).min(LATEST_MS);
        let timeline = chosen(Choice::between(from, to), entries);
        let [begin, end, step] = ["from", "to", "step_ms"].map(|name| timeline[name].as_u64().expect("a time"));
        prop_assert!(begin <= end && end <= to && (end - begin) / step < MOST_BINS);
    }
}

#[test]
fn a_queue_that_fills_is_drawn_with_its_limit_its_wait_its_drops_and_what_held() {
    let condition = Condition::Overflowing;
    let timeline = drawn(vec![
        begun(EPOCH),
        sample(0, 0, vec![listener(0, "0.0.0.0:8080"), depth(0, 0, 30, 500)]),
        sample(
            200,
            1,
            vec![depth(0, 31, 30, 507), census(3, 250, 2), Item::Raised { number: 0, condition, held_ms: 0 }],
        ),
        sample(600, 3, vec![depth(0, 0, 30, 507), Item::Cleared { number: 0, condition, lasted_ms: 400 }]),
        Entry::Ended { at_ms: 700, why: "ended as asked".to_owned() },
    ]);
    assert_eq!(
        (&timeline["from"], &timeline["to"], &timeline["step_ms"]),
        (&json!(EPOCH), &json!(EPOCH + 700), &json!(1))
    );
    let track = &timeline["listeners"][0];
    assert_eq!(track["queued"], json!([[0, 0], [200, 0, 31, 31], [600, 0, 31, 0], [700, 0, 0, null]]));
    assert_eq!(track["left"], json!([[200, 3], [700, 3, 3, null]]));
    assert_eq!(track["oldest_wait_ms"], json!([[200, 250], [700, 250, 250, null]]));
    assert_eq!(track["dropped"], json!([[200, 7]]), "not what was dropped before the recording");
    assert_eq!((&track["dropped_in_all"], &track["most_close_wait"]), (&json!(7), &json!(2)));
    assert_eq!(track["worst"], json!({"at": EPOCH + 200, "queued": 31, "limit": 30}));
    let held = json!([{"condition": "overflowing", "from": EPOCH + 200, "to": EPOCH + 600}]);
    assert_eq!(track["conditions"]["first"], held);
    assert_eq!(timeline["runs"]["first"][0]["ended"], "ended as asked");
}

#[test]
fn what_was_not_read_is_not_drawn() {
    let at = |at_ms, quiet| sample(at_ms, quiet, vec![]);
    let begin = || vec![begun(EPOCH), sample(0, 0, vec![listener(0, "a:1"), depth(0, 3, 5, 0)])];
    for (sentence, rest, queued) in [
        ("nothing changes", vec![at(10_000, 99), at(20_000, 99)], json!([[0, 3]])),
        ("the recorder was stopped", vec![at(9000, 0)], json!([[0, 3, 3, null], [1125, 3]])),
        (
            "it could not be read",
            vec![sample(1, 0, vec![Item::Unread { number: 0 }])],
            json!([[0, 3], [1, 3, 3, null]]),
        ),
        (
            "the machine slept, and the clock shows it",
            vec![sample(100, 0, vec![Item::Clock { epoch_ms: EPOCH + 9000 }])],
            json!([[0, 3, 3, null], [1137, 3]]),
        ),
        (
            "the clock was set back: time does not move until it is later",
            vec![sample(100, 0, vec![Item::Clock { epoch_ms: EPOCH - 9000 }]), sample(200, 0, vec![depth(0, 4, 5, 0)])],
            json!([[0, 3, 4, 4]]),
        ),
        (
            "closed, and opened again",
            vec![
                sample(1, 0, vec![Item::Gone { number: 0 }]),
                sample(2, 0, vec![listener(1, "a:1"), depth(1, 1, 5, 0)]),
            ],
            json!([[0, 3], [1, 3, 3, null], [2, 1]]),
        ),
        (
            "another run",
            vec![begun(EPOCH + 10), sample(1, 0, vec![listener(7, "a:1"), depth(7, 1, 5, 0)])],
            json!([[0, 3, 3, null], [11, 1]]),
        ),
    ] {
        let timeline = drawn([begin(), rest].concat());
        assert_eq!(timeline["listeners"].as_array().map(Vec::len), Some(1), "{sentence}");
        assert_eq!(timeline["listeners"][0]["queued"], queued, "{sentence}");
    }
}

#[test]
fn a_week_is_no_larger_than_an_hour_and_keeps_its_peaks() {
    let mut entries = vec![begun(EPOCH), sample(0, 0, vec![listener(0, "a:1"), depth(0, 0, 900, 0)])];
    let second = |second: u64| {
        sample(second * 1000, 9, vec![depth(0, if second == 400_000 { 777 } else { second % 3 }, 900, second)])
    };
    entries.extend((1..=604_800).map(second));
    let timeline = drawn(entries);
    let track = &timeline["listeners"][0];
    let [queued, dropped] = ["queued", "dropped"].map(|name| track[name].as_array().expect("a series"));
    assert!((600..=1200).contains(&queued.len()) && (600..=1200).contains(&dropped.len()), "{}", queued.len());
    assert!(queued.iter().any(|step| step[2] == 777), "the peak");
    assert_eq!(dropped.iter().filter_map(|step| step[1].as_u64()).sum::<u64>(), 604_800);
}

#[test]
fn a_recording_that_lies_costs_nothing() {
    let many = (0..10_000).map(|number| listener(number, &format!("a:{number}"))).collect();
    let held = (0..10_000).map(|_| Item::Raised { number: 0, condition: Condition::Stuck, held_ms: 0 }).collect();
    let timeline = drawn(vec![
        sample(5, 5, vec![depth(9, 1, 1, 1)]),
        begun(EPOCH),
        sample(u64::MAX, u64::MAX, many),
        sample(0, 0, held),
        begun(0),
        Entry::Ended { at_ms: u64::MAX, why: String::new() },
    ]);
    assert_eq!(timeline["listeners"].as_array().map(Vec::len), Some(MOST_LISTENERS));
    assert_eq!(timeline["left_out"], 9500);
    let conditions = &timeline["listeners"][0]["conditions"];
    assert_eq!((conditions["first"].as_array().map(Vec::len), &conditions["more"]), (Some(MOST_ENTRIES), &json!(9500)));
}

#[test]
fn a_thousand_listeners_of_any_user_hide_no_trouble() {
    let all = (0..1500).map(|number| listener(number, &format!("127.0.0.1:{}", 10_000 + number)));
    let idle = (0..1500).map(|number| depth(number, u64::from(number == 1498), 5, 0));
    let timeline = drawn(vec![
        begun(EPOCH),
        sample(0, 0, all.chain(idle).collect()),
        sample(100, 0, vec![Item::Raised { number: 1499, condition: Condition::Stuck, held_ms: 5000 }]),
    ]);
    let shown: Vec<_> = (0..4).map(|rank| &timeline["listeners"][rank]["address"]).collect();
    assert_eq!(shown, ["127.0.0.1:11499", "127.0.0.1:11498", "127.0.0.1:10000", "127.0.0.1:10001"]);
    assert_eq!(timeline["listeners"][0]["conditions"]["first"][0]["condition"], "stuck");
    assert_eq!((timeline["listeners"].as_array().map(Vec::len), &timeline["left_out"]), (Some(500), &json!(1000)));
}

#[test]
fn however_many_listeners_are_busy_the_page_has_so_many_points_and_no_more() {
    const LISTENERS: u64 = 500;
    let mut entries = vec![begun(EPOCH)];
    entries.push(sample(0, 0, (0..LISTENERS).map(|number| listener(number, &format!("a:{number}"))).collect()));
    let busy = |at: u64| {
        let of = |number: u64| {
            let changed = [QUEUED, LIMIT, DROPS, QUEUED_CLOSED, QUEUED_RESET, OLDEST_WAIT_MS, CLOSE_WAIT]
                .map(|figure| (figure, Some(if number == 7 && at == 200_000 { 77_777 } else { at + figure as u64 })));
            Item::Figures { number, changed: changed.to_vec() }
        };
        sample(at, 0, (0..LISTENERS).map(of).collect())
    };
    entries.extend((1..=400).map(|tick| busy(tick * 1000)));
    let timeline = drawn(entries);
    let listeners = timeline["listeners"].as_array().expect("listeners");
    let names = ["queued", "limit", "left", "oldest_wait_ms", "close_wait", "dropped"];
    let count = |track: &Value, name: &str| track[name].as_array().expect("a series").len();
    let points: usize = listeners.iter().map(|track| names.iter().map(|name| count(track, name)).sum::<usize>()).sum();
    assert!((MOST_POINTS / 3..MOST_POINTS + 6 * 500).contains(&points), "{points}");
    let of_seven = listeners.iter().find(|track| track["address"] == "a:7").expect("it");
    let queued = of_seven["queued"].as_array().expect("a series");
    assert!(queued.iter().any(|step| step.as_array().expect("a step").contains(&json!(77_777))), "its peak");
}

#[test]
fn a_listener_cannot_take_the_room_of_another() {
    let mut entries = vec![begun(EPOCH)];
    let owners = |number: u64| {
        let owners = (0..300).map(|pid| RecordedOwner { pid, name: "x".repeat(40_000) }).collect();
        Item::Listener { number, namespace: 1, address: format!("a:{number:03}"), owners }
    };
    entries.push(sample(0, 0, (0..100).map(owners).collect()));
    let held = |number: u64| Item::Raised { number, condition: Condition::Behind, held_ms: 0 };
    entries.push(sample(1, 0, (0..100).flat_map(|number| (0..300).map(move |_| held(number))).collect()));
    let timeline = drawn(entries);
    let (first, last) = (&timeline["listeners"][0], &timeline["listeners"][99]);
    for (track, name, kept, more) in [
        (first, "owners", 200, 100),
        (first, "conditions", 300, 0),
        (last, "owners", 10, 290),
        (last, "conditions", 10, 290),
    ] {
        let list = &track[name];
        assert_eq!((list["first"].as_array().map(Vec::len), &list["more"]), (Some(kept), &json!(more)), "{name}");
    }
    let name = first["owners"]["first"][0]["name"].as_str().expect("a name");
    assert!(name.ends_with("x…") && name.chars().count() == 301, "{name}");
}
