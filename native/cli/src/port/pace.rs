//! How often the program lets itself be asked. Pure.

use std::time::Duration;

/// So many in each span of time.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    span: u64,
    asked: u32,
}

const SPAN_MS: u64 = 10;
const IN_A_SPAN: u32 = 200;

impl Pace {
    /// How long to wait before this one is answered.
    pub(crate) fn wait(&mut self, now: Duration) -> Duration {
        let span = now.as_millis() as u64 / SPAN_MS;
        if span > self.span {
            *self = Pace { span, asked: 0 };
        }
        self.asked += 1;
        if self.asked <= IN_A_SPAN {
            return Duration::ZERO;
        }
        *self = Pace { span: self.span + 1, asked: 1 };
        Duration::from_millis(self.span * SPAN_MS).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_answered_at_twenty_thousand_a_second() {
        let mut pace = Pace::default();
        let mut now = Duration::from_secs(5);
        for _ in 0..10_000 {
            now += pace.wait(now);
        }
        let took = (now - Duration::from_secs(5)).as_millis();
        assert!((480..=500).contains(&took), "{took} ms");
    }

    #[test]
    fn whoever_asks_now_and_then_never_waits() {
        let mut pace = Pace::default();
        assert!((0..100_000).all(|ms| pace.wait(Duration::from_millis(ms)) == Duration::ZERO));
    }
}
