//! The evidence of a hang, as JSON and as text. Pure.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use accept_queue_core::linux::counters::Kernel;
use accept_queue_core::rules::heartbeat::HangSettings;
use accept_queue_core::{Endpoint, Error};
use serde::Serialize;
use serde_json::{Map, Value};

use super::samples::{INTERVAL, QueueSample, QueuesSample};
use crate::condition;
use crate::figures::SCHEMA;
use crate::findings::{Diagnosis, Report};

/// Everything that is known of one hang.
pub(super) struct HangEvidence {
    pub(super) pid: i32,
    pub(super) settings: HangSettings,
    /// Since the last heartbeat.
    pub(super) silent: Duration,
    pub(super) at: SystemTime,
    pub(super) diagnosis: Result<Diagnosis, Error>,
    pub(super) kernel: Result<Kernel, Error>,
    pub(super) samples: Vec<QueuesSample>,
}

/// That of `accept-queue diagnose --json`, and what was sampled before and during the hang.
#[derive(Serialize)]
struct Document<'a> {
    hang: HangTimes,
    #[serde(flatten)]
    diagnosis: Diagnosed<'a>,
    kernel: Option<Map<String, Value>>,
    sample_interval_ms: u64,
    /// Oldest first.
    samples: Vec<SampleFigures>,
}

#[derive(Serialize)]
struct HangTimes {
    /// Milliseconds since the epoch.
    written_at: u64,
    last_heartbeat_at: u64,
    silent_ms: u64,
    heartbeat_ms: u64,
    hang_after_ms: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Diagnosed<'a> {
    Found(Box<Report<'a>>),
    Failed { schema: u32, pid: i32, unreadable: [String; 1] },
}

#[derive(Serialize)]
struct SampleFigures {
    at: u64,
    listeners: Vec<ListenerFigures>,
    omitted: usize,
    listen_overflows: Option<u64>,
    listen_drops: Option<u64>,
    unreadable: Vec<String>,
}

#[derive(Serialize)]
struct ListenerFigures {
    address: String,
    queued: u32,
    limit: Option<u32>,
    drops: Option<u32>,
    conditions: Vec<&'static str>,
}

impl HangEvidence {
    /// JSON.
    pub(super) fn document(&self) -> Result<String, String> {
        let HangEvidence { pid, settings, silent, at, diagnosis, kernel, samples } = self;
        let document = Document {
            hang: HangTimes {
                written_at: epoch_ms(*at),
                last_heartbeat_at: epoch_ms(*at - *silent),
                silent_ms: silent.as_millis() as u64,
                heartbeat_ms: settings.heartbeat.as_millis() as u64,
                hang_after_ms: settings.hang_after.as_millis() as u64,
            },
            diagnosis: match diagnosis {
                Ok(diagnosis) => Diagnosed::Found(Box::new(diagnosis.report())),
                Err(error) => Diagnosed::Failed { schema: SCHEMA, pid: *pid, unreadable: [error.to_string()] },
            },
            kernel: kernel.as_ref().ok().map(|kernel| {
                kernel.figures().map(|(name, figure)| (name.to_owned(), Value::from(figure))).into_iter().collect()
            }),
            sample_interval_ms: INTERVAL.as_millis() as u64,
            samples: samples.iter().map(sampled).collect(),
        };
        crate::json::line(&document).map(|text| text + "\n").map_err(|error| format!("it is no JSON: {error}"))
    }

