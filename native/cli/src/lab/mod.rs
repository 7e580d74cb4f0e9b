//! `accept-queue lab`: the experiment of 2009, without a VM. A server listens and does not accept; too many clients come,
//! give up, reset; then the server accepts what is left of them. Both ends are read at every step.

mod capture;
mod client;
mod crowd;
mod hosts;
mod report;
mod scene;
mod steps;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use accept_queue_core::linux::diag::TcpState;

use self::capture::{Capture, Wire};
use self::crowd::Crowd;
use self::hosts::Hosts;
use self::report::{Pcap, Report};
use self::scene::{Look, Scene};
use self::steps::{Plan, Step};
use crate::args::{LabClientsOptions, LabOptions};
use crate::output::refusal;
use crate::whole_file::Target;

/// A SYN is sent again after a second, a SYN-ACK too; the rest is for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// For the last SYNs on their way to the server.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks at what has not settled yet.
const MOMENT: Duration = Duration::from_millis(10);

pub(crate) fn run(options: &LabOptions) -> Result<(), String> {
    client::check_limit(options.clients)?;
    let target = options.pcap.as_deref().map(|path| Target::check("--pcap", path)).transpose()?;
    let hosts = if options.hosts { Hosts::two()? } else { Hosts::one() };
    let mut scene = Scene::set(hosts)?;
    let wire = if options.hosts { Wire::Cable } else { Wire::Loopback };
    let capture = match target {
        Some(target) => Some((Capture::start(&scene.hosts().server, wire, scene.address)?, target)),
        None => None,
    };

    scene.listen(options.backlog)?;
    let limit = scene.look()?.counts.limit;
    let plan = Plan { backlog: options.backlog, limit, clients: options.clients };
    let mut report = Report::new(scene.address.to_string(), options.hosts, scene.somaxconn(), &plan);
    // Whoever has turned away still wants the file.
    let mut page = Page { has_reader: true, is_for_people: !options.json };
    let mut crowd = None;
    for (number, step) in (1..).zip(Step::ALL) {
        let look = take(step, number, &plan, &mut scene, &mut crowd)?;
        report.add(step, &plan, &look);
        let gap = if number == 1 { "" } else { "\n" };
        page.for_people(|| format!("{gap}{}", report::text(number, step, &plan, &look)))?;
        if !page.has_reader && capture.is_none() {
            return Ok(());
        }
    }
    drop(crowd);

    if let Some((capture, target)) = capture {
        let recording = capture.finish()?;
        target.write(&recording.file)?;
        let file = options.pcap.iter().map(|path| path.to_string_lossy()).collect::<String>();
        let lost = if recording.lost == 0 { String::new() } else { format!("; {} were lost", recording.lost) };
        page.for_people(|| format!("\n{} packets are in {}{lost}\n", recording.packets, file.escape_debug()))?;
        report.set_pcap(Pcap { file, packets: recording.packets, lost: recording.lost });
    }
    if options.json { page.print(&report.json()?) } else { Ok(()) }
}

pub(crate) fn clients(options: &LabClientsOptions) -> Result<(), String> {
    client::run(options)
}

/// Lets a step happen, and looks until it has.
fn take(step: Step, number: usize, plan: &Plan, scene: &mut Scene, crowd: &mut Option<Crowd>) -> Result<Look, String> {
    let began = Instant::now();
    let deadline = began + PATIENCE;
    if step == Step::Connected {
        *crowd = Some(Crowd::start(scene.hosts(), scene.address, plan.clients, deadline)?);
    }
    if let (Some(order), Some(crowd)) = (step.order(), crowd.as_mut()) {
        crowd.obey(order, deadline)?;
    }
    let mut progress = Progress::new(number, step, plan);
    loop {
        if step == Step::Accepted {
            scene.accept()?;
        }
        let look = scene.look()?;
        if step.has_settled(plan, &look) && (step.is_accounted_for(&look) || began.elapsed() > GRACE) {
            return Ok(look);
        }
        if Instant::now() > deadline {
            return Err(format!(
                "step {number} ({}) has not settled in {} s: {}",
                step.title(plan),
                PATIENCE.as_secs(),
                in_brief(&look)
            ));
        }
        progress.show(&look);
        match crowd {
            Some(crowd) => crowd.linger(MOMENT)?,
            None => return Err("the server's socket does not listen".to_owned()),
        }
    }
}

fn in_brief(look: &Look) -> String {
    let knocking = look.clients.in_state(TcpState::SynSent);
    format!(
        "{} queued ({} closed, {} reset), {} outside, {} SYNs again",
        look.counts.queued,
        look.counts.queued_closed,
        look.counts.queued_reset(),
        knocking.sockets,
        knocking.retransmits
    )
}

/// A line on the terminal that is written over, and gone with this value.
struct Progress {
    title: String,
    is_seen: bool,
    shown: String,
}

impl Progress {
    fn new(number: usize, step: Step, plan: &Plan) -> Progress {
        let title = format!("{number}. {}", step.title(plan));
        Progress { title, is_seen: io::stderr().is_terminal(), shown: String::new() }
    }

    fn show(&mut self, look: &Look) {
        let line = format!("{}: {}", self.title, in_brief(look));
        if self.is_seen && line != self.shown {
            overwrite(&line);
            self.shown = line;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.shown.is_empty() {
            overwrite("");
        }
    }
}

/// A terminal that has gone misses nothing.
fn overwrite(line: &str) {
    let _ = write!(io::stderr(), "\r\x1b[K{line}");
}

/// Standard output, and whether anybody still reads it.
struct Page {
    has_reader: bool,
    is_for_people: bool,
}

impl Page {
    fn for_people(&mut self, text: impl FnOnce() -> String) -> Result<(), String> {
        if self.is_for_people { self.print(&text()) } else { Ok(()) }
    }

    fn print(&mut self, text: &str) -> Result<(), String> {
        if !self.has_reader {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            // The reader of a pipe has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.has_reader = false;
                Ok(())
            }
            written => written.map_err(|error| format!("standard output: {}", refusal(&error))),
        }
    }
}
