//! How many requests a second the program answers. Pure.

use std::time::Duration;

/// At most [`IN_A_SPAN`] requests in each span of time.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    span: u64,
    requests: u32,
}

const SPAN_MS: u64 = 10;
const IN_A_SPAN: u32 = 200;

impl RateLimit {
    /// How long to wait before this request is answered.
    pub(crate) fn wait(&mut self, now: Duration) -> Duration {
        let span = now.as_millis() as u64 / SPAN_MS;
        if span > self.span {
            *self = RateLimit { span, requests: 0 };
        }
        self.requests += 1;
        if self.requests <= IN_A_SPAN {
            return Duration::ZERO;
        }
        *self = RateLimit { span: self.span + 1, requests: 1 };
        Duration::from_millis(self.span * SPAN_MS).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_answered_at_twenty_thousand_a_second() {
        let mut limit = RateLimit::default();
        let mut now = Duration::from_secs(5);
        for _ in 0..10_000 {
            now += limit.wait(now);
        }
        let took = (now - Duration::from_secs(5)).as_millis();
        assert!((480..=500).contains(&took), "{took} ms");
    }

    #[test]
    fn one_request_a_millisecond_never_waits() {
        let mut limit = RateLimit::default();
        assert!((0..100_000).all(|ms| limit.wait(Duration::from_millis(ms)) == Duration::ZERO));
    }
}