    /// The same as text.
    pub(super) fn page(&self) -> String {
        let HangEvidence { pid, settings, silent, at, diagnosis, kernel, samples } = self;
        let mut page = format!(
            "{}: no heartbeat of VM {pid} for {:.1} s; one is due every {:.1} s\n\n",
            humantime::format_rfc3339_millis(*at),
            silent.as_secs_f64(),
            settings.heartbeat.as_secs_f64()
        );
        match diagnosis {
            Ok(diagnosis) => page.push_str(&diagnosis.page()),
            Err(error) => {
                let _ = writeln!(page, "it could not be examined: {error}");
            }
        }
        let _ = writeln!(page, "\nqueued, every {:.1} s, the oldest first:", INTERVAL.as_secs_f64());
        let mut endpoints: Vec<&Endpoint> = samples.iter().flat_map(|one| &one.queues).map(|q| &q.endpoint).collect();
        endpoints.sort();
        endpoints.dedup();
        for endpoint in endpoints {
            let depth = |sample: &QueuesSample| {
                let found = sample.queues.iter().find(|queue| &queue.endpoint == endpoint);
                found.map_or_else(|| "-".to_owned(), |queue| queue.depth.queued.to_string())
            };
            let _ = writeln!(page, "  {endpoint}: {}", runs(samples.iter().map(depth)));
        }
        let gaps: Vec<_> = samples.iter().flat_map(|sample| &sample.unreadable).map(String::as_str).collect();
        if !gaps.is_empty() {
            let _ = writeln!(page, "  not all could be read: {}", runs(gaps.into_iter().map(str::to_owned)));
        }
        let lost = |first: Option<u64>, last: Option<u64>| Some(last?.saturating_sub(first?));
        if let (Some(first), Some(last)) = (samples.first(), samples.last())
            && let (Some(overflows), Some(drops)) =
                (lost(first.listen_overflows, last.listen_overflows), lost(first.listen_drops, last.listen_drops))
        {
            let _ =
                writeln!(page, "  meanwhile, in all of the network namespace: {overflows} overflows, {drops} drops");
        }
        let _ = match kernel {
            Ok(kernel) => {
                let known = kernel.figures().into_iter();
                let known: Vec<_> = known.filter_map(|(name, figure)| Some(format!("{name} {}", figure?))).collect();
                writeln!(page, "kernel: {}", known.join(", "))
            }
            Err(error) => writeln!(page, "kernel: {error}"),
        };
        page
    }
}

fn sampled(sample: &QueuesSample) -> SampleFigures {
    let QueuesSample { at, queues, omitted, listen_overflows, listen_drops, unreadable } = sample;
    SampleFigures {
        at: epoch_ms(*at),
        listeners: queues.iter().map(listener).collect(),
        omitted: *omitted,
        listen_overflows: *listen_overflows,
        listen_drops: *listen_drops,
        unreadable: unreadable.clone(),
    }
}

fn listener(queue: &QueueSample) -> ListenerFigures {
    ListenerFigures {
        address: queue.endpoint.to_string(),
        queued: queue.depth.queued,
        limit: queue.depth.known_limit(),
        drops: queue.depth.drops,
        conditions: queue.conditions.iter().copied().map(condition::name).collect(),
    }
}

fn epoch_ms(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// `0 x97, 2 x10`: run-length coded.
fn runs(figures: impl Iterator<Item = String>) -> String {
    let mut runs: Vec<(String, usize)> = Vec::new();
    for figure in figures {
        match runs.last_mut() {
            Some((last, times)) if *last == figure => *times += 1,
            _ => runs.push((figure, 1)),
        }
    }
    let shown: Vec<_> = runs
        .into_iter()
        .map(|(figure, times)| if times == 1 { figure } else { format!("{figure} x{times}") })
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_figures_is_shown_as_runs() {
        assert_eq!(runs(["0", "0", "0", "1", "2", "2", "-"].map(str::to_owned).into_iter()), "0 x3, 1, 2 x2, -");
        assert_eq!(runs(std::iter::empty()), "");
    }

    #[test]
    fn what_could_not_be_examined_is_an_error_and_the_rest_is_there() {
        let evidence = HangEvidence {
            pid: 7,
            settings: HangSettings { heartbeat: Duration::from_secs(1), hang_after: Duration::from_secs(5) },
            silent: Duration::from_secs(5),
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(10),
            diagnosis: Err(Error::Unsupported),
            kernel: Ok(Kernel { somaxconn: Some(4096), ..Kernel::default() }),
            samples: vec![],
        };
        let document: Value = serde_json::from_str(&evidence.document().expect("a document")).expect("JSON");
        assert_eq!((&document["schema"], &document["pid"]), (&Value::from(1), &Value::from(7)));
        assert_eq!(document["unreadable"][0], Value::from(Error::Unsupported.to_string()));
        assert_eq!(
            (&document["kernel"]["somaxconn"], &document["kernel"]["listen_drops"]),
            (&Value::from(4096), &Value::Null)
        );
        assert_eq!(
            (&document["hang"]["last_heartbeat_at"], &document["hang"]["silent_ms"]),
            (&5000.into(), &5000.into())
        );
        let page = evidence.page();
        assert!(page.starts_with("1970-01-01T00:00:10.000Z: no heartbeat of VM 7 for 5.0 s"), "{page}");
        assert!(page.contains("kernel: somaxconn 4096\n"), "{page}");
    }
}
