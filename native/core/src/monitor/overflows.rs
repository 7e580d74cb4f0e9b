//! Reads the depths of all watches that are due, and asks the counters of their network namespaces which drops were overflows.
//!
//! Almost always nothing was dropped, and no counter has anything to say: such a reading is taken in at once, while what is known of its
//! listener is still in the processor's cache.

use std::collections::HashMap;
use std::sync::Arc;

use crate::linux::counters;
use crate::linux::sockopt::SocketNamespace;
use crate::monitor::watch::{Taken, Watch};
use crate::rules::detector::Time;
use crate::rules::history::DepthReading;
use crate::rules::overflows::{Dropped, Overflows};
use crate::{Depth, Error, Members};

/// The overflows of each network namespace that has a watched listener.
pub(super) struct Namespaces {
    own: Overflows,
    others: HashMap<SocketNamespace, Overflows>,
}

/// A listener that has dropped something, and may have for want of room.
struct Dropping<'a> {
    watch: &'a Watch,
    depths: Members<Depth>,
    dropped: Dropped,
}

impl Namespaces {
    /// The counter is read before anything is watched, so that there is something to compare with.
    pub(super) fn new() -> Namespaces {
        let mut own = Overflows::default();
        own.attribute(&[], true, || counters::listen_overflows().ok()?);
        own.have_risen(|| counters::listen_overflows().ok()?);
        Namespaces { own, others: HashMap::new() }
    }

    /// A reading of each. The counter is read where something was dropped, and where a census is due: one file a namespace.
    pub(super) fn read<'a>(
        &mut self,
        watches: impl Iterator<Item = &'a Watch>,
        at: Time,
        mut add: impl FnMut(&'a Watch, Result<DepthReading, Error>),
    ) {
        let mut dropping: HashMap<_, Vec<Dropping>> = HashMap::new();
        let mut due: HashMap<_, &Watch> = HashMap::new();
        for watch in watches {
            let namespace = watch.namespace();
            match watch.read_unless_dropped(at, self.of(namespace).counted()) {
                Ok(Taken::Whole(reading)) => {
                    if reading.wants_census {
                        due.insert(namespace, watch);
                    }
                    add(watch, Ok(reading));
                }
                Ok(Taken::Dropped(depths, dropped)) => {
                    due.insert(namespace, watch);
                    dropping.entry(namespace).or_default().push(Dropping { watch, depths, dropped });
                }
                Err(error) => add(watch, Err(error)),
            }
        }
        for (namespace, one) in due {
            let dropping = dropping.remove(&namespace).unwrap_or_default();
            let dropped: Vec<_> = dropping.iter().map(|dropping| dropping.dropped).collect();
            let overflowed = self.of(namespace).attribute(&dropped, true, || one.listen_overflows());
            for (Dropping { watch, depths, .. }, overflowed) in dropping.into_iter().zip(overflowed) {
                add(watch, Ok(watch.take_in(at, &depths, overflowed)));
            }
        }
    }

    /// Of these watches, which are not read, those whose queue may have overflowed since this was last asked.
    pub(super) fn that_may_have_overflowed<'a>(&mut self, waited: &'a [Arc<Watch>]) -> Vec<&'a Watch> {
        let mut risen: HashMap<Option<SocketNamespace>, bool> = HashMap::new();
        let mut may_have = |watch: &&Watch| {
            let namespace = watch.namespace();
            let read = || self.of(namespace).have_risen(|| watch.listen_overflows()).unwrap_or(true);
            *risen.entry(namespace).or_insert_with(read)
        };
        waited.iter().map(|watch| &**watch).filter(|watch| watch.may_drop() && may_have(watch)).collect()
    }

    fn of(&mut self, namespace: Option<SocketNamespace>) -> &mut Overflows {
        match namespace {
            None => &mut self.own,
            Some(namespace) => self.others.entry(namespace).or_default(),
        }
    }
}
