//! Families of metrics -> text, in the format of Prometheus or in that of OpenMetrics. Pure.
//!
//! The lines of figures are the same in both: a series has one name. OpenMetrics calls a family by its name
//! without `_total` or `_info`, knows units, and has an end.

use hyper::header::HeaderValue;
use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Format {
    /// 0.0.4.
    Prometheus,
    /// 1.0.0.
    OpenMetrics,
}

impl Format {
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Prometheus => prometheus::TEXT_FORMAT,
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }
}

/// A figure, with all its labels.
pub(super) type Labelled = (Vec<LabelPair>, f64);

/// Units that OpenMetrics knows, by the end of a name.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// Each family becomes text at once, so that not all families of a thousand listeners are in memory.
pub(super) struct Text {
    format: Format,
    text: String,
}

impl Text {
    pub(super) fn new(format: Format) -> Text {
        Text { format, text: String::new() }
    }

    /// A family without a figure is left out.
    pub(super) fn add(&mut self, family: MetricFamily) {
        if family.get_metric().is_empty() {
            return;
        }
        match self.format {
            Format::Prometheus => self.encode(family),
            Format::OpenMetrics => {
                self.text += &head(&family);
                let begun = self.text.len();
                self.encode(family);
                // Its own head is two lines.
                let lines = self.text[begun..].split_inclusive('\n');
                let own_head: usize = lines.take_while(|line| line.starts_with("# ")).map(str::len).sum();
                self.text.drain(begun..begun + own_head);
            }
        }
    }

    fn encode(&mut self, family: MetricFamily) {
        if let Err(error) = TextEncoder::new().encode_utf8(&[family], &mut self.text) {
            // It refuses only families without a name or a figure.
            self.text += &format!("# {error}\n");
        }
    }

    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text += "# EOF\n";
        }
        self.text
    }
}

fn head(family: &MetricFamily) -> String {
    let name = family.name();
    let (name, kind) = match (name.strip_suffix("_total"), name.strip_suffix("_info")) {
        (Some(name), _) => (name, "counter"),
        (_, Some(name)) => (name, "info"),
        (None, None) => (name, "gauge"),
    };
    let unit = UNITS.into_iter().find(|unit| name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')));
    let unit = unit.map_or_else(String::new, |unit| format!("# UNIT {name} {unit}\n"));
    let help = family.help().replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{unit}")
}

pub(super) fn gauges(name: &str, help: &str, figures: impl IntoIterator<Item = Labelled>) -> MetricFamily {
    family(name.to_owned(), help, MetricType::GAUGE, figures, |metric, value| {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    })
}

/// By the convention, `_total` ends the name.
pub(super) fn counters(name: &str, help: &str, figures: impl IntoIterator<Item = Labelled>) -> MetricFamily {
    family(format!("{name}_total"), help, MetricType::COUNTER, figures, |metric, value| {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    })
}

fn family(
    name: String,
    help: &str,
    kind: MetricType,
    figures: impl IntoIterator<Item = Labelled>,
    set: impl Fn(&mut Metric, f64),
) -> MetricFamily {
    let metrics = figures.into_iter().map(|(labels, value)| {
        let mut metric = Metric::from_label(labels);
        set(&mut metric, value);
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(format!("accept_queue_{name}"));
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}

pub(super) fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> [MetricFamily; 5] {
        let labels = vec![label("listener", "unix:/\"a\"\n# TYPE b")];
        [
            counters("samples", "Samples \"read\" in \\proc.", [(Vec::new(), 3.0)]),
            counters("sampling_seconds", "Time.", [(Vec::new(), 0.25)]),
            gauges("build_info", "Which.", [(vec![label("version", "1")], 1.0)]),
            gauges("queued_bytes", "Bytes.", [(labels, 7.0)]),
            gauges("limit", "Has no figure.", []),
        ]
    }

    fn text(format: Format) -> String {
        let mut text = Text::new(format);
        families().into_iter().for_each(|family| text.add(family));
        text.end()
    }

    #[test]
    fn openmetrics_calls_families_by_its_own_rules_and_has_units_and_an_end() {
        let expected = r##"# HELP accept_queue_samples Samples \"read\" in \\proc.
# TYPE accept_queue_samples counter
accept_queue_samples_total 3
# HELP accept_queue_sampling_seconds Time.
# TYPE accept_queue_sampling_seconds counter
# UNIT accept_queue_sampling_seconds seconds
accept_queue_sampling_seconds_total 0.25
# HELP accept_queue_build Which.
# TYPE accept_queue_build info
accept_queue_build_info{version="1"} 1
# HELP accept_queue_queued_bytes Bytes.
# TYPE accept_queue_queued_bytes gauge
# UNIT accept_queue_queued_bytes bytes
accept_queue_queued_bytes{listener="unix:/\"a\"\n# TYPE b"} 7
# EOF
"##;
        assert_eq!(text(Format::OpenMetrics), expected);
    }

    #[test]
    fn a_series_has_one_name_in_both_formats() {
        let series = |format| -> Vec<_> {
            text(format).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(series(Format::OpenMetrics), series(Format::Prometheus));
        assert!(!text(Format::Prometheus).contains("EOF") && !text(Format::Prometheus).contains("UNIT"));
    }
}
