//! Ranges of the monitoring-plugin guidelines: which values raise an alert.
//! <https://www.monitoring-plugins.org/doc/guidelines.html#THRESHOLDFORMAT>
//!
//! | range | alerts where the value is |
//! |---|---|
//! | `10` | less than 0, or more than 10 |
//! | `10:` | less than 10 |
//! | `~:10` | more than 10 |
//! | `10:20` | less than 10, or more than 20 |
//! | `@10:20` | from 10 to 20 |

use std::fmt;
use std::str::FromStr;

/// Which values of a figure raise an alert: those outside of two bounds, or those inside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    start: f64,
    end: f64,
    is_inside: bool,
}

/// On which side of a range an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// The value is less than it should be.
    Below,
    /// It is more, or in a range where it should not be.
    Above,
}

/// Why a text is no range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRange {
    /// It is written some other way.
    #[error(
        "a range is 80 (alert above it), 10: (below it), ~:80 (above it), 10:80 (outside of it) or @10:20 (inside of it), in plain numbers"
    )]
    Form,
    /// Nothing is between its numbers.
    #[error("a range has the smaller number first, as 10:80")]
    Reversed,
}

impl Range {
    /// Alerts on more than this, and on less than 0.
    pub const fn up_to(end: f64) -> Range {
        Range { start: 0.0, end, is_inside: false }
    }

    /// Whether this value raises an alert, and on which side.
    pub fn breach(&self, value: f64) -> Option<Breach> {
        let Range { start, end, is_inside } = *self;
        match (value < start, value > end) {
            (true, _) if !is_inside => Some(Breach::Below),
            (_, true) if !is_inside => Some(Breach::Above),
            (false, false) if is_inside => Some(Breach::Above),
            _ => None,
        }
    }

    /// The same range of whole things, where this one is in percent of so many. `None`: no number of them is between its bounds.
    pub fn of_whole(&self, all: u32) -> Option<Range> {
        let part = |percent: f64| percent * f64::from(all) / 100.0;
        // A product that is whole but for the last bit is whole. Adding 0 makes 0 of -0.
        let whole = |exact: f64, rounded: f64| {
            let nearest = exact.round();
            if (exact - nearest).abs() < 1e-6 { nearest } else { rounded }
        };
        let (start, end) = (part(self.start), part(self.end));
        let (start, end) = (whole(start, start.ceil()) + 0.0, whole(end, end.floor()) + 0.0);
        (start <= end).then_some(Range { start, end, ..*self })
    }
}

impl FromStr for Range {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Range, BadRange> {
        let (is_inside, bounds) = text.strip_prefix('@').map_or((false, text), |bounds| (true, bounds));
        let range = match bounds.split_once(':') {
            None => number(bounds).map(|end| (0.0, end)),
            Some(("", "")) => None,
            Some(("~", "")) => Some((f64::NEG_INFINITY, f64::INFINITY)),
            Some(("~", end)) => number(end).map(|end| (f64::NEG_INFINITY, end)),
            Some(("", end)) => number(end).map(|end| (0.0, end)),
            Some((start, "")) => number(start).map(|start| (start, f64::INFINITY)),
            Some((start, end)) => number(start).zip(number(end)),
        };
        match range.ok_or(BadRange::Form)? {
            (start, end) if start <= end => Ok(Range { start, end, is_inside }),
            _ => Err(BadRange::Reversed),
        }
    }
}

