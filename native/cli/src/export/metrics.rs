//! A sample -> families of metrics. Pure. An absent figure has no line, for 0 would be a value.
//!
//! No label of a listener is new when its server is started again: series go on, and alerts with them. The pid is in a metric of
//! its own, [`process_info`](Exposition::processes).

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use accept_queue_core::Counts;
use accept_queue_core::linux::counters::Kernel;
use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::{Reading, Sample};
use accept_queue_core::outside::snapshot::Owner;
use accept_queue_core::rules::check::Severity;
use accept_queue_core::rules::detector::Condition;
use prometheus::proto::LabelPair;

use super::format::{Format, Labelled, Text, counters, gauges, label};
use crate::condition;

/// Listeners with metrics of their own: those with the gravest conditions, then those where most wait, then by namespace and address.
/// The others are a sum.
pub(super) const MOST_LISTENERS: usize = 1000;

/// Counters of the exporter itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) samples: u64,
    pub(super) failed: u64,
    /// What all of them have taken, and the last.
    pub(super) time: Duration,
    pub(super) last_time: Duration,
}

/// One answer to a scrape.
pub(super) struct Exposition<'a> {
    /// `None`: the last one failed.
    pub(super) sample: Option<&'a Sample>,
    /// The namespace whose listeners have no label `netns`.
    pub(super) own: Namespace,
    pub(super) tally: Tally,
}

