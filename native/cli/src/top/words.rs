//! The words of the screen, and how it writes times and rates.

use std::time::Duration;

use accept_queue_core::vm::pollset::Accepting;

/// In a column.
pub(super) fn accepting(accepting: Accepting) -> &'static str {
    match accepting {
        Accepting::Armed(_) => "armed",
        Accepting::Delivered => "woken",
        Accepting::NotArmed(_) => "nobody",
        Accepting::NeverAccepted => "never",
    }
}

/// In a sentence.
pub(super) fn accepting_in_full(accepting: Option<Accepting>) -> &'static str {
    match accepting {
        Some(Accepting::Armed(_)) => "a process waits in accept",
        Some(Accepting::Delivered) => "the VM was notified of a connection, and no process has called accept since",
        Some(Accepting::NotArmed(_)) => "no process is in accept now",
        Some(Accepting::NeverAccepted) => "no process has ever waited in accept",
        None => "not known: the owner is no BEAM, or its epoll sets could not be read",
    }
}

/// From the least to the most worrying; not known comes first.
pub(super) fn accepting_rank(accepting: Option<Accepting>) -> u8 {
    match accepting {
        None => 0,
        Some(Accepting::Armed(_)) => 1,
        Some(Accepting::Delivered) => 2,
        Some(Accepting::NotArmed(_)) => 3,
        Some(Accepting::NeverAccepted) => 4,
    }
}

/// At most six cells.
pub(super) fn span(span: Duration) -> String {
    let (millis, seconds) = (span.as_millis(), span.as_secs());
    match seconds {
        0 => format!("{millis}ms"),
        1..100 => format!("{:.1}s", (millis / 100) as f64 / 10.0),
        100..6000 => format!("{}m{:02}", seconds / 60, seconds % 60),
        6000..360_000 => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// At most six cells, up to 99 million a second.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_owned(),
        ..9.95 => format!("{per_second:.1}"),
        ..99_999.5 => format!("{per_second:.0}"),
        ..9_999_500.0 => format!("{:.0}k", per_second / 1e3),
        _ => format!("{:.0}M", per_second / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_takes_no_more_than_six_cells() {
        for (millis, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1000, "1.0s"),
            (99_999, "99.9s"),
            (100_000, "1m40"),
            (5_999_000, "99m59"),
            (6_000_000, "1h40"),
            (359_999_000, "99h59"),
            (360_000_000, "4d"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_rate_takes_no_more_than_six_cells() {
        for (per_second, text) in [
            (0.0, "0"),
            (0.04, "0.0"),
            (9.94, "9.9"),
            (9.96, "10"),
            (99_999.0, "99999"),
            (100_000.0, "100k"),
            (9_999_999.0, "10M"),
        ] {
            assert_eq!(rate(per_second), text);
        }
    }
}
