//! The threads of a process and why it does not accept, as lines of text. Pure.

use accept_queue_core::rules::check::Severity;
use accept_queue_core::rules::diagnosis::Gravity;

use super::examiner::WINDOW;
use super::view::View;
use super::words;
use super::wrap;
use crate::findings::Diagnosis;

/// A line of text, and how bad it is what it says.
pub(crate) type JudgedLine = (Severity, String);

/// What the pane of threads shows.
pub(crate) struct ThreadsPane<'a> {
    pub(super) view: &'a View,
    /// Of which process; `None`: not known.
    pub(super) process: Option<i32>,
    pub(super) has_rows: bool,
}

impl ThreadsPane<'_> {
    /// Which process it is about.
    pub(crate) fn title(&self) -> String {
        match self.found() {
            Some((seen_ago, Ok(diagnosis))) => format!("{}, {seen_ago} ago", diagnosis.title()),
            _ => self.process.map_or_else(|| "threads".to_owned(), |pid| format!("process {pid}")),
        }
    }

    /// The findings, the worst first, and the threads under them.
    pub(crate) fn lines(&self) -> Vec<JudgedLine> {
        let plain = |text: &str| vec![(Severity::Ok, text.to_owned())];
        match self.found() {
            Some((_, Ok(diagnosis))) => found_lines(diagnosis),
            Some((_, Err(reason))) => vec![(Severity::Critical, reason.clone())],
            None if self.process.is_some() => plain(&format!("Being looked at for {}.", words::span(WINDOW))),
            None if !self.has_rows => plain("No listener is selected."),
            None => plain(
                "Whose listener this is is not known: its owner could not be read (`u` says why), or owners are not looked up, as with --port.",
            ),
        }
    }

    /// The same, none wider than this.
    pub(crate) fn wrapped(&self, width: usize) -> Vec<JudgedLine> {
        let broken = |(severity, line): JudgedLine| {
            let lines = wrap::wrapped(&line, wrap::indent(&line), width);
            lines.into_iter().map(move |line| (severity, line))
        };
        self.lines().into_iter().flat_map(broken).collect()
    }

    /// Of the process that is wanted now, not of another that was wanted before.
    fn found(&self) -> Option<(String, &Result<Diagnosis, String>)> {
        let (at, examined) = self.view.examined.as_ref()?;
        let seen_ago = words::span(self.view.elapsed.saturating_sub(*at));
        (Some(examined.pid) == self.process).then_some((seen_ago, &examined.outcome))
    }
}

