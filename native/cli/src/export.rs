//! `accept-queue export`: metrics for Prometheus, over HTTP.
//!
//! Between two scrapes the queues are read at an interval, as by `watch`, so that short events are counted. Where a reading costs
//! much, for any user may open listeners by the thousand, the next one is later. A census is taken for a scrape, at most once a second.

mod format;
mod hosts;
mod metrics;
mod negotiation;
mod server;

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use accept_queue_core::Error;
use accept_queue_core::linux::clock::processor_time;
use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::{CensusScope, Observer, Sample};
use accept_queue_core::outside::snapshot::Missing;
use accept_queue_core::rules::detector::{Settings, Time};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use tokio::sync::oneshot;

use crate::args::ExportOptions;
use crate::figures::nothing_read;
use crate::interrupt::on_interrupt;
use crate::pace::Pace;
use format::Format;
use hosts::Hosts;
use metrics::{Exposition, MOST_LISTENERS, Tally};
use negotiation::Form;

/// To the thread that reads.
enum Message {
    Scrape(Form, oneshot::Sender<io::Result<Bytes>>),
    Interrupted,
}

/// The greatest age of a census in a scrape.
const FRESH: Duration = Duration::from_secs(1);

pub(crate) fn run(options: &ExportOptions) -> Result<(), String> {
    let listener = listen(&options.listen)?;
    let at = listener.local_addr().map_err(|error| format!("{}: {error}", options.listen))?;
    let hosts = Hosts::new(&options.hosts, own_names(&options.listen), at.ip());
    let (messages, inbox) = channel();
    let interrupt = messages.clone();
    on_interrupt(move || {
        // The exporter may be ending already.
        let _ = interrupt.send(Message::Interrupted);
    })?;
    let mut exporter = Exporter::new(options)?;
    // A scope that cannot be read is an error before the first scrape.
    exporter.sample(CensusScope::All);
    match (&exporter.last, options.scope.pid) {
        (Ok(_), _) => {}
        (Err(Error::NotFound), Some(pid)) => return Err(format!("there is no process {pid}")),
        (Err(error), _) => return Err(format!("the kernel's sockets could not be read: {error}")),
    }
    thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || server::serve(listener, hosts, messages))
        .map_err(|error| format!("a thread for the server: {error}"))?;
    eprintln!("accept-queue: metrics at http://{at}/metrics");
    exporter.follow(&inbox)
}

fn listen(address: &str) -> Result<TcpListener, String> {
    let shown = address.escape_debug();
    let at = addresses(address).ok_or_else(|| format!("--listen {shown}: there is no such address or name"))?;
    TcpListener::bind(&at[..]).map_err(|error| format!("cannot listen on {shown}: {error}"))
}

/// That of the machine, where it has one, and the one to listen on.
fn own_names(listen: &str) -> impl Iterator<Item = String> {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let listen = listen.rsplit_once(':').map(|(name, _)| name.to_owned());
    machine.map(|name| name.trim_end().to_owned()).into_iter().chain(listen)
}

/// Those to be tried in turn; `None`: it is none.
fn addresses(address: &str) -> Option<Vec<SocketAddr>> {
    if let Some(port) = address.strip_prefix(':') {
        let port = port.parse().ok()?;
        // Without IPv6 the second one.
        return Some(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]);
    }
    let found: Vec<_> = address.to_socket_addrs().ok()?.collect();
    (!found.is_empty()).then_some(found)
}

struct Exporter {
    observer: Observer,
    pace: Pace,
    own: Namespace,
    last: Result<Sample, Error>,
    census_at: Option<Time>,
    tally: Tally,
    /// Of the last sample, in each form in which a scrape has asked for it.
    pages: HashMap<Form, Bytes>,
    has_warned: bool,
    /// What is missing of whole namespaces: said once.
    partial: Vec<Missing>,
    /// Nothing could be read: said when it begins, and when it ends.
    is_blind: bool,
}

