//! A figure over time in a bounded number of steps; each keeps its least and its greatest value. Pure.

use serde::{Serialize, Serializer};

/// A recording is drawn in at most this many steps, a long one in at least half as many.
pub(super) const MOST_BINS: u64 = 1200;

/// One figure: a step for each change.
#[derive(Debug, Default)]
pub(super) struct Series(Vec<Bin>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bin {
    index: u64,
    /// Least and greatest, the value at its beginning included; `None`: unknown throughout.
    range: Option<(u64, u64)>,
    /// At its end.
    last: Option<u64>,
}

impl Series {
    /// The value from here on; `None`: unknown. Steps come in order.
    pub(super) fn set(&mut self, index: u64, value: Option<u64>) {
        let before = self.0.last().and_then(|bin| bin.last);
        match self.0.last_mut() {
            Some(bin) if bin.index == index => bin.fold(value.map(|value| (value, value)), value),
            Some(bin) if bin.last == value => {}
            None if value.is_none() => {}
            _ => {
                let mut bin = Bin { index, range: before.map(|before| (before, before)), last: before };
                bin.fold(value.map(|value| (value, value)), value);
                self.0.push(bin);
            }
        }
    }

    pub(super) fn points(&self) -> usize {
        self.0.len()
    }

    /// What was before is not drawn; the value at its end holds from the first step on.
    pub(super) fn begin(&mut self) {
        let last = self.0.last().and_then(|bin| bin.last);
        self.0.clear();
        self.set(0, last);
    }

    /// Joins each two steps.
    pub(super) fn halve(&mut self) {
        for bin in &mut self.0 {
            bin.index /= 2;
        }
        self.0.dedup_by(|later, bin| {
            let is_same = later.index == bin.index;
            if is_same {
                bin.fold(later.range, later.last);
            }
            is_same
        });
    }
}

impl Bin {
    fn fold(&mut self, range: Option<(u64, u64)>, last: Option<u64>) {
        self.range = match (self.range, range) {
            (Some((min, max)), Some((less, more))) => Some((min.min(less), max.max(more))),
            (range, other) => range.or(other),
        };
        self.last = last;
    }
}

/// `[step, value]` where the figure has one value in this step, else `[step, least, greatest, last]`.
impl Serialize for Bin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.range {
            Some((min, max)) if min < max || self.last != Some(max) => {
                (self.index, min, max, self.last).serialize(serializer)
            }
            _ => (self.index, self.last).serialize(serializer),
        }
    }
}

impl Serialize for Series {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// A sum for each step.
#[derive(Debug, Default, Serialize)]
pub(super) struct Sums(Vec<(u64, u64)>);

impl Sums {
    pub(super) fn points(&self) -> usize {
        self.0.len()
    }

    pub(super) fn add(&mut self, index: u64, count: u64) {
        match self.0.last_mut() {
            Some((last, sum)) if *last == index => *sum = sum.saturating_add(count),
            _ if count == 0 => {}
            _ => self.0.push((index, count)),
        }
    }

    pub(super) fn halve(&mut self) {
        for (index, _) in &mut self.0 {
            *index /= 2;
        }
        self.0.dedup_by(|later, sum| {
            let is_same = later.0 == sum.0;
            if is_same {
                sum.1 = sum.1.saturating_add(later.1);
            }
            is_same
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn json(series: &impl Serialize) -> String {
        serde_json::to_string(series).expect("JSON")
    }

    #[test]
    fn a_step_is_written_where_the_figure_changes() {
        let mut series = Series::default();
        for (index, value) in
            [(0, None), (1, Some(5)), (2, Some(5)), (3, Some(9)), (3, Some(2)), (7, None), (7, Some(2)), (9, None)]
        {
            series.set(index, value);
        }
        // In the seventh it was unknown for a part of the step, and then as before.
        assert_eq!(json(&series), "[[1,5],[3,2,9,2],[7,2],[9,2,2,null]]");
    }

    proptest! {
        /// A value is within the range of its step, however often steps were joined.
        #[test]
        fn no_peak_is_lost(
            values in vec((0u64..4, prop::option::weighted(0.9, 0u64..50)), 1..200),
            halvings in vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut series = Series::default();
            let mut sums = Sums::default();
            let halve_at: Vec<_> = halvings.iter().map(|at| at.index(values.len())).collect();
            let (mut time, mut shift, mut values_set) = (0u64, 0, vec![]);
            for (number, (step, value)) in values.into_iter().enumerate() {
                time += step;
                series.set(time >> shift, value);
                sums.add(time >> shift, value.unwrap_or(0));
                values_set.push((time, value));
                for _ in halve_at.iter().filter(|at| **at == number) {
                    series.halve();
                    sums.halve();
                    shift += 1;
                }
            }
            let at = |index: u64| series.0.iter().rev().find(|bin| bin.index <= index).copied();
            for (moment, value) in &values_set {
                let Some(value) = value else { continue };
                let bin = at(moment >> shift).expect("a step");
                let is_within = if bin.index == moment >> shift {
                    bin.range.is_some_and(|(min, max)| (min..=max).contains(value))
                } else {
                    bin.last == Some(*value)
                };
                prop_assert!(is_within, "{value} at {moment}: {bin:?}");
            }
            for bin in &series.0 {
                let extremes = bin.range.map(|(min, max)| [min, max]).into_iter().flatten();
                for extreme in extremes {
                    prop_assert!(values_set.iter().any(|(_, value)| *value == Some(extreme)), "{extreme} was never read");
                }
            }
            prop_assert_eq!(series.0.last().and_then(|bin| bin.last), values_set.last().and_then(|(_, value)| *value));
            prop_assert!(series.0.windows(2).all(|pair| pair[0].index < pair[1].index));
            prop_assert_eq!(sums.0.iter().map(|(_, count)| count).sum::<u64>(), values_set.iter().map(|(_, value)| value.unwrap_or(0)).sum::<u64>());
        }
    }
}