/// Digits with at most one sign before them and one point between: no infinity, no exponent.
fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.ends_with(|last: char| last.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_plain.then(|| text.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

/// As the guidelines write it, the shortest way.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end, is_inside } = self;
        f.write_str(if *is_inside { "@" } else { "" })?;
        match (*start, *end) {
            (f64::NEG_INFINITY, f64::INFINITY) => f.write_str("~:"),
            (f64::NEG_INFINITY, end) => write!(f, "~:{end}"),
            (start, f64::INFINITY) => write!(f, "{start}:"),
            (0.0, end) => write!(f, "{end}"),
            (start, end) => write!(f, "{start}:{end}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Breach::{Above, Below};

    fn range(text: &str) -> Range {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_range_alerts_as_the_guidelines_say() {
        for (text, values) in [
            (
                "10",
                &[(-0.1, Some(Below)), (0.0, None), (10.0, None), (10.1, Some(Above)), (f64::INFINITY, Some(Above))][..],
            ),
            ("10:", &[(9.9, Some(Below)), (10.0, None), (1e9, None), (f64::INFINITY, None)]),
            ("~:10", &[(-1e9, None), (10.0, None), (10.1, Some(Above))]),
            ("10:20", &[(9.9, Some(Below)), (10.0, None), (20.0, None), (20.1, Some(Above))]),
            ("@10:20", &[(9.9, None), (10.0, Some(Above)), (20.0, Some(Above)), (20.1, None)]),
            ("@10", &[(-0.1, None), (0.0, Some(Above)), (10.0, Some(Above)), (10.1, None)]),
            ("-5:-1.5", &[(-5.1, Some(Below)), (-5.0, None), (-1.5, None), (0.0, Some(Above))]),
            ("~:", &[(-1e9, None), (1e9, None)]),
            ("0:0", &[(0.0, None), (0.1, Some(Above))]),
        ] {
            for &(value, breach) in values {
                assert_eq!(range(text).breach(value), breach, "{value} by {text}");
            }
        }
    }

    #[test]
    fn a_range_is_written_as_it_is_read() {
        for text in ["10", "10:", "~:10", "10:20", "@10:20", "@10", "-5:-1.5", "~:", "0:", "33.3", "0"] {
            assert_eq!(range(text).to_string(), text);
        }
        for (text, shortest) in [("0:10", "10"), (":10", "10"), ("@0:10", "@10"), ("007", "7"), ("10.0:20", "10:20")] {
            assert_eq!(range(text).to_string(), shortest);
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "", "@", ":", "@:", "~", "@~", "x", "10%", "50 ", " 50", "1e3", "inf", "nan", "+5", "--5", "-", ".", "5.",
            ".5", "1.2.3", "10:20:30", "10-20", "10:~", "~10", "@@10", "10:@20", "1,5", "0x10", "٣", "10\n",
        ] {
            assert_eq!(text.parse::<Range>(), Err(BadRange::Form), "{text}");
        }
        assert_eq!(format!("{}1", "9".repeat(400)).parse::<Range>(), Err(BadRange::Form));
        for text in ["20:10", "@20:10", "-1", ":-1", "0.2:0.1"] {
            assert_eq!(text.parse::<Range>(), Err(BadRange::Reversed), "{text}");
        }
    }

    #[test]
    fn percents_of_a_limit_alert_on_the_same_whole_numbers() {
        for (percent, all, whole) in [
            ("50", 5, "2"),
            ("29", 100, "29"),
            ("33.3", 1000, "333"),
            ("10:", 5, "1:"),
            ("~:10", 5, "~:0"),
            ("10:20", 30, "3:6"),
            ("@10:20", 30, "@3:6"),
            ("-5:50", 10, "5"),
            ("100", u32::MAX, "4294967295"),
            ("50", 0, "0"),
        ] {
            assert_eq!(
                range(percent).of_whole(all).map(|range| range.to_string()).as_deref(),
                Some(whole),
                "{percent}"
            );
        }
        assert_eq!(range("@11:15").of_whole(5), None);
        for text in ["10", "10:", "~:10", "10:20", "@10:20", "12.5:33.3"] {
            for all in 1..200 {
                let (percent, whole) = (range(text), range(text).of_whole(all));
                for queued in 0..=all + 1 {
                    let by_percent = percent.breach(f64::from(queued) * 100.0 / f64::from(all));
                    let by_whole = whole.map(|whole| whole.breach(queued.into()));
                    assert!(by_whole.is_none_or(|breach| breach == by_percent), "{queued} of {all} by {text}");
                }
            }
        }
    }
}