impl Exporter {
    fn new(options: &ExportOptions) -> Result<Exporter, String> {
        let settings = Settings { interval: options.interval, ..Settings::default() };
        Ok(Exporter {
            observer: Observer::new(options.scope.scope(), settings),
            pace: Pace::new(options.interval),
            own: Namespace::own().map_err(|error| format!("this process's network namespace: {error}"))?,
            last: Ok(Sample::default()),
            census_at: None,
            tally: Tally::default(),
            pages: HashMap::new(),
            has_warned: false,
            partial: Vec::new(),
            is_blind: false,
        })
    }

    /// Runs until it is interrupted.
    fn follow(&mut self, inbox: &Receiver<Message>) -> Result<(), String> {
        loop {
            match inbox.recv_timeout(self.pace.remaining()) {
                Ok(Message::Scrape(form, answer)) => {
                    // The client may have left.
                    if !answer.is_closed() {
                        let _ = answer.send(self.page(form));
                    }
                }
                Ok(Message::Interrupted) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("the server has ended".to_owned()),
            }
            // Also where the inbox is never empty.
            if self.pace.remaining().is_zero() {
                let before = processor_time();
                self.sample(CensusScope::Wanted);
                self.pace.advance_at_ease(processor_time().saturating_sub(before));
            }
        }
    }

    fn sample(&mut self, census: CensusScope) {
        let at = self.pace.now();
        self.last = self.observer.sample(at, census);
        self.pages.clear();
        self.tally.last_time = self.pace.now().saturating_sub(at);
        self.tally.time += self.tally.last_time;
        self.census_at = if census == CensusScope::All && self.last.is_ok() { Some(at) } else { self.census_at };
        match &self.last {
            Ok(sample) => {
                self.tally.samples += 1;
                for missing in sample.gaps.iter().map(|gap| gap.missing).filter(Missing::is_partial) {
                    if !self.partial.contains(&missing) {
                        self.partial.push(missing);
                        eprintln!("accept-queue: not all can be read: {missing}");
                    }
                }
                if sample.is_blind() != self.is_blind {
                    self.is_blind = sample.is_blind();
                    match self.is_blind {
                        true => eprintln!("accept-queue: {}. accept_queue_up is 0.", nothing_read(&sample.gaps)),
                        false => eprintln!("accept-queue: something can be read again. accept_queue_up is 1."),
                    }
                }
                if sample.readings.len() > MOST_LISTENERS && !self.has_warned {
                    self.has_warned = true;
                    let all = sample.readings.len();
                    eprintln!(
                        "accept-queue: {all} listeners; the worst {MOST_LISTENERS} have metrics of their own, the others are a sum."
                    );
                }
            }
            Err(error) => {
                self.tally.failed += 1;
                if *error == Error::NotFound {
                    // The process has ended, and its listeners with it.
                    self.observer.forget(at);
                }
            }
        }
    }

    fn page(&mut self, form: Form) -> io::Result<Bytes> {
        let now = self.pace.now();
        if self.census_at.is_none_or(|then| now.saturating_sub(then) >= FRESH) {
            self.sample(CensusScope::All);
        }
        self.made(form)
    }

    /// Each form is made once a sample, however many ask for it.
    fn made(&mut self, form: Form) -> io::Result<Bytes> {
        if let Some(page) = self.pages.get(&form) {
            return Ok(page.clone());
        }
        let page = match form.is_gzipped {
            true => gzipped(&self.made(Form { is_gzipped: false, ..form })?)?,
            false => self.text(form.format).into(),
        };
        self.pages.insert(form, page.clone());
        Ok(page)
    }

    fn text(&self, format: Format) -> String {
        let page = Exposition { sample: self.last.as_ref().ok(), own: self.own, tally: self.tally };
        page.text(format, accept_queue_core::linux::counters::read().ok().as_ref())
    }
}

/// Text with so many repetitions is a twentieth also at the least effort.
fn gzipped(page: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(page)?;
    encoder.finish().map(Bytes::from)
}
