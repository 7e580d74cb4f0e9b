//! `accept-queue diagnose`: why a VM does not accept.

use std::io::Write;
use std::process::ExitCode;

use accept_queue_core::Error;
use accept_queue_core::rules::diagnosis::Gravity;

use crate::args::DiagnoseOptions;
use crate::findings::{Diagnosis, Worded};

pub(crate) fn run(options: &DiagnoseOptions) -> Result<ExitCode, String> {
    let diagnosis = Diagnosis::of(options.pid, options.window).map_err(|error| match error {
        Error::NotFound => format!("there is no process {}, or it has ended meanwhile", options.pid),
        error => format!("process {} could not be read: {error}", options.pid),
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

/// As `--help` says.
fn status(findings: &[Worded]) -> ExitCode {
    match findings.first().map(|finding| finding.gravity) {
        Some(Gravity::Hang | Gravity::Trouble) => ExitCode::from(3),
        Some(Gravity::Unknown) | None => ExitCode::from(4),
        Some(Gravity::Healthy | Gravity::Note) => ExitCode::SUCCESS,
    }
}
