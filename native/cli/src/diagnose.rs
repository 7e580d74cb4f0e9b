//! `accept-queue diagnose`: why a VM does not accept.

use std::io::Write;
use std::process::ExitCode;

use accept_queue_core::outside::snapshot::{self, Scope};
use accept_queue_core::rules::diagnosis::Gravity;
use accept_queue_core::vm::find::{self, Candidate};
use accept_queue_core::{Endpoint, Error};

use crate::args::{DiagnoseOptions, VmOptions};
use crate::figures::{Process, nothing_read};
use crate::findings::{Diagnosis, Worded};

pub(crate) fn run(options: &DiagnoseOptions) -> Result<ExitCode, String> {
    let pid = vm(&options.vm)?;
    let diagnosis = Diagnosis::of(pid, options.window).map_err(|error| match error {
        Error::NotFound => format!("there is no process {pid}, or it has ended meanwhile"),
        error => format!("process {pid} could not be read: {error}"),
    })?;
    let text = if options.json {
        crate::json::line(&diagnosis.report()).map_err(|error| format!("the report is no JSON: {error}"))? + "\n"
    } else {
        diagnosis.page()
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        // Also where the reader of the pipe has gone.
        _ => Ok(status(&diagnosis.findings)),
    }
}

/// The process that is meant.
fn vm(options: &VmOptions) -> Result<i32, String> {
    match options {
        VmOptions { pid: Some(pid), .. } => Ok(*pid),
        VmOptions { node: Some(node), .. } => {
            let found: Vec<_> = beams()?.into_iter().filter(|beam| beam.is_node(node)).collect();
            // One that got its name later is known by the port at which it listens for other nodes.
            let found = if found.is_empty() { owners(Scope::Node(node.clone()), |_| true)? } else { found };
            let node = node.escape_debug();
            only(found, &format!("no BEAM runs a node {node}"), &format!("several BEAMs run a node {node}"))
        }
        VmOptions { port: Some(port), .. } => {
            let is_on = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Tcp(address) if address.port == *port);
            let none = format!("no BEAM listens on port {port}");
            only(owners(Scope::Beams, is_on)?, &none, &format!("several BEAMs listen on port {port}"))
        }
        VmOptions { .. } => only(beams()?, "no BEAM runs on this machine", "several BEAMs run on this machine"),
    }
}

/// Those of this machine. An error where none is seen and there may be one.
fn beams() -> Result<Vec<Candidate>, String> {
    let (mut found, mut unread) = (Vec::new(), None);
    for pid in find::pids().map_err(|error| format!("/proc could not be read: {error}"))? {
        match find::beam(pid) {
            Ok(beam) => found.extend(beam),
            Err(Error::NotFound) => {}
            Err(error) => unread = Some((pid, error)),
        }
    }
    match unread {
        Some((pid, error)) if found.is_empty() => {
            Err(format!("process {pid}, which may be a BEAM, could not be read: {error}; sudo would allow it"))
        }
        _ => Ok(found),
    }
}

/// Those that own a listener of which this is so.
fn owners(scope: Scope, is_wanted: impl Fn(&Endpoint) -> bool) -> Result<Vec<Candidate>, String> {
    let snapshot = match snapshot::take(&scope) {
        Err(Error::NotFound) => return Ok(Vec::new()),
        answer => answer.map_err(|error| format!("the kernel's sockets could not be read: {error}"))?,
    };
    let queues: Vec<_> = snapshot.queues.iter().filter(|owned| is_wanted(&owned.queue.endpoint)).collect();
    if queues.is_empty() && !snapshot.gaps.is_empty() {
        return Err(nothing_read(&snapshot.gaps));
    }
    let mut found: Vec<Candidate> =
        queues.iter().flat_map(|owned| &owned.owners).map(|owner| (*owner.process).clone()).collect();
    found.sort_by_key(|process| process.pid);
    found.dedup_by_key(|process| process.pid);
    Ok(found)
}

fn only(found: Vec<Candidate>, none: &str, several: &str) -> Result<i32, String> {
    match &found[..] {
        [] => Err(none.to_owned()),
        [one] => Ok(one.pid),
        beams => {
            let named: Vec<_> = beams.iter().map(|process| Process::from(process).shown()).collect();
            Err(format!("{several}: {}; --pid, --node or --port says which is meant", named.join(", ")))
        }
    }
}

/// As `--help` says.
fn status(findings: &[Worded]) -> ExitCode {
    match findings.first().map(|finding| finding.gravity) {
        Some(Gravity::Hang | Gravity::Trouble) => ExitCode::from(3),
        Some(Gravity::Unknown) | None => ExitCode::from(4),
        Some(Gravity::Healthy | Gravity::Note) => ExitCode::SUCCESS,
    }
}
