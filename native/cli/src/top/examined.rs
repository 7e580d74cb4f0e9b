//! The threads of a process and why it does not accept, as lines of text. Pure.

use accept_queue_core::rules::check::Severity;
use accept_queue_core::rules::diagnosis::Gravity;

use super::app::App;
use super::lookout::WINDOW;
use super::words;
use crate::findings::Diagnosis;

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
        lines.push((severity(finding.gravity), finding.heading()));
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
pub(crate) mod tests {
    use std::time::Duration;

    use accept_queue_core::rules::observed::{Blocked, Doing, ListenerFacts, Observed, ThreadFacts, Unread};
    use accept_queue_core::vm::find::Candidate;
    use accept_queue_core::vm::pollset::{Accepting, Events, Registration, Set};
    use accept_queue_core::vm::threads::{Call, Role, Stand, State, Thread};
    use accept_queue_core::{Address, Depth, Endpoint, Errno, Error};

    use super::super::app::Pane;
    use super::super::app::tests::{app, press};
    use super::super::line::tests::{Made, observation};
    use super::super::lookout::Examined;
    use super::*;

    /// Numbers of system calls of the machine on which this runs do not matter here: none is on a list.
    const SOME_CALL: i64 = 100_000;

    fn thread(tid: i32, name: &str, doing: Doing) -> ThreadFacts {
        let call = Call::Waiting { number: SOME_CALL, first: 0, at: Stand { sp: 0, pc: 0 } };
        let thread = Thread {
            tid,
            name: name.to_owned(),
            role: Role::of(name),
            state: State::Sleeping,
            cpu: Duration::ZERO,
            delayed: Duration::ZERO,
            wait_channel: None,
            call: Ok(call),
        };
        ThreadFacts { thread, used: Duration::from_millis(7), doing }
    }

    /// A native call holds up one of two schedulers while 31 wait.
    pub(crate) fn blocked(pid: i32, name: &str, unread: Vec<Unread>) -> Examined {
        let since = Duration::from_secs(2);
        let blocked = Blocked { call: Some(SOME_CALL), frame: None, library: None, since };
        let delivered = Registration { set: Set::PollThread, epoll: 4, events: Events(0x4000_0000) };
        let listener = ListenerFacts {
            endpoint: Endpoint::Tcp(Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 9999)))),
            depth: Depth { queued: 31, limit: 30, drops: Some(0) },
            counts: None,
            stalled_for: Some(since),
            has_accepted: false,
            dropped: 0,
            conditions: vec![],
            accepting: Some((Accepting::Delivered, vec![delivered])),
            is_steady: true,
            is_attended: true,
        };
        let observed = Observed {
            window: since,
            readings: 11,
            is_beam: true,
            threads: vec![
                thread(pid + 1, "1_scheduler", Doing::Blocked(blocked)),
                thread(pid + 2, "2_scheduler", Doing::Idle { is_sure: true }),
                thread(pid + 3, "0_poller", Doing::Idle { is_sure: true }),
            ],
            listeners: vec![listener],
            unread,
            ..Observed::default()
        };
        let candidate = Candidate { pid, name: name.to_owned(), is_beam: true, is_named: true };
        Examined { pid, outcome: Ok(Diagnosis::without_node(candidate, observed)) }
    }

    fn one_listener() -> App {
        let mut app = app();
        app.observed(observation(Duration::ZERO, &[Made::new(9999, 31, 30)]));
        press(&mut app, "t");
        app
    }

    fn joined(app: &App) -> String {
        text(app).into_iter().map(|(_, line)| line + "\n").collect()
    }

    #[test]
    fn nobody_is_looked_at_until_the_threads_are_wanted() {
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
        let lines = text(&app);
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
    fn a_finding_says_how_old_it_is_and_of_whom() {
        let mut app = one_listener();
        app.examined(blocked(4711, "sh\x1bop", vec![]));
        app.observed(observation(Duration::from_secs(5), &[Made::new(9999, 31, 30)]));
        assert_eq!(title(&app), "sh\\u{1b}op (4711), looked at 11 times in 2.0 s, 5.0s ago");
    }

    #[test]
    fn what_was_found_of_another_process_is_not_shown() {
        let mut app = one_listener();
        app.examined(blocked(4710, "other", vec![]));
        assert_eq!((title(&app).as_str(), joined(&app).as_str()), ("process 4711", "Being looked at for 2.0s.\n"));
    }

    #[test]
    fn a_right_that_is_missing_is_told_with_what_would_help() {
        let mut app = one_listener();
        let refused = Error::Errno(Errno(13));
        app.examined(blocked(4711, "shop", vec![Unread::Pollsets(refused), Unread::Calls(refused)]));
        let said = joined(&app);
        assert_eq!(said.matches("cannot_tell (").count(), 2, "{said}");
        assert!(said.contains("run as its user, or with CAP_SYS_PTRACE"), "{said}");
    }

    #[test]
    fn who_cannot_be_looked_at_is_told() {
        let mut app = one_listener();
        app.examined(Examined { pid: 4711, outcome: Err("Process 4711 has ended.".to_owned()) });
        assert_eq!(text(&app), [(Severity::Critical, "Process 4711 has ended.".to_owned())]);
    }

    #[test]
    fn where_nobody_looked_whose_it_is_nobody_is_looked_at() {
        let mut app = app();
        app.observed(observation(Duration::ZERO, &[Made::new(9999, 31, 30).owned_by_nobody_known()]));
        press(&mut app, "t");
        assert_eq!(app.to_examine(), None);
        assert!(joined(&app).starts_with("Whose listener this is was not looked up"));
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
        app.key(page_down);
        assert_eq!(app.scrolled, 5);
        for _ in 0..100 {
            app.key(page_down);
        }
        assert_eq!(app.scrolled, text(&app).len() - 1);
        press(&mut app, "j");
        assert_eq!(app.scrolled, 0, "of another listener the beginning is wanted");
    }
}
