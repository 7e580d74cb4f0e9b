//! Performance data: `'LABEL'=VALUE[UNIT];WARNING;CRITICAL;MINIMUM;MAXIMUM`, parted by spaces.

use accept_queue_core::rules::check::{Limits, Range, fill_percent};

use super::reading::{Judged, Seen};

/// A monitoring system reads a few kilobytes of a plugin, and keeps a file for each figure.
pub(super) const WORST: usize = 10;

/// Of the worst listeners.
pub(super) fn data(seen: &Seen, limits: &Limits) -> String {
    seen.worst().into_iter().take(WORST).flat_map(|judged| figures(judged, limits)).collect::<Vec<_>>().join(" ")
}

/// How many listeners have none; continues a sentence.
pub(super) fn left_out(seen: &Seen) -> Option<String> {
    let others = seen.judged.len().checked_sub(WORST).filter(|others| *others > 0)?;
    Some(format!("; performance data of the {WORST} worst, not of {others} more"))
}

fn figures(judged: &Judged, limits: &Limits) -> Vec<String> {
    let place = judged.place();
    let counts = &judged.counts;
    let label = |figure: &str| format!("'{} {figure}'", label(&place));
    let queued = format!("{}={}", label("queued"), counts.queued);
    let Limits { warning, critical, max_wait } = limits;
    // A full queue is critical without a range too: one that has more than its limit.
    let critical = critical.unwrap_or(Range::up_to(100.0));
    let queued = match counts.known_limit() {
        Some(limit) => {
            let whole = |range: &Range| range.of_whole(limit).map(|range| range.to_string()).unwrap_or_default();
            format!("{queued};{};{};0;{limit}", whole(warning), whole(&critical))
        }
        None => format!("{queued};;;0"),
    };
    let fill = fill_percent(&counts.depth()).filter(|fill| fill.is_finite());
    let fill = fill.map(|fill| format!("{}={}%;{warning};{critical}", label("fill"), rounded(fill)));
    // An empty queue has no oldest; a Unix socket has no ages.
    let wait = counts.syn_recv.is_some().then(|| {
        let wait = counts.oldest_wait.unwrap_or_default().as_millis();
        format!("{}={wait}ms;{};;0", label("oldest wait"), max_wait.as_millis())
    });
    let drops = counts.drops.map(|drops| format!("{}={drops}c;;;0", label("drops")));
    [Some(queued), fill, wait, drops].into_iter().flatten().collect()
}

/// To a hundredth.
pub(super) fn rounded(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}

/// A label has no equals sign, and a quote is written twice.
fn label(text: &str) -> String {
    text.replace(['=', '|'], "_").replace('\'', "''")
}

#[cfg(test)]
mod tests {
    use accept_queue_core::rules::check::{Severity, Trouble};
    use accept_queue_core::{Counts, Endpoint};

    use super::super::reading::judged;
    use super::*;

    fn unix(name: &str, queued: u32, limit: u32) -> Judged {
        let counts = Counts { queued, limit, ..Counts::default() };
        judged(Endpoint::Unix(name.as_bytes().to_vec()), counts, vec![])
    }

    fn of(judged: Vec<Judged>) -> Seen {
        Seen { judged, ..Seen::default() }
    }

    fn with(warning: &str, critical: &str) -> Limits {
        let range = |text: &str| text.parse().expect("a range");
        Limits { warning: range(warning), critical: Some(range(critical)), ..Limits::default() }
    }

    #[test]
    fn performance_data_can_be_parsed_whatever_the_name_of_a_socket() {
        assert_eq!(
            data(&of(vec![unix("/run/it's a=b|\n", 3, 10)]), &Limits::default()),
            r"'unix:/run/it\''s a_b_\n queued'=3;5;10;0;10 'unix:/run/it\''s a_b_\n fill'=30%;50;100"
        );
    }

    #[test]
    fn ranges_are_in_percent_of_the_fill_and_in_connections_of_the_queue() {
        for (warning, critical, queued, fill) in [
            ("50", "80", "1;1;2;0;3", "33.33%;50;80"),
            ("10:", "@20:80", "1;1:;@1:2;0;3", "33.33%;10:;@20:80"),
            ("~:50", "40:60", "1;~:1;;0;3", "33.33%;~:50;40:60"),
        ] {
            let data = data(&of(vec![unix("a", 1, 3)]), &with(warning, critical));
            assert_eq!(data, format!("'unix:a queued'={queued} 'unix:a fill'={fill}"));
        }
    }

    #[test]
    fn what_is_not_known_or_infinite_is_not_there() {
        assert_eq!(data(&of(vec![unix("a", 1, u32::MAX)]), &with("50", "80")), "'unix:a queued'=1;;;0");
        assert_eq!(data(&of(vec![unix("a", 1, 0)]), &with("50", "80")), "'unix:a queued'=1;0;0;0;0");
    }

    #[test]
    fn only_the_worst_have_data_and_the_others_are_counted() {
        let mut many: Vec<_> = (0..505).map(|number| unix(&format!("{number:03}"), 0, 10)).collect();
        many[300].troubles.push(Trouble::Filled(Severity::Critical));
        many[400].counts.queued = 1;
        let seen = of(many);
        let data = data(&seen, &Limits::default());
        let labels: Vec<_> = data.split('\'').filter_map(|part| part.strip_suffix(" queued")).collect();
        let expected = ["300", "400", "000", "001", "002", "003", "004", "005", "006", "007"];
        assert_eq!(labels, expected.map(|name| format!("unix:{name}")));
        assert_eq!(left_out(&seen).as_deref(), Some("; performance data of the 10 worst, not of 495 more"));
        assert_eq!(left_out(&of((0..10).map(|_| unix("a", 0, 1)).collect())), None);
    }
}
