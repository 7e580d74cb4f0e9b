//! The watchdog: when the heartbeats of the VM stay away it writes down what can be seen, and tells the VM when it is back.
//!
//! Threads of its own, so that it works while the desk is busy: the reader hands it the heartbeats, one waits for them, one
//! samples the queues, and one for each hang looks and writes. A disk that does not answer holds up the last alone.

mod evidence;
mod samples;
mod store;
mod story;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use accept_queue_core::linux::counters;
use accept_queue_core::rules::heartbeat::{HangSettings, Heartbeat, Step};

use super::outbox::Outbox;
use super::words::{atom, tuple};
use crate::args::WatchdogOptions;
use crate::findings::Diagnosis;
use evidence::Evidence;
use samples::Samples;
use store::Store;
pub(crate) use story::{Finding, Hung};
use story::{Recorded, Story};

/// Where the reader puts a heartbeat.
#[derive(Debug, Clone)]
pub(crate) struct Beats(SyncSender<Message>);

impl Beats {
    /// Never waits: where one is still there, this one says nothing new.
    pub(crate) fn beat(&self) {
        let _ = self.0.try_send(Message::Beat);
    }
}

#[derive(Debug)]
enum Message {
    Beat,
    Recorded(Recorded),
}

/// A hang is noticed that much late.
const TICK: Duration = Duration::from_millis(100);

struct Watchdog {
    vm: i32,
    settings: HangSettings,
    store: Store,
    samples: Samples,
    outbox: Outbox,
    recorders: SyncSender<Message>,
    story: Story,
    /// To whoever looks at a VM that may be about to hang: that it does. Dropped where it does not.
    looking: Option<Sender<Silence>>,
}

pub(crate) fn start(vm: i32, options: &WatchdogOptions, outbox: Outbox) -> io::Result<Beats> {
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
        recorders: messages.clone(),
        story: Story::default(),
        looking: None,
    };
    thread::Builder::new().name("watchdog".into()).spawn(move || watchdog.run(&inbox))?;
    Ok(Beats(messages))
}

impl Watchdog {
    fn run(&mut self, inbox: &Receiver<Message>) {
        self.prepare();
        let begun = Instant::now();
        let mut heartbeat = Heartbeat::new(self.settings, begun.elapsed());
        loop {
            let step = match inbox.recv_timeout(TICK) {
                Ok(Message::Beat) => heartbeat.beat(begun.elapsed()),
                Ok(Message::Recorded(recorded)) => {
                    let hung = self.story.recorded(recorded);
                    self.tell(hung);
                    None
                }
                Err(RecvTimeoutError::Timeout) => heartbeat.tick(begun.elapsed()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match step {
                None => {}
                Some(Step::Examine) => self.look(),
                Some(Step::Dismiss) => self.looking = None,
                Some(Step::Hung { silent }) => self.hung(silent),
                Some(Step::Back { silent }) => {
                    let hung = self.story.back(silent);
                    self.tell(hung);
                }
            }
        }
    }

    /// Whoever can mend it should hear of it now, and not when it is needed. A disk may not answer.
    fn prepare(&self) {
        let (store, outbox) = (self.store.clone(), self.outbox.clone());
        let prepared = thread::Builder::new().name("store".into()).spawn(move || {
            if let Err(sentence) = store.prepare() {
                outbox.event("watchdog", &sentence);
            }
        });
        if let Err(error) = prepared {
            self.outbox.event("watchdog", &format!("no thread can be had: {error}"));
        }
    }

    fn look(&mut self) {
        if let Err(hung) = self.story.may_look() {
            return self.tell(hung);
        }
        let (hangs, verdict) = channel();
        let recorder = Recorder {
            vm: self.vm,
            hang: self.story.hang(),
            settings: self.settings,
            store: self.store.clone(),
            samples: self.samples.clone(),
            tell: self.recorders.clone(),
        };
        let recording = thread::Builder::new().name("recorder".into()).spawn(move || recorder.record(&verdict));
        self.looking = recording.is_ok().then_some(hangs);
    }

    fn hung(&mut self, silent: Duration) {
        let silence = Silence { lasted: silent, at: Instant::now() };
        if self.looking.take().is_some_and(|looking| looking.send(silence).is_ok()) {
            self.story.is_being_written();
        } else {
            self.story.is_lost();
        }
    }

    fn tell(&self, hung: Option<Hung>) {
        if let Some(hung) = hung {
            // Without room it is lost, as a reply would be; the file is there.
            self.outbox.put(&tuple([atom("event"), atom("hung"), hung.into()]));
        }
    }
}

/// How long it had lasted then.
struct Silence {
    lasted: Duration,
    at: Instant,
}

/// CensusScope at one VM that may be about to hang, and writes down what it saw if it does.
struct Recorder {
    vm: i32,
    hang: u64,
    settings: HangSettings,
    store: Store,
    samples: Samples,
    tell: SyncSender<Message>,
}

impl Recorder {
    fn record(self, verdict: &Receiver<Silence>) {
        let Recorder { vm, hang, settings, store, samples, tell } = self;
        let diagnosis = Diagnosis::of(vm, settings.window());
        let Ok(silence) = verdict.recv() else { return };
        let silent = silence.lasted + silence.at.elapsed();
        let evidence = Evidence {
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
            diagnosis.findings.into_iter().next().map(|first| Finding { id: first.id, text: first.text })
        });
        // Without the watchdog there is nobody to be told.
        let _ = tell.send(Message::Recorded(Recorded { hang, file, finding }));
    }
}