impl Exposition<'_> {
    pub(super) fn text(&self, format: Format, kernel: Option<&Kernel>) -> String {
        let mut text = Text::new(format);
        self.of_the_exporter(&mut text);
        if let Some(sample) = self.sample {
            self.of_the_queues(sample, &mut text);
        }
        if let Some(kernel) = kernel {
            of_the_kernel(kernel, &mut text);
        }
        text.end()
    }

    fn of_the_exporter(&self, text: &mut Text) {
        let version = vec![label("version", env!("CARGO_PKG_VERSION"))];
        let is_up = f64::from(u8::from(self.sample.is_some_and(|sample| !sample.is_blind())));
        text.add(gauges("build_info", "Which accept-queue this is.", [(version, 1.0)]));
        text.add(gauges(
            "up",
            "Whether anything of the scope could be read in the last sample. Where not, no listener has a metric.",
            one(Some(is_up)),
        ));
        text.add(counters("samples", "Samples that were read.", one(Some(self.tally.samples as f64))));
        text.add(counters("failed_samples", "Samples that could not be read.", one(Some(self.tally.failed as f64))));
        text.add(counters(
            "sampling_seconds",
            "How long all samples have taken together, also those that failed.",
            one(Some(self.tally.time.as_secs_f64())),
        ));
        text.add(gauges(
            "last_sample_duration_seconds",
            "How long the last sample took, mostly one that was taken for a scrape, with its census.",
            one(Some(self.tally.last_time.as_secs_f64())),
        ));
    }

    fn of_the_queues(&self, sample: &Sample, text: &mut Text) {
        let mut worst: Vec<_> = sample.readings.iter().collect();
        if worst.len() > MOST_LISTENERS {
            // The sort is stable: among those that are alike the order of the sample stays.
            worst.sort_by_cached_key(|reading| Reverse(rank(reading)));
        }
        let (shown, others) = worst.split_at(worst.len().min(MOST_LISTENERS));
        let processes = self.processes(shown);
        let shown = self.labelled(shown);
        let each = |figures: fn(&Reading) -> LabelledFigures| -> Vec<Labelled> {
            let labelled = |(labels, reading): &(Vec<LabelPair>, &Reading)| -> Vec<Labelled> {
                figures(reading).into_iter().map(|(more, figure)| (extended(labels, more), figure)).collect()
            };
            shown.iter().flat_map(labelled).collect()
        };
        let others_queued: u64 = others.iter().map(|reading| u64::from(reading.depth_reading.depth.queued)).sum();
        text.add(gauges(
            "queued_connections",
            "Connections that wait for accept; full is more than the limit. As of the last sample.",
            each(|reading| just(Some(reading.depth_reading.depth.queued))),
        ));
        text.add(gauges(
            "limit",
            "The backlog in force; absent where it is not known. As of the last sample.",
            each(|reading| just(reading.depth_reading.depth.known_limit())),
        ));
        text.add(gauges(
            "peak_connections",
            "The most connections that waited for accept in a sample of the last minute.",
            each(|reading| just(reading.status.window.map(|window| window.max))),
        ));
        text.add(counters(
            "dropped_packets",
            "Packets that the listener has dropped since it was opened, overflow first among the causes.",
            each(|reading| just(reading.depth_reading.drops.map(|drops| drops as f64))),
        ));
        text.add(gauges(
            "condition",
            "Whether the listener is behind, overflowing, stuck, abandoned or leaking. As of the last sample.",
            each(|reading| {
                let holds = |condition| reading.status.conditions.iter().any(|held| held.0 == condition);
                by("condition", Condition::ALL.map(|condition| (condition::name(condition), holds(condition).into())))
            }),
        ));
        text.add(gauges(
            "connections",
            "Connections that wait for accept, by what their clients have done meanwhile. Not older than a second.",
            each(|reading| {
                counted(reading, |counts| {
                    let Counts { queued_alive, queued_closed, .. } = *counts;
                    let reset = counts.queued_reset();
                    let states = [("alive", queued_alive), ("closed", queued_closed), ("reset", reset)];
                    by("state", states.into_iter().filter_map(|(state, count)| Some((state, count?))))
                })
            }),
        ));
        text.add(gauges(
            "oldest_wait_seconds",
            "How long the longest-waiting connection has waited; absent where none waits. Not older than a second.",
            each(|reading| counted(reading, |counts| just(counts.oldest_wait.map(|wait| wait.as_secs_f64())))),
        ));
        text.add(gauges(
            "queued_bytes",
            "Bytes of requests that waiting clients have sent. Not older than a second.",
            each(|reading| counted(reading, |counts| just(counts.queued_bytes.map(|bytes| bytes as f64)))),
        ));
        text.add(gauges(
            "syn_recv",
            "Handshakes that are not finished. Not older than a second.",
            each(|reading| counted(reading, |counts| just(counts.syn_recv))),
        ));
        text.add(gauges(
            "accepted_connections",
            "Accepted connections that are open; close_wait: their clients have closed. Not older than a second.",
            each(|reading| {
                counted(reading, |&Counts { established, close_wait, .. }| {
                    by("state", [("established", established), ("close_wait", close_wait)])
                })
            }),
        ));
        text.add(gauges(
            "sockets",
            "Sockets that share the address; its figures are their sum. Not older than a second.",
            each(|reading| counted(reading, |counts| just(Some(counts.sockets)))),
        ));
        text.add(gauges("process_info", "The pid of each process that is a label of a listener.", processes));
        text.add(gauges("listeners", "Listeners that were found.", one(Some(sample.readings.len() as f64))));
        let is_partial = |reading: &&Reading| reading.depth_reading.depth.known_limit().is_none();
        text.add(gauges(
            "partly_read_listeners",
            "Of these, those of which no limit and no drops are known: sock_diag cannot be asked, and /proc/net/tcp is read.",
            one(Some(sample.readings.iter().filter(is_partial).count() as f64)),
        ));
        text.add(gauges(
            "omitted_listeners",
            "Of the listeners, those without metrics of their own.",
            one(Some(others.len() as f64)),
        ));
        text.add(gauges(
            "omitted_queued_connections",
            "Connections that wait for accept at listeners without metrics of their own.",
            one(Some(others_queued as f64)),
        ));
        text.add(gauges(
            "unreadable_processes",
            "Processes of which something could not be read, mostly for lack of rights.",
            one(Some(sample.gaps.len() as f64)),
        ));
    }

    /// Each listener with its labels, which no other has: a path that was unlinked and bound again names two Unix sockets, and so
    /// does one path in two containers. All of these but one, mostly the youngest, have their inode as a label.
    fn labelled<'r>(&self, shown: &[&'r Reading]) -> Vec<(Vec<LabelPair>, &'r Reading)> {
        let place = |reading: &'r Reading| (reading.namespace, &reading.endpoint, reading.owners.first().map(name));
        let mut youngest = HashMap::new();
        for &reading in shown {
            let inode = youngest.entry(place(reading)).or_default();
            *inode = inode_of(reading).max(*inode);
        }
        let labels = |&reading: &&'r Reading| {
            let is_alone = youngest[&place(reading)] == inode_of(reading);
            let inode = inode_of(reading).filter(|_| !is_alone);
            let more = inode.map(|inode| label("inode", &inode.to_string()));
            (self.labels(reading).into_iter().chain(more).collect(), reading)
        };
        shown.iter().map(labels).collect()
    }

    /// An address is one listener in its namespace. Of several owners the one with the lowest pid, mostly the parent, is the
    /// label.
    fn labels(&self, Reading { namespace, endpoint, owners, .. }: &Reading) -> Vec<LabelPair> {
        let mut labels = vec![label("listener", &endpoint.to_string())];
        labels.extend(self.netns(*namespace));
        labels.extend(owners.first().map(process));
        labels
    }

    fn netns(&self, namespace: Namespace) -> Option<LabelPair> {
        (namespace != self.own).then(|| label("netns", &namespace.0.to_string()))
    }

    /// The pid of each process that is a label of a listener.
    fn processes(&self, shown: &[&Reading]) -> Vec<Labelled> {
        let owners = shown.iter().filter_map(|reading| {
            let owner = reading.owners.first()?;
            Some((reading.namespace, name(owner), owner.process.pid))
        });
        let by_pid: BTreeSet<_> = owners.map(|(Namespace(namespace), name, pid)| (namespace, name, pid)).collect();
        let info = |(namespace, name, pid): (u64, &str, i32)| {
            let labels = self.netns(Namespace(namespace)).into_iter();
            (
                labels
                    .chain([label("process", &name.escape_debug().to_string()), label("pid", &pid.to_string())])
                    .collect(),
                1.0,
            )
        };
        by_pid.into_iter().map(info).collect()
    }
}

