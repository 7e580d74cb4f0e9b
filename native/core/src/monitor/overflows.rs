//! Reads the depths of all watches that are due, and asks the counters of their network namespaces which drops were overflows.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Error;
use crate::linux::counters;
use crate::linux::sockopt::SocketNamespace;
use crate::monitor::watch::Watch;
use crate::rules::detector::Time;
use crate::rules::history::DepthReading;
use crate::rules::overflows::{Dropped, Overflowed, Overflows};

/// The overflows of each network namespace that has a watched listener; almost always this process's own alone, `None`.
pub(super) struct Namespaces(HashMap<Option<SocketNamespace>, Overflows>);

impl Namespaces {
    /// The counter is read before anything is watched, so that there is something to compare with.
    pub(super) fn new() -> Namespaces {
        let mut own = Overflows::default();
        own.attribute(&[], true, || counters::listen_overflows().ok()?);
        own.have_risen(|| counters::listen_overflows().ok()?);
        Namespaces(HashMap::from([(None, own)]))
    }

    /// A reading of each. The counter is read where something was dropped, and where a census is due: one file a namespace.
    pub(super) fn read(&mut self, watches: &[Arc<Watch>], at: Time) -> Vec<Result<DepthReading, Error>> {
        let depths: Vec<_> = watches.iter().map(|watch| watch.depths()).collect();
        let dropped: Vec<_> = watches
            .iter()
            .zip(&depths)
            .map(|(watch, depths)| depths.as_ref().map_or_else(|_| <_>::default(), |depths| watch.dropped(depths, at)))
            .collect();
        let overflowed = self.overflowed(watches, &dropped);
        let read = watches.iter().zip(depths).zip(overflowed);
        read.map(|((watch, depths), overflowed)| Ok(watch.take_in(at, &depths?, overflowed))).collect()
    }

    /// Of these watches, which are not read, those whose queue may have overflowed since this was last asked.
    pub(super) fn that_may_have_overflowed<'a>(&mut self, waited: &'a [Arc<Watch>]) -> Vec<&'a Watch> {
        let mut risen: HashMap<Option<SocketNamespace>, bool> = HashMap::new();
        let mut may_have = |watch: &&Watch| {
            let namespace = watch.namespace();
            let read = || self.0.entry(namespace).or_default().have_risen(|| watch.listen_overflows()).unwrap_or(true);
            *risen.entry(namespace).or_insert_with(read)
        };
        waited.iter().map(|watch| &**watch).filter(|watch| watch.may_drop() && may_have(watch)).collect()
    }

    fn overflowed(&mut self, watches: &[Arc<Watch>], dropped: &[(Dropped, bool)]) -> Vec<Overflowed> {
        let Some(first) = watches.first() else { return Vec::new() };
        if watches.iter().all(|watch| watch.namespace() == first.namespace()) {
            return self.of_one(first, dropped);
        }
        let mut by_namespace: HashMap<_, Vec<usize>> = HashMap::new();
        for (index, watch) in watches.iter().enumerate() {
            by_namespace.entry(watch.namespace()).or_default().push(index);
        }
        let mut overflowed = vec![Overflowed::default(); watches.len()];
        for indices in by_namespace.values() {
            let dropped: Vec<_> = indices.iter().map(|&index| dropped[index]).collect();
            for (&index, one) in indices.iter().zip(self.of_one(&watches[indices[0]], &dropped)) {
                overflowed[index] = one;
            }
        }
        overflowed
    }

    fn of_one(&mut self, one: &Watch, dropped: &[(Dropped, bool)]) -> Vec<Overflowed> {
        let (dropped, is_due): (Vec<_>, Vec<_>) = dropped.iter().copied().unzip();
        let overflows = self.0.entry(one.namespace()).or_default();
        overflows.attribute(&dropped, is_due.contains(&true), || one.listen_overflows())
    }
}
