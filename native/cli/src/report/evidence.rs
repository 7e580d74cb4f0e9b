//! An evidence file of the watchdog -> the entries that `record` would have written, and the findings. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use accept_queue_core::rules::check::Severity;
use accept_queue_core::rules::detector::Condition;
use serde::{Deserialize, Serialize};

use super::bounded::{Bounded, LONGEST_NAME, LONGEST_SENTENCE, Ranked, Worst, cut};
use super::choice;
use super::clock::LATEST_MS;
use crate::condition::{self, seconds};
use crate::figures::SCHEMA;
use crate::port::watchdog::MOST_BYTES;
use crate::recording::{CLOSE_WAIT, DROPS, Entry, Item, LIMIT, OLDEST_WAIT_MS, QUEUED, RecordedOwner, SampleEntry};

/// The watchdog writes no larger file.
pub(super) const LARGEST: u64 = MOST_BYTES as u64;
/// It writes those of a minute, two a second.
const MOST_SAMPLES: usize = 1000;
/// Threads that are drawn: those that do something first, then schedulers and pollers. A screen or two, as of `diagnose`.
const MOST_THREADS: usize = 64;

/// What the watchdog found, as the page shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    silence: Option<Silence>,
    findings: Bounded<Finding>,
    threads: Vec<Thread>,
    /// Threads that are not drawn.
    more_threads: u64,
}

/// The time without a heartbeat.
#[derive(Debug, Serialize)]
struct Silence {
    from: u64,
    to: u64,
    text: String,
}

#[derive(Debug, Serialize)]
struct Finding {
    gravity: String,
    confidence: String,
    text: String,
    advice: String,
}

#[derive(Debug, Serialize)]
struct Thread {
    tid: u64,
    name: String,
    does: String,
    /// A system call, and a library with its function, where they are known.
    place: String,
    held_ms: Option<u64>,
    cpu_ms: Option<u64>,
}

/// The keys that are read. One that another version leaves out is unknown; one that it adds is ignored.
#[derive(Deserialize)]
struct Document {
    schema: u32,
    pid: Option<u64>,
    name: Option<String>,
    hang: Option<HangTimes>,
    #[serde(default)]
    findings: Bounded<FoundText>,
    #[serde(default)]
    threads: Worst<ThreadFigures, MOST_THREADS>,
    sample_interval_ms: Option<u64>,
    samples: Bounded<Sampled, MOST_SAMPLES>,
}

#[derive(Deserialize)]
struct HangTimes {
    last_heartbeat_at: Option<u64>,
    silent_ms: Option<u64>,
}

#[derive(Deserialize)]
struct FoundText {
    text: String,
    #[serde(default)]
    advice: String,
    #[serde(default)]
    gravity: String,
    #[serde(default)]
    confidence: String,
}

#[derive(Deserialize)]
struct ThreadFigures {
    tid: u64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    doing: String,
    cpu_ms: Option<u64>,
    system_call: Option<String>,
    wait_channel: Option<String>,
    held_ms: Option<u64>,
    library: Option<String>,
    symbol: Option<String>,
}

impl Ranked for ThreadFigures {
    fn rank(&self) -> impl Ord {
        let is_idle = self.doing == "waits for work";
        let accepts = ["scheduler", "poller"].iter().any(|role| self.role.starts_with(role));
        (is_idle, !accepts, self.tid)
    }
}

impl From<ThreadFigures> for Thread {
    fn from(figures: ThreadFigures) -> Thread {
        let ThreadFigures { tid, name, doing, cpu_ms, system_call, wait_channel, held_ms, library, symbol, .. } =
            figures;
        let places = [system_call.or(wait_channel), library, symbol].into_iter().flatten();
        Thread {
            tid,
            name: cut(&name, LONGEST_NAME),
            does: cut(&doing, LONGEST_NAME),
            place: places.map(|place| cut(&place, LONGEST_NAME)).collect::<Vec<_>>().join(", "),
            held_ms,
            cpu_ms,
        }
    }
}

impl From<FoundText> for Finding {
    fn from(FoundText { text, advice, gravity, confidence }: FoundText) -> Finding {
        let [text, advice] = [text, advice].map(|sentence| cut(&sentence, LONGEST_SENTENCE));
        let [gravity, confidence] = [gravity, confidence].map(|name| cut(&name, LONGEST_NAME));
        Finding { gravity, confidence, text, advice }
    }
}

#[derive(Deserialize)]
struct Sampled {
    at: u64,
    #[serde(default)]
    listeners: Worst<ListenerSample>,
    /// Listeners that are left out.
    #[serde(default)]
    omitted: u64,
    #[serde(default)]
    unreadable: Bounded<String>,
}