fn name(owner: &Owner) -> &str {
    &owner.process.name
}

/// A process chooses its own name, and it may reach a terminal.
fn process(owner: &Owner) -> LabelPair {
    label("process", &name(owner).escape_debug().to_string())
}

fn inode_of(reading: &Reading) -> Option<u32> {
    reading.sockets.iter().map(|&(_, inode)| inode.0).max()
}

/// How much a listener wants to be seen.
fn rank(reading: &Reading) -> (Severity, u32) {
    (Severity::of(reading.status.conditions.iter().map(|held| held.0)), reading.depth_reading.depth.queued)
}

/// Of the network namespace of the exporter.
fn of_the_kernel(kernel: &Kernel, text: &mut Text) {
    let figure = |value: Option<u64>| one(value.map(|value| value as f64));
    text.add(gauges("kernel_somaxconn", "Clips every backlog (net.core.somaxconn).", figure(kernel.somaxconn)));
    text.add(gauges("kernel_tcp_max_syn_backlog", "net.ipv4.tcp_max_syn_backlog.", figure(kernel.tcp_max_syn_backlog)));
    text.add(gauges(
        "kernel_tcp_abort_on_overflow",
        "net.ipv4.tcp_abort_on_overflow.",
        figure(kernel.tcp_abort_on_overflow),
    ));
    text.add(gauges("kernel_tcp_syncookies", "net.ipv4.tcp_syncookies.", figure(kernel.tcp_syncookies)));
    text.add(counters(
        "kernel_listen_overflows",
        "SYNs and last ACKs that met a full accept queue (ListenOverflows).",
        figure(kernel.listen_overflows),
    ));
    text.add(counters(
        "kernel_listen_drops",
        "SYNs that were dropped, for any reason (ListenDrops).",
        figure(kernel.listen_drops),
    ));
    text.add(counters(
        "kernel_tcp_req_q_full_drop",
        "SYNs that were dropped because the SYN queue was full (TCPReqQFullDrop).",
        figure(kernel.tcp_req_q_full_drop),
    ));
    text.add(counters(
        "kernel_tcp_req_q_full_do_cookies",
        "SYNs that were answered with a cookie because the SYN queue was full (TCPReqQFullDoCookies).",
        figure(kernel.tcp_req_q_full_do_cookies),
    ));
    text.add(counters(
        "kernel_syncookies_sent",
        "Cookies that were sent (SyncookiesSent).",
        figure(kernel.syncookies_sent),
    ));
    text.add(counters(
        "kernel_syncookies_received",
        "Valid cookies that came back (SyncookiesRecv).",
        figure(kernel.syncookies_recv),
    ));
    text.add(counters(
        "kernel_syncookies_failed",
        "Cookies that came back invalid (SyncookiesFailed).",
        figure(kernel.syncookies_failed),
    ));
}

