//! The words of the screen, and how it writes times and rates.

pub(super) use crate::accepting::{in_full as accepting_in_full, rank as accepting_rank, word as accepting};
pub(super) use crate::figures::span;

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