#[derive(Deserialize)]
struct ListenerSample {
    address: String,
    queued: Option<u64>,
    limit: Option<u64>,
    drops: Option<u64>,
    oldest_wait_ms: Option<u64>,
    close_wait: Option<u64>,
    #[serde(default)]
    conditions: Bounded<String>,
}

impl ListenerSample {
    fn conditions(&self) -> impl Iterator<Item = Condition> {
        let is_named = |known: &Condition| self.conditions.first.iter().any(|name| name == condition::name(*known));
        Condition::ALL.into_iter().filter(is_named)
    }
}

impl Ranked for ListenerSample {
    fn rank(&self) -> impl Ord {
        (Reverse(Severity::of(self.conditions())), Reverse(self.queued), &self.address)
    }
}

/// Hands the entries to `add`, and returns what was found.
pub(super) fn read(text: &[u8], mut add: impl FnMut(Entry)) -> Result<Found, String> {
    if text.len() as u64 > LARGEST {
        return Err(format!("has more than {LARGEST} bytes, and is no evidence file of the watchdog"));
    }
    let document: Document =
        serde_json::from_slice(text).map_err(|error| format!("is no evidence file of the watchdog: {error}"))?;
    if document.schema != SCHEMA {
        return Err(format!("has the schema {}, and this program knows {SCHEMA}", document.schema));
    }
    if document.samples.more > 0 {
        return Err(format!("has more than {MOST_SAMPLES} samples, and is no evidence file of the watchdog"));
    }
    let Some(first) = document.samples.first.first() else { return Err("has no samples".to_owned()) };
    let epoch_ms = first.at;
    let owners: Vec<_> = (document.pid)
        .map(|pid| RecordedOwner { pid, name: document.name.clone().unwrap_or_default() })
        .into_iter()
        .collect();
    let scope =
        owners.first().map_or("a VM".to_owned(), |RecordedOwner { pid, name }| format!("the VM {name} ({pid})"));
    add(Entry::Begun {
        epoch_ms,
        interval_ms: document.sample_interval_ms.unwrap_or(500),
        version: String::new(),
        host: String::new(),
        scope,
    });
    let mut end_ms = 0;
    let mut follower =
        Follower { owners, numbers: BTreeMap::new(), held: BTreeMap::new(), unreadable: BTreeSet::new() };
    for sampled in document.samples.first {
        end_ms = sampled.at.saturating_sub(epoch_ms);
        add(Entry::Sample(SampleEntry { at_ms: end_ms, quiet: 0, items: follower.items(sampled) }));
    }
    add(Entry::Ended { at_ms: end_ms, why: "the watchdog has written the evidence".to_owned() });
    let silence = document.hang.and_then(|HangTimes { last_heartbeat_at, silent_ms }| {
        let (from, silent_ms) = (last_heartbeat_at.filter(|at| *at <= LATEST_MS)?, silent_ms?);
        let silent = seconds(Duration::from_millis(silent_ms));
        let text = format!("No heartbeat for {silent}: the last came at {}.", choice::time(from / 1000 * 1000));
        Some(Silence { from, to: from.saturating_add(silent_ms).min(LATEST_MS), text })
    });
    let Bounded { first, more } = document.findings;
    let threads = document.threads.ranked();
    Ok(Found {
        silence,
        findings: Bounded { first: first.into_iter().map(Finding::from).collect(), more },
        more_threads: threads.more,
        threads: threads.kept.into_iter().map(Thread::from).collect(),
    })
}

/// State of the samples so far.
struct Follower {
    owners: Vec<RecordedOwner>,
    numbers: BTreeMap<String, u64>,
    held: BTreeMap<u64, BTreeSet<Condition>>,
    unreadable: BTreeSet<String>,
}

impl Follower {
    fn items(&mut self, sampled: Sampled) -> Vec<Item> {
        let Sampled { listeners, omitted, unreadable, .. } = sampled;
        let mut items = Vec::new();
        let is_partial = omitted > 0 || listeners.more > 0 || !unreadable.first.is_empty();
        let listeners = listeners.kept;
        let now: BTreeSet<_> = listeners.iter().map(|listener| listener.address.clone()).collect();
        let missing: Vec<_> = self.numbers.iter().filter(|(address, _)| !now.contains(*address)).collect();
        // Where something is left out, a listener that is not there need not be gone.
        items.extend(
            missing
                .iter()
                .map(|&(_, &number)| if is_partial { Item::Unread { number } } else { Item::Gone { number } }),
        );
        if !is_partial {
            self.numbers.retain(|address, _| now.contains(address));
        }
        for listener in listeners {
            self.listener(listener, &mut items);
        }
        // Each is an entry when it begins.
        let now: BTreeSet<_> = unreadable.first.into_iter().collect();
        items.extend(now.difference(&self.unreadable).cloned().map(Item::Unreadable));
        self.unreadable = now;
        items
    }

