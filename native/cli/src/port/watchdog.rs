//! The watchdog: when the heartbeats of the VM are missing, it writes an evidence file, and publishes the event `hung` when the VM
//! is back.
//!
//! It works while a command runs, on threads of its own: the reader of frames passes the heartbeats on, one thread waits for them,
//! one samples the queues, and one a hang examines the VM and writes. A disk that does not answer blocks that last thread only.

mod evidence;
mod hang_event;
mod samples;
mod store;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use accept_queue_core::linux::counters;
use accept_queue_core::rules::heartbeat::{HangSettings, Heartbeat, Step};

use super::outbox::Outbox;
use super::term::{atom, tuple};
use crate::args::WatchdogOptions;
use crate::findings::Diagnosis;
use evidence::HangEvidence;
use hang_event::{HangEvent, Hung, StrongestFinding, Written};
use samples::Samples;
pub(crate) use store::MOST_BYTES;
use store::Store;

/// Where the reader of frames puts a heartbeat.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeats(SyncSender<Message>);

impl Heartbeats {
    /// Never blocks: where an earlier one still waits, this one adds nothing.
    pub(crate) fn put(&self) {
        let _ = self.0.try_send(Message::Heartbeat);
    }
}

#[derive(Debug)]
enum Message {
    Heartbeat,
    Written(Written),
}

/// A hang is noticed at most this much late.
const INTERVAL: Duration = Duration::from_millis(100);

struct Watchdog {
    vm: i32,
    settings: HangSettings,
    store: Store,
    samples: Samples,
    outbox: Outbox,
    messages: SyncSender<Message>,
    hang: HangEvent,
    /// To the thread that examines a VM that may be about to hang: that it does hang. Dropped where it does not.
    examining: Option<Sender<Silence>>,
}

pub(crate) fn start(vm: i32, options: &WatchdogOptions, outbox: Outbox) -> io::Result<Heartbeats> {
    let settings = HangSettings {
        heartbeat: Duration::from_millis(options.heartbeat_ms),
        hang_after: Duration::from_millis(options.hang_after_ms),
    };
    let (messages, inbox) = sync_channel(4);
    let mut watchdog = Watchdog {
        vm,
        settings,
        store: Store::new(options.directory.clone(), options.keep),
        samples: Samples::follow(vm)?,
        outbox,
        messages: messages.clone(),
        hang: HangEvent::default(),
        examining: None,
    };
    thread::Builder::new().name("watchdog".into()).spawn(move || watchdog.run(&inbox))?;
    Ok(Heartbeats(messages))
}

impl Watchdog {
    fn run(&mut self, inbox: &Receiver<Message>) {
        self.prepare();
        let begun = Instant::now();
        let mut heartbeat = Heartbeat::new(self.settings, begun.elapsed());
        loop {
            let step = match inbox.recv_timeout(INTERVAL) {
                Ok(Message::Heartbeat) => heartbeat.beat(begun.elapsed()),
                Ok(Message::Written(written)) => {
                    let hung = self.hang.written(written);
                    self.publish(hung);
                    None
                }
                Err(RecvTimeoutError::Timeout) => heartbeat.tick(begun.elapsed()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match step {
                None => {}
                Some(Step::Examine) => self.examine(),
                Some(Step::Dismiss) => self.examining = None,
                Some(Step::Hung { silent }) => self.hung(silent),
                Some(Step::Back { silent }) => {
                    let hung = self.hang.back(silent);
                    self.publish(hung);
                }
            }
        }
    }

    /// An unusable folder is reported at the start, while it can be fixed. On a thread, for a disk may not answer.
    fn prepare(&self) {
        let (store, outbox) = (self.store.clone(), self.outbox.clone());
        let prepared = thread::Builder::new().name("store".into()).spawn(move || {
            if let Err(sentence) = store.prepare() {
                outbox.event("watchdog", &sentence);
            }
        });
        if let Err(error) = prepared {
            self.outbox.event("watchdog", &format!("a thread could not be started: {error}"));
        }
    }

    fn examine(&mut self) {
        if let Err(hung) = self.hang.may_examine() {
            return self.publish(hung);
        }
        let (hangs, verdict) = channel();
        let examiner = Examiner {
            vm: self.vm,
            hang: self.hang.number(),
            settings: self.settings,
            store: self.store.clone(),
            samples: self.samples.clone(),
            watchdog: self.messages.clone(),
        };
        let started = thread::Builder::new().name("examiner".into()).spawn(move || examiner.run(&verdict));
        self.examining = started.is_ok().then_some(hangs);
    }

    fn hung(&mut self, silent: Duration) {
        let silence = Silence { lasted: silent, at: Instant::now() };
        if self.examining.take().is_some_and(|examining| examining.send(silence).is_ok()) {
            self.hang.writing();
        } else {
            self.hang.not_written();
        }
    }

    fn publish(&self, hung: Option<Hung>) {
        if let Some(hung) = hung {
            // Without room it is dropped, as a reply is; the file is there.
            self.outbox.put(&tuple([atom("event"), atom("hung"), hung.into()]));
        }
    }
}

/// How long it had lasted at that time.
struct Silence {
    lasted: Duration,
    at: Instant,
}

/// Examines one VM that may be about to hang, and writes the evidence if it does hang.
struct Examiner {
    vm: i32,
    hang: u64,
    settings: HangSettings,
    store: Store,
    samples: Samples,
    watchdog: SyncSender<Message>,
}

impl Examiner {
    fn run(self, verdict: &Receiver<Silence>) {
        let Examiner { vm, hang, settings, store, samples, watchdog } = self;
        let diagnosis = Diagnosis::of(vm, settings.window());
        let Ok(silence) = verdict.recv() else { return };
        let silent = silence.lasted + silence.at.elapsed();
        let evidence = HangEvidence {
            pid: vm,
            settings,
            silent,
            at: SystemTime::now(),
            diagnosis: diagnosis.map(|diagnosis| diagnosis.of_silent(silent)),
            kernel: counters::of(vm),
            samples: samples.all(),
        };
        let file = evidence.document().and_then(|document| store.write(evidence.at, vm, &document, &evidence.page()));
        let finding = evidence.diagnosis.ok().and_then(|diagnosis| {
            let strongest = diagnosis.findings.into_iter().next();
            strongest.map(|found| StrongestFinding { id: found.id, text: found.text })
        });
        // The watchdog may have ended.
        let _ = watchdog.send(Message::Written(Written { hang, file, finding }));
    }
}
