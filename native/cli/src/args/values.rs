//! Values with a unit: durations, sizes, shares, each with its bounds. A refusal is a sentence.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 250ms, 5s, 1m30s.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("a time has a number and a unit, as 100ms, 5s or 1m30s, and is not 0".to_owned()),
    }
}

/// Between two readings.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if (Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&time) => Ok(time),
        _ => Err("a reading is taken every 10ms to 1h".to_owned()),
    }
}

/// The detector treats samples further apart than this as separated by a suspend.
pub(super) fn check_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_millis(10)..=Duration::from_millis(500);
    allowed.contains(&interval).then_some(interval).ok_or_else(|| "the interval of check is 10ms to 500ms".to_owned())
}

pub(super) fn diagnose_window(text: &str) -> Result<Duration, String> {
    let window = duration(text)?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(600);
    allowed.contains(&window).then_some(window).ok_or_else(|| "the duration of diagnose is 100ms to 10m".to_owned())
}

/// 50%, in percent.
pub(super) fn share(text: &str) -> Result<u8, String> {
    let percent = text.strip_suffix('%').and_then(|percent| percent.parse::<u8>().ok());
    percent
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| "a share is 1% to 100%, in whole percents".to_owned())
}

/// A time of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Milliseconds since the epoch.
    At(u64),
    /// Milliseconds before the end of the recording.
    BeforeEnd(u64),
}

/// 2026-11-24T18:50:00Z, or -2h.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    let before = text.strip_prefix('-').and_then(|text| humantime::parse_duration(text).ok());
    let moment = match before {
        Some(before) => u64::try_from(before.as_millis()).ok().map(Moment::BeforeEnd),
        None => rfc3339_ms(text).map(Moment::At),
    };
    moment.ok_or_else(|| {
        "a time is as 2026-11-24T18:50:00Z or 2026-11-24T19:50:00+01:00, or as -2h, which is before the end of the \
         recording"
            .to_owned()
    })
}

fn rfc3339_ms(text: &str) -> Option<u64> {
    let (date, time) = text.split_at_checked(text.find(['T', 't', ' '])? + 1)?;
    let (time, ahead_minutes) = match time.find(['+', '-']) {
        Some(at) => (&time[..at], Some(ahead(&time[at..])?)),
        None => (time, None),
    };
    let date = date.trim_end_matches(['T', 't', ' ']);
    let time = match time.strip_suffix(['Z', 'z']) {
        Some(_) if ahead_minutes.is_some() => return None,
        Some(time) => time,
        None => time,
    };
    let time: SystemTime = humantime::parse_rfc3339_weak(&format!("{date}T{time}Z")).ok()?;
    let ms = i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    u64::try_from(ms - ahead_minutes.unwrap_or(0) * 60_000).ok()
}

/// +01:00, in minutes.
fn ahead(text: &str) -> Option<i64> {
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let two = |digits: &str, most: i64| {
        let number = digits.parse().ok().filter(|number| (0..=most).contains(number))?;
        (digits.len() == 2 && digits.chars().all(|digit| digit.is_ascii_digit())).then_some(number)
    };
    let minutes = two(hours, 23)? * 60 + two(minutes, 59)?;
    Some(if sign == "-" { -minutes } else { minutes })
}

pub(super) fn node(text: &str) -> Result<String, String> {
    let is_name = !text.trim().is_empty();
    is_name
        .then(|| text.to_owned())
        .ok_or_else(|| "a name is that of a node, as shop or shop@host, and is not empty".to_owned())
}

/// As in a Host header, without its port. No address: those are answered to anyway.
pub(super) fn host(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        !label.is_empty() && label.chars().all(|char| char.is_ascii_alphanumeric() || ['-', '_'].contains(&char))
    };
    match text.strip_suffix('.').unwrap_or(text).split('.').all(is_label) {
        true => Ok(text.to_owned()),
        false => {
            Err("a host is a name without a port, as metrics.example.org; one that is not ASCII as xn--...".to_owned())
        }
    }
}

/// An address and a port; a name is looked up later.
pub(super) fn listen(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    port.map(|_| text.to_owned()).ok_or_else(|| {
        "an address and a port, as 127.0.0.1:9700, [::1]:9700, localhost:9700 or :9700 for every address".to_owned()
    })
}

/// 64MiB, in bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "a size has a number and KiB, MiB or GiB, as 64MiB, and is not 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_utc_or_says_how_far_ahead_or_is_before_the_end() {
        const AT: u64 = 1_795_546_200_000;
        for (text, expected) in [
            ("2026-11-24T18:50:00Z", Some(Moment::At(AT))),
            ("2026-11-24 18:50:00", Some(Moment::At(AT))),
            ("2026-11-24T18:50:00.250Z", Some(Moment::At(AT + 250))),
            ("2026-11-24T19:50:00+01:00", Some(Moment::At(AT))),
            ("2026-11-24T13:20:00-05:30", Some(Moment::At(AT))),
            ("-2h", Some(Moment::BeforeEnd(7_200_000))),
            ("-1h 30m", Some(Moment::BeforeEnd(5_400_000))),
            ("-0s", Some(Moment::BeforeEnd(0))),
            ("2h", None),
            ("2026-11-24", None),
            ("2026-13-24T18:50:00Z", None),
            ("2026-11-24T18:50:00+1:00", None),
            ("2026-11-24T18:50:00++1:00", None),
            ("2026-11-24T18:50:00Z+01:00", None),
            ("1970-01-01T00:00:00+01:00", None),
            ("-99999999999999999999h", None),
            ("T", None),
            ("ü", None),
            ("", None),
        ] {
            assert_eq!(moment(text).ok(), expected, "{text}");
        }
    }
}
