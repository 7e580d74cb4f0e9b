//! An evidence file of the watchdog -> the entries that `record` would have written, and the findings. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use accept_queue_core::rules::detector::Condition;
use serde::Deserialize;

use super::timeline::LATEST_MS;
use crate::condition::{self, seconds};
use crate::figures::SCHEMA;
use crate::recording::{CLOSE_WAIT, DROPS, Entry, Item, LIMIT, OLDEST_WAIT_MS, QUEUED, RecordedOwner, SampleEntry};

/// No evidence file is larger.
pub(super) const LARGEST: u64 = 64 << 20;

/// The keys that are read. One that another version leaves out is unknown; one that it adds is ignored.
#[derive(Deserialize)]
struct Document {
    schema: u32,
    pid: Option<u64>,
    name: Option<String>,
    hang: Option<HangTimes>,
    #[serde(default)]
    findings: Vec<FoundText>,
    sample_interval_ms: Option<u64>,
    samples: Vec<Sampled>,
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
}

#[derive(Deserialize)]
struct Sampled {
    at: u64,
    #[serde(default)]
    listeners: Vec<ListenerSample>,
    /// Listeners that are left out.
    #[serde(default)]
    omitted: u64,
    #[serde(default)]
    unreadable: Vec<String>,
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
    conditions: Vec<String>,
}

#[derive(Debug)]
pub(super) struct EvidenceFile {
    pub(super) entries: Vec<Entry>,
    /// As text.
    pub(super) found: Vec<String>,
}

pub(super) fn read(text: &[u8]) -> Result<EvidenceFile, String> {
    let document: Document =
        serde_json::from_slice(text).map_err(|error| format!("is no evidence file of the watchdog: {error}"))?;
    if document.schema != SCHEMA {
        return Err(format!("has the schema {}, and this program knows {SCHEMA}", document.schema));
    }
    let Some(first) = document.samples.first() else { return Err("has no samples".to_owned()) };
    let epoch_ms = first.at;
    let owners: Vec<_> = (document.pid)
        .map(|pid| RecordedOwner { pid, name: document.name.clone().unwrap_or_default() })
        .into_iter()
        .collect();
    let scope =
        owners.first().map_or("a VM".to_owned(), |RecordedOwner { pid, name }| format!("the VM {name} ({pid})"));
    let mut entries = vec![Entry::Begun {
        epoch_ms,
        interval_ms: document.sample_interval_ms.unwrap_or(500),
        version: String::new(),
        host: String::new(),
        scope,
    }];
    let mut end_ms = 0;
    let mut follower =
        Follower { owners, numbers: BTreeMap::new(), held: BTreeMap::new(), unreadable: BTreeSet::new() };
    for sampled in document.samples {
        end_ms = sampled.at.saturating_sub(epoch_ms);
        entries.push(Entry::Sample(SampleEntry { at_ms: end_ms, quiet: 0, items: follower.items(sampled) }));
    }
    entries.push(Entry::Ended { at_ms: end_ms, why: "the watchdog has written the evidence".to_owned() });
    let silent = document.hang.and_then(|HangTimes { last_heartbeat_at, silent_ms }| {
        let at = UNIX_EPOCH + Duration::from_millis(last_heartbeat_at.filter(|at| *at <= LATEST_MS)?);
        let (silent, at) = (seconds(Duration::from_millis(silent_ms?)), humantime::format_rfc3339_seconds(at));
        Some(format!("No heartbeat for {silent}: the last came at {at}."))
    });
    let findings = document.findings.into_iter().map(|FoundText { text, advice }| format!("{text} {advice}"));
    Ok(EvidenceFile { entries, found: silent.into_iter().chain(findings).collect() })
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
        let is_partial = omitted > 0 || !unreadable.is_empty();
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
        let now: BTreeSet<_> = unreadable.into_iter().collect();
        items.extend(now.difference(&self.unreadable).cloned().map(Item::Unreadable));
        self.unreadable = now;
        items
    }

    fn listener(&mut self, listener: ListenerSample, items: &mut Vec<Item>) {
        let ListenerSample { address, queued, limit, drops, oldest_wait_ms, close_wait, conditions } = listener;
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
        let now: BTreeSet<_> = Condition::ALL
            .into_iter()
            .filter(|known| conditions.iter().any(|name| name == condition::name(*known)))
            .collect();
        let before = self.held.insert(number, now.clone()).unwrap_or_default();
        items.extend(now.difference(&before).map(|&condition| Item::Raised { number, condition, held_ms: 0 }));
        items.extend(before.difference(&now).map(|&condition| Item::Cleared { number, condition, lasted_ms: 0 }));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn items(document: serde_json::Value) -> Vec<Vec<Item>> {
        let evidence = read(document.to_string().as_bytes()).expect("evidence");
        let sample = |entry| if let Entry::Sample(sample) = entry { Some(sample.items) } else { None };
        evidence.entries.into_iter().filter_map(sample).collect()
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
    fn the_findings_are_shown_in_their_own_words() {
        let document = json!({
            "schema": 1, "pid": 7,
            "hang": {"last_heartbeat_at": 5000, "silent_ms": 5100},
            "findings": [{"id": "x", "text": "A scheduler is blocked.", "advice": "Try: +sfwi 500."}],
            "samples": [{"at": 1}],
        });
        let evidence = read(document.to_string().as_bytes()).expect("evidence");
        assert_eq!(
            evidence.found,
            [
                "No heartbeat for 5.1 s: the last came at 1970-01-01T00:00:05Z.",
                "A scheduler is blocked. Try: +sfwi 500."
            ]
        );
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
            let refused = read(text.as_bytes()).expect_err(text);
            assert!(refused.starts_with(sentence), "{refused}");
        }
    }
}
