//! Values with a unit: durations, sizes, shares, each with its bounds. A refusal is a sentence.

use std::time::Duration;

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