    fn listener(&mut self, listener: ListenerSample, items: &mut Vec<Item>) {
        let now: BTreeSet<_> = listener.conditions().collect();
        let ListenerSample { address, queued, limit, drops, oldest_wait_ms, close_wait, .. } = listener;
        let number = match self.numbers.get(&address) {
            Some(number) => *number,
            None => {
                // A number is not used again.
                let number = self.held.len() as u64;
                self.numbers.insert(address.clone(), number);
                self.held.insert(number, BTreeSet::new());
                items.push(Item::Listener { number, namespace: 0, address, owners: self.owners.clone() });
                number
            }
        };
        let changed = vec![
            (QUEUED, queued),
            (LIMIT, limit),
            (DROPS, drops),
            (OLDEST_WAIT_MS, oldest_wait_ms),
            (CLOSE_WAIT, close_wait),
        ];
        items.push(Item::Figures { number, changed });
        let before = self.held.insert(number, now.clone()).unwrap_or_default();
        items.extend(now.difference(&before).map(|&condition| Item::Raised { number, condition, held_ms: 0 }));
        items.extend(before.difference(&now).map(|&condition| Item::Cleared { number, condition, lasted_ms: 0 }));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::bounded::MOST_ENTRIES;
    use super::*;

    fn items(document: serde_json::Value) -> Vec<Vec<Item>> {
        let mut items = Vec::new();
        let sample = |entry| {
            if let Entry::Sample(sample) = entry {
                items.push(sample.items);
            }
        };
        read(document.to_string().as_bytes(), sample).expect("evidence");
        items
    }

    fn depth(number: u64, queued: u64) -> Item {
        Item::Figures { number, changed: vec![(0, Some(queued)), (1, Some(5)), (2, None), (8, None), (10, None)] }
    }

    #[test]
    fn the_samples_of_the_watchdog_are_those_of_a_recording() {
        let listener = |queued, conditions| json!({"address": "a:1", "queued": queued, "limit": 5, "drops": null, "conditions": conditions});
        let samples = items(json!({
            "schema": 1, "pid": 7, "name": "shop", "sample_interval_ms": 500, "new": "key",
            "samples": [
                {"at": 1000, "listeners": [listener(0, json!([]))], "omitted": 0, "unreadable": []},
                {"at": 1500, "listeners": [listener(3, json!(["stuck", "to come"]))]},
                {"at": 2000, "listeners": [], "omitted": 3},
                {"at": 2500, "listeners": [listener(4, json!([]))], "unreadable": ["no right"]},
                {"at": 3000, "listeners": []},
                {"at": 3500, "listeners": [listener(0, json!([]))]},
            ],
        }));
        let declared = |number| Item::Listener {
            number,
            namespace: 0,
            address: "a:1".to_owned(),
            owners: vec![RecordedOwner { pid: 7, name: "shop".to_owned() }],
        };
        let condition = Condition::Stuck;
        let expected = [
            vec![declared(0), depth(0, 0)],
            vec![depth(0, 3), Item::Raised { number: 0, condition, held_ms: 0 }],
            vec![Item::Unread { number: 0 }],
            vec![
                depth(0, 4),
                Item::Cleared { number: 0, condition, lasted_ms: 0 },
                Item::Unreadable("no right".to_owned()),
            ],
            vec![Item::Gone { number: 0 }],
            vec![declared(1), depth(1, 0)],
        ];
        assert_eq!(samples, expected);
    }

    #[test]
    fn the_findings_are_shown_in_their_own_words_with_the_threads_that_do_something_first() {
        let thread = |tid: usize, role: &str, doing: &str| json!({"tid": tid, "name": format!("erts_{tid}"), "role": role, "doing": doing});
        let mut threads: Vec<_> = (100..180).map(|tid| thread(tid, "aux 1", "waits for work")).collect();
        threads.push(thread(200, "scheduler 1", "waits for work"));
        threads.push(json!({
            "tid": 300, "name": "erts_sched_2\u{202e}", "role": "scheduler 2", "doing": "is held up", "cpu_ms": 3, "held_ms": 5000,
            "system_call": "futex", "wait_channel": "futex_wait", "library": "libnif.so", "symbol": "sleeps",
        }));
        let document = json!({
            "schema": 1, "pid": 7,
            "hang": {"last_heartbeat_at": 5300, "silent_ms": 5100},
            "findings": [
                {"id": "x", "gravity": "hang", "confidence": "certain", "text": "A scheduler is blocked.", "advice": "Try: +sfwi 500."},
                {"text": "x".repeat(LONGEST_SENTENCE + 1)},
            ],
            "threads": threads,
            "samples": [{"at": 1}],
        });
        let found = read(document.to_string().as_bytes(), |_| {}).expect("evidence");
        let found = serde_json::to_value(&found).expect("JSON");
        assert_eq!(
            found["silence"],
            json!({"from": 5300, "to": 10_400, "text": "No heartbeat for 5.1 s: the last came at 1970-01-01T00:00:05Z."})
        );
        assert_eq!(
            found["findings"]["first"][0],
            json!({"gravity": "hang", "confidence": "certain", "text": "A scheduler is blocked.", "advice": "Try: +sfwi 500."})
        );
        let long = found["findings"]["first"][1]["text"].as_str().expect("a text");
        assert!(long.ends_with("x…") && long.chars().count() == LONGEST_SENTENCE + 1);
        let threads = found["threads"].as_array().expect("threads");
        assert_eq!(
            threads[0],
            json!({"tid": 300, "name": "erts_sched_2\\u{202e}", "does": "is held up", "place": "futex, libnif.so, sleeps", "held_ms": 5000, "cpu_ms": 3})
        );
        assert_eq!((&threads[1]["tid"], &threads[2]["tid"]), (&json!(200), &json!(100)));
        assert_eq!((threads.len(), &found["more_threads"]), (MOST_THREADS, &json!(82 - MOST_THREADS)));
    }

    #[test]
    fn no_more_is_kept_than_a_watchdog_writes() {
        let listener = json!({"address": "a:1"});
        let of = |samples: Vec<serde_json::Value>| json!({"schema": 1, "samples": samples}).to_string();
        let one = json!({"at": 1, "listeners": vec![&listener; 2000]});
        let mut items = 0;
        let add = |entry| items += if let Entry::Sample(sample) = entry { sample.items.len() } else { 0 };
        read(of(vec![one]).as_bytes(), add).expect("evidence");
        assert_eq!(items, 1 + MOST_ENTRIES, "a listener, and its figures each time");
        let refused = read(of(vec![json!({"at": 1}); 1001]).as_bytes(), |_| {}).expect_err("too many samples");
        assert_eq!(refused, "has more than 1000 samples, and is no evidence file of the watchdog");
        let refused = read(&vec![b' '; LARGEST as usize + 1], |_| {}).expect_err("too large");
        assert_eq!(refused, "has more than 8388608 bytes, and is no evidence file of the watchdog");
    }

    #[test]
    fn of_more_listeners_than_are_kept_the_worst_are_kept() {
        let listener = |n: usize| {
            let conditions = if n == 4321 { json!(["stuck"]) } else { json!([]) };
            json!({"address": format!("a:{n:04}"), "queued": n % 1000, "conditions": conditions})
        };
        let sampled = json!({"at": 1, "listeners": (0..5000).map(listener).collect::<Vec<_>>()});
        let sampled: Sampled = serde_json::from_str(&sampled.to_string()).expect("a sample");
        let kept: Vec<_> = sampled.listeners.kept.iter().map(|listener| listener.address.as_str()).collect();
        assert_eq!((kept.len(), sampled.listeners.more), (MOST_ENTRIES, 5000 - MOST_ENTRIES as u64));
        assert_eq!(kept[..3], ["a:4321", "a:0999", "a:1999"]);
        assert_eq!(kept[MOST_ENTRIES - 1], "a:3900");
    }

    #[test]
    fn what_is_no_evidence_is_refused_in_one_sentence() {
        for (text, sentence) in [
            ("{", "is no evidence file of the watchdog: EOF"),
            ("{}", "is no evidence file of the watchdog: missing field `schema`"),
            (r#"{"schema": 1}"#, "is no evidence file of the watchdog: missing field `samples`"),
            (r#"{"schema": 2, "samples": []}"#, "has the schema 2, and this program knows 1"),
            (r#"{"schema": 1, "samples": []}"#, "has no samples"),
        ] {
            let refused = read(text.as_bytes(), |_| {}).expect_err(text);
            assert!(refused.starts_with(sentence), "{refused}");
        }
    }
}