fn found_lines(diagnosis: &Diagnosis) -> Vec<JudgedLine> {
    let mut lines = Vec::new();
    for finding in diagnosis.shown() {
        lines.push((severity(finding.gravity), finding.heading));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use accept_queue_core::rules::facts::Unread;
    use accept_queue_core::{Errno, Error};

    use super::super::app::App;
    use super::super::examiner::Examined;
    use super::super::fixtures::{MadeUp, app, blocked, observation, press};
    use super::super::view::Pane;
    use super::*;

    fn one_listener() -> App {
        let mut app = app();
        app.observed(observation(Duration::ZERO, &[MadeUp::new(9999, 31, 30)]));
        press(&mut app, "t");
        app
    }

    fn joined(app: &App) -> String {
        app.threads().lines().into_iter().map(|(_, line)| line + "\n").collect()
    }

    #[test]
    fn no_process_is_examined_until_its_threads_are_wanted() {
        let mut app = one_listener();
        assert_eq!((app.pane, app.to_examine()), (Some(Pane::Threads), Some(4711)));
        assert_eq!(joined(&app), "Being looked at for 2.0s.\n");
        for (keys, wanted) in [("t", None), ("t", Some(4711)), ("\n", None), ("t", Some(4711)), ("\x1b", None)] {
            press(&mut app, keys);
            assert_eq!(app.to_examine(), wanted, "{keys:?}");
        }
    }

    #[test]
    fn the_worst_finding_comes_first_and_the_threads_last() {
        let mut app = one_listener();
        app.examined(blocked(4711, "shop@host", vec![]));
        let lines = app.threads().lines();
        assert_eq!(lines[0], (Severity::Critical, "scheduler_blocked (hang, certain)".to_owned()), "{lines:#?}");
        assert!(lines[1].1.contains("meanwhile 31 wait on 127.0.0.1:9999, the first for 2.0 s."), "{lines:#?}");
        assert!(lines[2].1.starts_with("  -> "), "{lines:#?}");
        assert_eq!(lines[3], (Severity::Warning, "queue_full (trouble, certain)".to_owned()), "{lines:#?}");
        let threads: Vec<Vec<_>> =
            lines[lines.len() - 4..].iter().map(|(_, line)| line.split_whitespace().collect()).collect();
        assert_eq!(threads[0][..3], ["TID", "THREAD", "DOES"]);
        assert_eq!(threads[1], ["4712", "1_scheduler", "is", "held", "up", "100000", "2.0", "7"]);
        assert_eq!(threads[3][..3], ["4714", "0_poller", "waits"]);
    }

    #[test]
    fn a_finding_says_how_old_it_is_and_of_which_process() {
        let mut app = one_listener();
        app.examined(blocked(4711, "sh\x1bop", vec![]));
        app.observed(observation(Duration::from_secs(5), &[MadeUp::new(9999, 31, 30)]));
        assert_eq!(app.threads().title(), "sh\\u{1b}op (4711), looked at 11 times in 2.0 s, 5.0s ago");
    }

    #[test]
    fn what_was_found_of_another_process_is_not_shown() {
        let mut app = one_listener();
        app.examined(blocked(4710, "other", vec![]));
        assert_eq!(
            (app.threads().title().as_str(), joined(&app).as_str()),
            ("process 4711", "Being looked at for 2.0s.\n")
        );
    }

    #[test]
    fn a_missing_right_is_shown_with_what_would_help() {
        let mut app = one_listener();
        let refused = Error::Errno(Errno(13));
        app.examined(blocked(4711, "shop", vec![Unread::Pollsets(refused), Unread::Calls(refused)]));
        let said = joined(&app);
        assert_eq!(said.matches("cannot_tell (").count(), 1, "{said}");
        assert!(
            said.contains("Not seen for want of a right: its epoll sets, the system calls of its threads."),
            "{said}"
        );
        assert!(said.contains("Run this with sudo, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"), "{said}");
        app.examined(blocked(4711, "shop", vec![Unread::Pollsets(refused), Unread::Diag]));
        let said = joined(&app);
        assert_eq!(said.matches("cannot_tell (").count(), 2, "another remedy is another finding: {said}");
        assert!(said.contains("Look again with that right.") && said.contains("modprobe"), "{said}");
    }

    #[test]
    fn a_process_that_cannot_be_examined_is_named() {
        let mut app = one_listener();
        app.examined(Examined { pid: 4711, outcome: Err("Process 4711 has ended.".to_owned()) });
        assert_eq!(app.threads().lines(), [(Severity::Critical, "Process 4711 has ended.".to_owned())]);
    }

    #[test]
    fn where_the_owner_was_not_looked_up_no_process_is_examined() {
        let mut app = app();
        app.observed(observation(Duration::ZERO, &[MadeUp::new(9999, 31, 30).without_owner()]));
        press(&mut app, "t");
        assert_eq!(app.to_examine(), None);
        assert!(joined(&app).starts_with("Whose listener this is is not known"));
        app.observed(observation(Duration::ZERO, &[]));
        assert_eq!(joined(&app), "No listener is selected.\n");
    }

    #[test]
    fn while_paused_what_was_found_stays() {
        let mut app = one_listener();
        app.examined(blocked(4711, "shop", vec![]));
        let before = joined(&app);
        press(&mut app, "p");
        app.examined(Examined { pid: 4711, outcome: Err("Process 4711 has ended.".to_owned()) });
        assert_eq!(joined(&app), before);
        press(&mut app, "p");
        assert_eq!(joined(&app), "Process 4711 has ended.\n");
    }

    #[test]
    fn more_than_the_screen_has_room_for_is_scrolled_and_not_beyond_the_end() {
        let mut app = one_listener();
        app.examined(blocked(4711, "shop", vec![]));
        let page_down = ratatui::crossterm::event::KeyCode::PageDown.into();
        app.extent.lines = 7;
        app.key(page_down);
        assert_eq!(app.scrolled, 6, "a page, of which one line stays");
        for _ in 0..100 {
            app.key(page_down);
        }
        assert_eq!(app.scrolled, app.threads().wrapped(80).len() - 1);
        press(&mut app, "j");
        assert_eq!(app.scrolled, 0, "of another listener the beginning is wanted");
    }
}
