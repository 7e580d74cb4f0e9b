//! The threads of a process and why it does not accept, as lines of text. Pure.

use accept_queue_core::check::Severity;
use accept_queue_core::diagnosis::Gravity;

use super::app::App;
use super::lookout::WINDOW;
use super::words;
use crate::findings::{Diagnosis, heading};

/// A line, and how bad it is what it says.
pub(crate) type Line = (Severity, String);

/// Whom it is about.
pub(crate) fn title(app: &App) -> String {
    match found(app) {
        Some((seen_ago, Ok(diagnosis))) => format!("{}, {seen_ago} ago", diagnosis.title()),
        _ => app.process().map_or_else(|| "threads".to_owned(), |pid| format!("process {pid}")),
    }
}

/// The findings, the worst first, and the threads under them.
pub(crate) fn text(app: &App) -> Vec<Line> {
    let told = |text: &str| vec![(Severity::Ok, text.to_owned())];
    match found(app) {
        Some((_, Ok(diagnosis))) => found_lines(diagnosis),
        Some((_, Err(reason))) => vec![(Severity::Critical, reason.clone())],
        None if app.process().is_some() => told(&format!("Being looked at for {}.", words::span(WINDOW))),
        None if app.rows().is_empty() => told("No listener is selected."),
        None => told("Whose listener this is was not looked up, as with --port; --pid, --node and --all do so."),
    }
}

/// Of the process that is wanted now, not of another that was wanted before.
fn found(app: &App) -> Option<(String, &Result<Diagnosis, String>)> {
    let view = app.view();
    let (at, examined) = view.examined.as_ref()?;
    let seen_ago = words::span(view.elapsed.saturating_sub(*at));
    (Some(examined.pid) == app.process()).then_some((seen_ago, &examined.outcome))
}

fn found_lines(diagnosis: &Diagnosis) -> Vec<Line> {
    let mut lines = Vec::new();
    for finding in &diagnosis.findings {
        lines.push((severity(finding.gravity), heading(finding)));
        lines.push((Severity::Ok, format!("  {}", finding.text)));
        lines.push((Severity::Ok, format!("  -> {}", finding.advice)));
    }
    lines.push((Severity::Ok, String::new()));
    lines.extend(diagnosis.threads().trim_end().lines().map(|line| (Severity::Ok, line.trim_end().to_owned())));
    lines
}

fn severity(gravity: Gravity) -> Severity {
    match gravity {
        Gravity::Hang => Severity::Critical,
        Gravity::Trouble | Gravity::Unknown => Severity::Warning,
        Gravity::Healthy | Gravity::Note => Severity::Ok,
    }
}
