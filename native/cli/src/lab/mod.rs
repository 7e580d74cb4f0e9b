//! `accept-queue lab`: the experiment of 2009, without a VM. A server listens and does not accept; too many clients connect, close,
//! reset; then the server accepts what is left of them. Both ends are read at every step.

mod capture;
mod client_process;
mod clients;
mod experiment;
mod hosts;
mod report;
mod steps;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use accept_queue_core::linux::diag::TcpState;

use self::capture::{Capture, Wire};
use self::clients::Clients;
use self::experiment::{Experiment, Observation};
use self::hosts::Hosts;
use self::report::{LabReport, Pcap};
use self::steps::{Plan, Step};
use crate::args::{LabClientsOptions, LabOptions};
use crate::output::{self, is_standard, refusal};
use crate::whole_file::Target;

/// SYNs and SYN-ACKs are sent again after a second; the rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// For the last SYNs on their way to the server.
const GRACE: Duration = Duration::from_secs(2);
/// Between two observations of a step that has not settled.
const MOMENT: Duration = Duration::from_millis(10);

pub(crate) fn run(options: &LabOptions) -> Result<(), String> {
    client_process::check_limit(options.clients)?;
    let target = options.pcap.as_deref().map(|path| Target::check("--pcap", path)).transpose()?;
    // What it says then goes to standard error.
    let is_output_taken = options.pcap.as_deref().is_some_and(is_standard);
    if is_output_taken {
        output::binary()?;
    }
    let hosts = if options.hosts { Hosts::two()? } else { Hosts::one() };
    let mut experiment = Experiment::bind(hosts)?;
    let wire = if options.hosts { Wire::Cable } else { Wire::Loopback };
    let capture = match target {
        Some(target) => Some((Capture::start(&experiment.hosts().server, wire, experiment.address)?, target)),
        None => None,
    };

    experiment.listen(options.backlog)?;
    let limit = experiment.observe()?.counts.limit;
    let plan = Plan { backlog: options.backlog, limit, clients: options.clients };
    let mut report = LabReport::new(experiment.address.to_string(), options.hosts, experiment.somaxconn(), &plan);
    // Without a reader of the text, the packets are still wanted.
    let (name, to): (_, Box<dyn Write>) = match is_output_taken {
        true => ("standard error", Box::new(io::stderr())),
        false => ("standard output", Box::new(io::stdout())),
    };
    let mut output = TextOutput { name, to, has_reader: true, is_text: !options.json };
    let mut clients = None;
    for (number, step) in (1..).zip(Step::ALL) {
        let observed = take(step, number, &plan, &mut experiment, &mut clients)?;
        report.add(step, &plan, &observed);
        let gap = if number == 1 { "" } else { "\n" };
        output.text(|| format!("{gap}{}", report::text(number, step, &plan, &observed)))?;
        if !output.has_reader && capture.is_none() {
            return Ok(());
        }
    }
    drop(clients);

    if let Some((capture, target)) = capture {
        let packets = capture.finish()?;
        target.write(&packets.file)?;
        let file = options.pcap.iter().map(|path| path.to_string_lossy()).collect::<String>();
        let lost = if packets.lost == 0 { String::new() } else { format!("; {} were lost", packets.lost) };
        let shown = if is_output_taken { "standard output".to_owned() } else { file.escape_debug().to_string() };
        output.text(|| format!("\n{} packets are in {shown}{lost}\n", packets.count))?;
        report.set_pcap(Pcap { file, packets: packets.count, lost: packets.lost });
    }
    if options.json { output.print(&report.json()?) } else { Ok(()) }
}

pub(crate) fn clients(options: &LabClientsOptions) -> Result<(), String> {
    client_process::run(options)
}

/// Starts a step, and observes until it has settled.
fn take(
    step: Step,
    number: usize,
    plan: &Plan,
    experiment: &mut Experiment,
    clients: &mut Option<Clients>,
) -> Result<Observation, String> {
    let began = Instant::now();
    let deadline = began + PATIENCE;
    if step == Step::Connected {
        *clients = Some(Clients::start(experiment.hosts(), experiment.address, plan.clients, deadline)?);
    }
    if let (Some(action), Some(clients)) = (step.action(), clients.as_mut()) {
        clients.run(action, deadline)?;
    }
    let mut progress = Progress::new(number, step, plan);
    loop {
        if step == Step::Accepted {
            experiment.accept()?;
        }
        let observed = experiment.observe()?;
        if step.has_settled(plan, &observed) && (step.is_accounted_for(&observed) || began.elapsed() > GRACE) {
            return Ok(observed);
        }
        if Instant::now() > deadline {
            return Err(format!(
                "step {number} ({}) has not settled in {} s: {}",
                step.title(plan),
                PATIENCE.as_secs(),
                in_brief(&observed)
            ));
        }
        progress.show(&observed);
        match clients {
            Some(clients) => clients.pause(MOMENT)?,
            None => return Err("the server's socket does not listen".to_owned()),
        }
    }
}

fn in_brief(observed: &Observation) -> String {
    let connecting = observed.clients.in_state(TcpState::SynSent);
    format!(
        "{} queued ({} closed, {} reset), {} in SYN_SENT, {} SYNs sent again",
        observed.counts.queued,
        observed.counts.queued_closed.unwrap_or_default(),
        observed.counts.queued_reset().unwrap_or_default(),
        connecting.sockets,
        connecting.retransmits
    )
}

/// A progress line on the terminal, erased on drop.
struct Progress {
    title: String,
    is_terminal: bool,
    shown: String,
}

impl Progress {
    fn new(number: usize, step: Step, plan: &Plan) -> Progress {
        let title = format!("{number}. {}", step.title(plan));
        Progress { title, is_terminal: io::stderr().is_terminal(), shown: String::new() }
    }

    fn show(&mut self, observed: &Observation) {
        let line = format!("{}: {}", self.title, in_brief(observed));
        if self.is_terminal && line != self.shown {
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

/// A terminal that has gone is no error.
fn overwrite(line: &str) {
    let _ = write!(io::stderr(), "\r\x1b[K{line}");
}

/// Standard output, or standard error where the packets take that, and whether it still has a reader.
struct TextOutput {
    name: &'static str,
    to: Box<dyn Write>,
    has_reader: bool,
    is_text: bool,
}

impl TextOutput {
    fn text(&mut self, text: impl FnOnce() -> String) -> Result<(), String> {
        if self.is_text { self.print(&text()) } else { Ok(()) }
    }

    fn print(&mut self, text: &str) -> Result<(), String> {
        if !self.has_reader {
            return Ok(());
        }
        match self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.has_reader = false;
                Ok(())
            }
            written => written.map_err(|error| format!("{}: {}", self.name, refusal(&error))),
        }
    }
}