/// The figures of a listener, each with a label that the listener does not have.
type LabelledFigures = Vec<(Option<(&'static str, &'static str)>, f64)>;

fn just(figure: Option<impl Into<f64>>) -> LabelledFigures {
    figure.into_iter().map(|figure| (None, figure.into())).collect()
}

fn by(name: &'static str, figures: impl IntoIterator<Item = (&'static str, u32)>) -> LabelledFigures {
    figures.into_iter().map(|(value, figure)| (Some((name, value)), figure.into())).collect()
}

/// LabelledFigures of the last census.
fn counted(reading: &Reading, figures: impl Fn(&Counts) -> LabelledFigures) -> LabelledFigures {
    reading.status.counts.iter().flat_map(|(counts, _)| figures(counts)).collect()
}

fn extended(labels: &[LabelPair], more: Option<(&str, &str)>) -> Vec<LabelPair> {
    labels.iter().cloned().chain(more.map(|(name, value)| label(name, value))).collect()
}

fn one(figure: Option<f64>) -> Option<Labelled> {
    figure.map(|figure| (Vec::new(), figure))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use accept_queue_core::outside::snapshot::{Gap, Missing};
    use accept_queue_core::rules::detector::Settings;
    use accept_queue_core::rules::history::History;
    use accept_queue_core::rules::overflows::Overflowed;
    use accept_queue_core::vm::find::Candidate;
    use accept_queue_core::{Cookie, Depth, Endpoint, Errno, Error, Inode, Members};

    use super::*;

    const OWN: Namespace = Namespace(1);

    fn reading(namespace: Namespace, name: &str, queued: u32) -> Reading {
        let mut history = History::new(Settings::default(), Duration::ZERO);
        let depth_reading = history.depth_read(
            Duration::ZERO,
            &Members::one(Cookie(1), Depth { queued, limit: 5, drops: None }),
            Overflowed::default(),
        );
        let status = history.status(Duration::ZERO);
        let endpoint = Endpoint::Unix(name.as_bytes().to_vec());
        Reading {
            namespace,
            endpoint,
            owners: Vec::new(),
            sockets: Vec::new(),
            is_new: true,
            depth_reading,
            census: None,
            status,
        }
    }

    fn text(readings: Vec<Reading>) -> String {
        let sample = Sample { readings, ..Sample::default() };
        Exposition { sample: Some(&sample), own: OWN, tally: Tally::default() }.text(Format::Prometheus, None)
    }

    #[test]
    fn what_is_not_known_has_no_line() {
        let text = text(vec![reading(OWN, "/run/a", 2)]);
        assert!(text.contains("accept_queue_queued_connections{listener=\"unix:/run/a\"} 2\n"), "{text}");
        for absent in ["dropped_packets", "accept_queue_connections", "oldest_wait", "syn_recv", "kernel"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
        let failed = Exposition { sample: None, own: OWN, tally: Tally { samples: 3, failed: 1, ..Tally::default() } }
            .text(Format::Prometheus, None);
        assert!(failed.contains("accept_queue_up 0\n") && failed.contains("failed_samples_total 1\n"), "{failed}");
        assert!(!failed.contains("listener="), "{failed}");
    }

    #[test]
    fn an_exporter_that_may_read_no_process_is_not_up() {
        let process =
            std::sync::Arc::new(Candidate { pid: 4711, name: "shop".to_owned(), is_beam: true, is_named: true });
        let gaps = vec![Gap { process, missing: Missing::Sockets(Error::Errno(Errno(13))) }];
        let of = |sample: &Sample| {
            Exposition { sample: Some(sample), own: OWN, tally: Tally::default() }.text(Format::Prometheus, None)
        };
        let blind = of(&Sample { gaps: gaps.clone(), ..Sample::default() });
        assert!(blind.contains("accept_queue_up 0\n") && blind.contains("unreadable_processes 1\n"), "{blind}");
        let partly = of(&Sample { gaps, readings: vec![reading(OWN, "/run/a", 0)], ..Sample::default() });
        assert!(partly.contains("accept_queue_up 1\n"), "{partly}");
        assert!(of(&Sample::default()).contains("accept_queue_up 1\n"), "there is nothing to be read");
    }

    fn owned(mut reading: Reading, pid: i32, inode: u32) -> Reading {
        let process = Candidate { pid, name: "shop@host".to_owned(), is_beam: true, is_named: true };
        reading.owners = vec![Owner { process: std::sync::Arc::new(process), fd: 7 }];
        reading.sockets = vec![(Cookie(u64::from(inode)), Inode(inode))];
        reading
    }

    /// The names and labels of all lines.
    fn series(text: &str) -> Vec<&str> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').expect("a value").0).collect()
    }

    #[test]
    fn a_server_that_is_started_again_has_one_new_series() {
        let before = text(vec![owned(reading(OWN, "/run/a", 0), 4711, 1), owned(reading(OWN, "/run/b", 0), 4711, 2)]);
        let after = text(vec![owned(reading(OWN, "/run/a", 0), 4805, 3), owned(reading(OWN, "/run/b", 0), 4805, 4)]);
        let before = series(&before);
        let new: Vec<_> = series(&after).into_iter().filter(|series| !before.contains(series)).collect();
        assert_eq!(new, ["accept_queue_process_info{process=\"shop@host\",pid=\"4805\"}"]);
    }

    #[test]
    fn a_path_that_was_bound_again_makes_no_series_twice() {
        let text = text([3, 9, 5].map(|inode| owned(reading(OWN, "/run/a", inode), 4711, inode)).into());
        let found = series(&text);
        assert_eq!(BTreeSet::from_iter(&found).len(), found.len(), "{text}");
        for line in ["} 9\n", ",inode=\"3\"} 3\n", ",inode=\"5\"} 5\n"] {
            let line = format!("queued_connections{{listener=\"unix:/run/a\",process=\"shop@host\"{line}");
            assert!(text.contains(&line), "{line}: {text}");
        }
    }

    #[test]
    fn a_namespace_is_named_where_it_is_another() {
        let text = text(vec![reading(OWN, "/run/a", 0), reading(Namespace(7), "/run/a", 0)]);
        assert!(text.contains("limit{listener=\"unix:/run/a\"} 5\n"), "{text}");
        assert!(text.contains("limit{listener=\"unix:/run/a\",netns=\"7\"} 5\n"), "{text}");
    }

    #[test]
    fn the_thousand_and_first_listener_is_part_of_a_sum() {
        let text = text((0..1003).map(|n| reading(OWN, &format!("/run/{n:04}"), 2)).collect());
        let shown = text.lines().filter(|line| line.starts_with("accept_queue_limit{")).count();
        assert_eq!(shown, 1000);
        for line in ["listeners 1003", "omitted_listeners 3", "omitted_queued_connections 6"] {
            assert!(text.contains(&format!("\naccept_queue_{line}\n")), "{line}");
        }
    }

    #[test]
    fn a_thousand_listeners_of_any_user_hide_no_trouble() {
        let overflowing = |name| {
            let mut reading = reading(OWN, name, 3);
            reading.status.conditions.push((Condition::Overflowing, Duration::ZERO));
            reading
        };
        let mut readings: Vec<_> = (0..1200).map(|n| reading(OWN, &format!("/run/{n:04}"), n / 200)).collect();
        readings.push(overflowing("/srv/critical"));
        readings.push(reading(OWN, "/srv/deep", 900));
        let text = text(readings);
        assert!(text.contains("condition{listener=\"unix:/srv/critical\",condition=\"overflowing\"} 1\n"), "{text}");
        assert!(text.contains("queued_connections{listener=\"unix:/srv/deep\"} 900\n"));
        assert!(!text.contains("unix:/run/0199\"") && text.contains("unix:/run/1199\""), "the emptiest are the sum");
    }

    #[test]
    fn no_name_breaks_out_of_its_label() {
        let text = text(vec![reading(OWN, "/run/\"} 1\n\\", 0)]);
        assert!(text.contains(r#"listener="unix:/run/\\\"} 1\\n\\\\"} 5"#), "{text}");
    }
}
