//! Reads the depths of all watches that are due, and asks the counters of their network namespaces which drops were overflows.
//!
//! Almost always nothing was dropped, and no counter has anything to say: such a reading is taken in at once, while what is known of its
//! listener is still in the processor's cache.

use std::collections::HashMap;
use std::sync::Arc;

use crate::linux::counters::KeptCounters;
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
    kept: KeptCounters,
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
        let (mut own, mut kept) = (Overflows::default(), KeptCounters::default());
        own.attribute(&[], true, || kept.listen_overflows().ok()?);
        own.have_risen(|| kept.listen_overflows().ok()?);
        Namespaces { own, others: HashMap::new(), kept }
    }

    /// A reading of each. The counter is read where something was dropped, and where a census is due: one file a namespace. Where a census is
    /// due and a connection waits, it is looked at once more behind the others: one that had just come is accepted by then, and a look costs
    /// a thousandth of a walk over all connections.
    pub(super) fn read<'a>(
        &mut self,
        watches: impl Iterator<Item = &'a Watch>,
        at: Time,
        mut add: impl FnMut(&'a Watch, Result<DepthReading, Error>),
    ) {
        let mut dropping: HashMap<_, Vec<Dropping>> = HashMap::new();
        let mut due: HashMap<_, &Watch> = HashMap::new();
        let mut occupied = Vec::new();
        for watch in watches {
            let namespace = watch.namespace();
            match watch.read_unless_dropped(at, self.of(namespace).0.counted()) {
                Ok(Taken::Whole(reading)) if reading.wants_census && reading.depth.queued > 0 => {
                    occupied.push((watch, reading));
                }
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
        for (watch, first) in occupied {
            let namespace = watch.namespace();
            let emptied = watch.read_if_empty(at, self.of(namespace).0.counted());
            if emptied.as_ref().unwrap_or(&first).wants_census {
                due.insert(namespace, watch);
            }
            add(watch, Ok(DepthReading { wants_census: emptied.is_none(), ..first }));
            if let Some(second) = emptied {
                add(watch, Ok(second));
            }
        }
        for (namespace, one) in due {
            let dropping = dropping.remove(&namespace).unwrap_or_default();
            let dropped: Vec<_> = dropping.iter().map(|dropping| dropping.dropped).collect();
            let (overflows, kept) = self.of(namespace);
            let overflowed = overflows.attribute(&dropped, true, || one.listen_overflows(kept));
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
            let read = || {
                let (overflows, kept) = self.of(namespace);
                overflows.have_risen(|| watch.listen_overflows(kept)).unwrap_or(true)
            };
            *risen.entry(namespace).or_insert_with(read)
        };
        waited.iter().map(|watch| &**watch).filter(|watch| watch.may_drop() && may_have(watch)).collect()
    }

    fn of(&mut self, namespace: Option<SocketNamespace>) -> (&mut Overflows, &mut KeptCounters) {
        let overflows = match namespace {
            None => &mut self.own,
            Some(namespace) => self.others.entry(namespace).or_default(),
        };
        (overflows, &mut self.kept)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use super::*;
    use crate::Listener;
    use crate::monitor::kept::Kept;
    use crate::monitor::watch;
    use crate::rules::detector::Settings;

    #[test]
    fn no_census_is_taken_for_a_connection_that_is_accepted_while_the_others_are_read() {
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a listener");
        let (server, other) = (bind(), bind());
        let begun = Time::from_secs(100);
        let watch = |id, socket: &TcpListener| {
            let listener = Listener::open(socket.as_raw_fd()).expect("it listens");
            Watch::new(id, listener.into(), Settings::default(), begun)
        };
        let (first, last) = (watch(1, &server), watch(2, &other));
        let connect = || TcpStream::connect(server.local_addr().expect("an address")).expect("a client");
        let mut namespaces = Namespaces::new();
        // How deep it was at each reading, and whether it wants a census.
        let mut read = |ms, between: &dyn Fn()| {
            let at = begun + Duration::from_millis(ms);
            let mut readings = Vec::new();
            let watches = [&first, &last].into_iter().inspect(|watch| {
                if watch.id() == last.id() {
                    between();
                }
            });
            namespaces.read(watches, at, |watch, reading| {
                let reading = reading.expect("a reading");
                if watch.id() == first.id() {
                    readings.push((reading.depth.queued, reading.wants_census));
                }
            });
            if readings.iter().any(|&(_, wants_census)| wants_census) {
                watch::census(&mut Kept::default(), &[&first], at, false).remove(0).expect("a census");
            }
            readings
        };
        let accept = || drop(server.accept().expect("a connection"));
        assert_eq!(read(0, &|| ()), [(0, true)], "the first census");
        let _one = connect();
        assert_eq!(read(100, &|| ()), [(1, false)]);
        assert_eq!(read(300, &accept), [(1, false), (0, false)]);
        let _stays = connect();
        assert_eq!(read(400, &|| ()), [(1, false)]);
        assert_eq!(read(600, &|| ()), [(1, true)]);
    }
}
