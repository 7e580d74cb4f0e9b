//! How many connections a network namespace takes, and how many meet a full queue. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use accept_queue_core::rules::detector::Time;

/// The counters of the last seconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic(VecDeque<(Time, Totals)>);

/// Since the namespace was made. `None`: not counted there, or it could not be read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Handshakes that were done (`PassiveOpens`).
    pub(crate) connections: Option<u64>,
    /// Packets that met a full accept queue (`ListenOverflows`).
    pub(crate) overflows: Option<u64>,
}

/// A second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rates {
    pub(crate) connections: Option<f64>,
    pub(crate) overflows: Option<f64>,
}

/// A rate over less than this would jump.
const RATE_OVER: Duration = Duration::from_secs(1);

impl Traffic {
    pub(crate) fn observed(&mut self, at: Time, totals: Totals) {
        self.0.push_back((at, totals));
        // The newest of those that are old enough is what the rate is counted from.
        while self.0.get(1).is_some_and(|&(then, _)| at.saturating_sub(then) >= RATE_OVER) {
            self.0.pop_front();
        }
    }

    /// `None`: neither is counted here. A rate is not known before the second reading.
    pub(crate) fn rates(&self) -> Option<Rates> {
        let (&(then, first), &(now, last)) = (self.0.front()?, self.0.back()?);
        let elapsed = now.saturating_sub(then).as_secs_f64();
        let rate = |first: Option<u64>, last: Option<u64>| {
            let added = last?.checked_sub(first?)?;
            (elapsed > 0.0).then(|| added as f64 / elapsed)
        };
        (last.connections.is_some() || last.overflows.is_some()).then(|| Rates {
            connections: rate(first.connections, last.connections),
            overflows: rate(first.overflows, last.overflows),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_over_the_last_second() {
        let mut traffic = Traffic::default();
        assert_eq!(traffic.rates(), None);
        for (at, connections, expected) in
            [(0, 100, None), (500, 110, Some(20.0)), (1000, 120, Some(20.0)), (2000, 120, Some(0.0)), (2500, 5, None)]
        {
            let totals = Totals { connections: Some(connections), overflows: Some(7) };
            traffic.observed(Duration::from_millis(at), totals);
            assert_eq!(traffic.rates().and_then(|rates| rates.connections), expected, "after {at} ms");
        }
    }

    #[test]
    fn what_is_not_counted_has_no_rate() {
        let mut traffic = Traffic::default();
        traffic.observed(Duration::ZERO, Totals::default());
        assert_eq!(traffic.rates(), None);
        traffic.observed(Duration::from_secs(1), Totals { connections: None, overflows: Some(3) });
        assert_eq!(traffic.rates(), Some(Rates { connections: None, overflows: None }));
    }
}
