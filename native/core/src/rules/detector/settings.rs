//! When a condition holds, as configured.

use std::time::Duration;

/// When a condition holds. The defaults stand here and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How often to read the depth of the queue.
    pub interval: Duration,
    /// `behind`: the head of the queue has waited longer than this ...
    pub max_wait: Duration,
    /// ... throughout this time. A queue that is full throughout it is `overflowing`.
    pub hold_for: Duration,
    /// `stuck`: connections wait, and none was accepted for this long.
    pub stuck: Duration,
    /// `abandoned`: this part of the queued has left ...
    pub abandoned_ratio: f64,
    /// ... and at least so many.
    pub abandoned_min: u32,
    /// `leaking`: more accepted sockets than this in CLOSE_WAIT.
    pub close_wait_max: u32,
    /// A condition is cleared after it has been absent for this long.
    pub clear: Duration,
    /// How often to take a census when nothing is suspicious: in each stretch of this length by the clock.
    pub census: Duration,
    /// How often a reading that changed nothing is a sample, for those who draw it.
    pub sample: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            interval: Duration::from_millis(100),
            max_wait: Duration::from_millis(100),
            hold_for: Duration::from_millis(1000),
            stuck: Duration::from_millis(5000),
            abandoned_ratio: 0.5,
            abandoned_min: 5,
            close_wait_max: 1000,
            clear: Duration::from_millis(5000),
            census: Duration::from_millis(5000),
            sample: Duration::from_millis(1000),
        }
    }
}

impl Settings {
    /// Whether so many of the queued have left that the rest is hardly worth it.
    pub fn is_abandoned(&self, queued: u32, left: u32) -> bool {
        left >= self.abandoned_min && f64::from(left) >= f64::from(queued) * self.abandoned_ratio
    }

    /// Whether too many accepted sockets are in CLOSE_WAIT.
    pub fn is_leaking(&self, close_wait: u32) -> bool {
        close_wait > self.close_wait_max
    }
}
