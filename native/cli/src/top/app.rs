//! What is on the screen and what the keys have asked for: observations and keys in, state out. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use accept_queue_core::Error;
use accept_queue_core::linux::counters::Kernel;
use accept_queue_core::linux::namespace::Namespace;
use accept_queue_core::outside::observer::Reading;
use accept_queue_core::outside::snapshot::Scope;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::column::Column;
use super::line::{Line, Place};
use super::lookout::Examined;
use super::page::{self, Page};
use super::sampler::Observation;
use super::{examined, has_ended};
use crate::args::ScopeOptions;
use crate::figures::Unreadable;

/// The whole state.
#[derive(Debug)]
pub(crate) struct App {
    scope: ScopeOptions,
    pub(crate) interval: Duration,
    live: View,
    /// What was on the screen when it was stopped.
    frozen: Option<View>,
    /// Why the last reading failed.
    pub(crate) failure: Option<String>,
    /// There will be no other reading.
    pub(crate) has_ended: bool,
    pub(crate) sort: Sort,
    pub(crate) filter: String,
    pub(crate) is_typing: bool,
    pub(crate) pane: Option<Pane>,
    pub(crate) page: Option<Page>,
    /// Lines of the page, or of the pane, that have gone off at the top.
    pub(crate) scrolled: usize,
    selected: Option<Place>,
    index: usize,
    pub(crate) has_quit: bool,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Since the first.
    pub(crate) elapsed: Duration,
    pub(crate) took: Duration,
    pub(crate) lines: Vec<Line>,
    /// What could not be read, each printable.
    pub(crate) gaps: Vec<String>,
    pub(crate) kernel: Option<Counters>,
    /// What was found of a process, and when, since the first reading.
    pub(crate) examined: Option<(Duration, Arc<Examined>)>,
}

/// What stands below the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pane {
    /// All that is known of the selected listener.
    Detail,
    /// The threads of its process, and why that does not accept.
    Threads,
}

/// The counters of a network namespace, now and when the program began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) namespace: Namespace,
    pub(crate) now: Kernel,
    pub(crate) first: Kernel,
}

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sort {
    pub(crate) by: Column,
    pub(crate) is_reversed: bool,
}

/// How far PgUp and PgDn go.
const STRIDE: isize = 10;

impl App {
    pub(crate) fn new(scope: ScopeOptions, interval: Duration) -> App {
        App {
            scope,
            interval,
            live: View::default(),
            frozen: None,
            failure: None,
            has_ended: false,
            sort: Sort { by: Column::SORTED[0], is_reversed: false },
            filter: String::new(),
            is_typing: false,
            pane: None,
            page: None,
            scrolled: 0,
            selected: None,
            index: 0,
            has_quit: false,
        }
    }

    /// What it means that there is no row.
    pub(crate) fn nobody(&self) -> String {
        if self.view().lines.is_empty() {
            format!("At the moment {}.", self.scope.nobody())
        } else {
            "No listener matches the filter.".to_owned()
        }
    }

    pub(crate) fn subject(&self) -> String {
        self.scope.subject()
    }

    pub(crate) fn observed(&mut self, observation: Observation) {
        let Observation { at, elapsed, took, sample, stands, kernel } = observation;
        let mut before: HashMap<Place, Line> =
            self.live.lines.drain(..).map(|line| (line.place.clone(), line)).collect();
        let follow = |(reading, stands): (Reading, _)| {
            let place = (reading.namespace, reading.endpoint.clone());
            Line::follow(before.remove(&place), at, reading, stands)
        };
        let known = self.live.kernel;
        let examined = self.live.examined.take();
        let counters = |(namespace, now)| Counters {
            namespace,
            now,
            first: known.filter(|known| known.namespace == namespace).map_or(now, |known| known.first),
        };
        self.live = View {
            elapsed,
            took,
            lines: sample.readings.into_iter().zip(stands).map(follow).collect(),
            gaps: sample.gaps.iter().map(|gap| gap_in_words(&Unreadable::from(gap))).collect(),
            kernel: kernel.map(counters),
            examined,
        };
        self.failure = None;
    }

    pub(crate) fn examined(&mut self, examined: Examined) {
        self.live.examined = Some((self.live.elapsed, Arc::new(examined)));
    }

    /// Whose threads are wanted: of who holds the selected listener, or of the only process in the scope.
    pub(crate) fn to_examine(&self) -> Option<i32> {
        if self.pane != Some(Pane::Threads) { None } else { self.process() }
    }

    pub(crate) fn process(&self) -> Option<i32> {
        let rows = self.rows();
        match (self.selected(&rows), self.scope.scope()) {
            (Some(index), _) => rows[index].process,
            (None, Scope::Process(pid)) => Some(pid),
            (None, _) => None,
        }
    }

    /// A reading failed. What was read before is no longer so.
    pub(crate) fn failed(&mut self, error: Error) {
        let scope = self.scope.scope();
        self.has_ended = has_ended(error, &scope);
        self.failure = Some(match scope {
            Scope::Process(pid) if self.has_ended => format!("process {pid} has ended"),
            _ => self.scope.refused(error),
        });
        self.live.lines.clear();
    }

    pub(crate) fn view(&self) -> &View {
        self.frozen.as_ref().unwrap_or(&self.live)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.frozen.is_some()
    }

    /// The rows that the filter lets through, in their order.
    pub(crate) fn rows(&self) -> Vec<&Line> {
        let mut rows: Vec<_> = self.view().lines.iter().filter(|line| line.is_named(&self.filter)).collect();
        rows.sort_by(|one, other| {
            let order = self.sort.by.compare(one, other);
            let order = if self.sort.is_reversed { order.reverse() } else { order };
            order.then_with(|| one.place.cmp(&other.place))
        });
        rows
    }

    /// Which of the rows is selected. Until somebody has chosen one it is the first, whichever that is.
    pub(crate) fn selected(&self, rows: &[&Line]) -> Option<usize> {
        let last = rows.len().checked_sub(1)?;
        let chosen = self.selected.as_ref().and_then(|place| rows.iter().position(|line| line.place == *place));
        Some(chosen.unwrap_or(self.index).min(last))
    }

    pub(crate) fn key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => self.has_quit = true,
            _ if is_control || key.modifiers.contains(KeyModifiers::ALT) => {}
            code if self.is_typing => self.typed(code),
            code => self.command(code),
        }
    }

    fn typed(&mut self, code: KeyCode) {
        match code {
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(character) if !character.is_control() => self.filter.push(character),
            _ => {}
        }
    }

    fn command(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char('q') => self.has_quit = true,
            KeyCode::Esc => self.back(),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.turn(Page::Help),
            KeyCode::Char('u') => self.turn(Page::Gaps),
            KeyCode::Char('p' | ' ') => {
                self.frozen = if self.is_paused() { None } else { Some(self.live.clone()) };
            }
            KeyCode::Char('/') => {
                self.page = None;
                self.is_typing = true;
            }
            KeyCode::Char('s') => self.sort_by_next(1),
            KeyCode::Char('S') => self.sort_by_next(Column::SORTED.len() - 1),
            KeyCode::Char('r') => self.sort.is_reversed = !self.sort.is_reversed,
            KeyCode::Enter | KeyCode::Char('d') => self.open(Pane::Detail),
            KeyCode::Char('t') => self.open(Pane::Threads),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::PageDown => self.leaf(STRIDE),
            KeyCode::PageUp => self.leaf(-STRIDE),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX),
            _ => {}
        }
    }

    /// Closes what was opened last, and the program where nothing is open.
    fn back(&mut self) {
        if self.page.is_some() {
            self.page = None;
        } else if self.pane.is_some() {
            self.pane = None;
        } else if !self.filter.is_empty() {
            self.filter.clear();
        } else {
            self.has_quit = true;
        }
    }

    fn turn(&mut self, page: Page) {
        self.page = if self.page == Some(page) { None } else { Some(page) };
        self.scrolled = 0;
    }

    fn open(&mut self, pane: Pane) {
        self.page = None;
        self.pane = if self.pane == Some(pane) { None } else { Some(pane) };
        self.scrolled = 0;
    }

    fn sort_by_next(&mut self, steps: usize) {
        let sorted = Column::SORTED;
        let now = sorted.iter().position(|&column| column == self.sort.by).unwrap_or(0);
        self.sort = Sort { by: sorted[(now + steps) % sorted.len()], is_reversed: false };
    }

    /// The threads are more than a screen has room for, and the arrows choose whose they are.
    fn leaf(&mut self, by: isize) {
        if self.page.is_none() && self.pane == Some(Pane::Threads) {
            self.scroll(by / 2, examined::text(self).len());
        } else {
            self.go(by);
        }
    }

    fn scroll(&mut self, by: isize, lines: usize) {
        self.scrolled = self.scrolled.saturating_add_signed(by).min(lines.saturating_sub(1));
    }

    fn go(&mut self, by: isize) {
        if let Some(page) = self.page {
            return self.scroll(by, page::text(page, self.view()).len());
        }
        let rows = self.rows();
        let Some(now) = self.selected(&rows) else { return };
        let index = now.saturating_add_signed(by).min(rows.len() - 1);
        let place = rows[index].place.clone();
        self.scrolled = 0;
        self.index = index;
        self.selected = Some(place);
    }
}

fn gap_in_words(gap: &Unreadable) -> String {
    format!("{}: {}", gap.process.shown(), gap.reason)
}

#[cfg(test)]
pub(crate) mod tests {
    use accept_queue_core::rules::detector::Condition;

    use super::super::line::tests::{Made, observation};
    use super::*;

    fn scope(pid: Option<i32>) -> ScopeOptions {
        ScopeOptions { pid, node: None, port: None, all: false }
    }

    pub(crate) fn app() -> App {
        App::new(scope(None), Duration::from_millis(500))
    }

    pub(crate) fn press(app: &mut App, keys: &str) {
        for character in keys.chars() {
            let code = match character {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                '\x08' => KeyCode::Backspace,
                character => KeyCode::Char(character),
            };
            app.key(KeyEvent::new(code, KeyModifiers::NONE));
        }
    }

    fn ports(app: &App) -> Vec<u16> {
        app.rows().iter().map(|line| port(line)).collect()
    }

    fn port(line: &Line) -> u16 {
        match &line.place.1 {
            accept_queue_core::Endpoint::Tcp(address) => address.port,
            accept_queue_core::Endpoint::Unix(_) => 0,
        }
    }

    fn selected(app: &App) -> u16 {
        let rows = app.rows();
        port(rows[app.selected(&rows).expect("a row")])
    }

    fn with(app: &mut App, at: u64, lines: &[Made]) {
        app.observed(observation(Duration::from_secs(at), lines));
    }

    /// 8001 is deep, 8002 is quiet, 8003 is full.
    fn three(app: &mut App, at: u64) {
        with(app, at, &[Made::new(8001, 10, 100), Made::new(8002, 0, 100), Made::new(8003, 6, 5)]);
    }

    #[test]
    fn the_fullest_comes_first_and_the_order_can_be_turned() {
        let mut app = app();
        three(&mut app, 0);
        assert_eq!(ports(&app), [8003, 8001, 8002]);
        press(&mut app, "r");
        assert_eq!(ports(&app), [8002, 8001, 8003]);
    }

    #[test]
    fn what_is_wrong_comes_before_what_is_full() {
        let mut app = app();
        let stuck = Made::new(8002, 1, 100).raising(Condition::Stuck);
        let behind = Made::new(8001, 1, 100).raising(Condition::Behind);
        with(&mut app, 0, &[behind, stuck, Made::new(8003, 6, 5)]);
        assert_eq!(ports(&app), [8002, 8001, 8003]);
    }

    #[test]
    fn sorting_goes_through_all_columns_and_comes_back() {
        let mut app = app();
        three(&mut app, 0);
        let first = app.sort;
        press(&mut app, "s");
        assert_ne!(app.sort, first);
        press(&mut app, "S");
        assert_eq!(app.sort, first);
        for _ in Column::SORTED {
            press(&mut app, "s");
        }
        assert_eq!(app.sort, first);
        while app.sort.by != Column::Address {
            press(&mut app, "s");
        }
        assert_eq!(ports(&app), [8001, 8002, 8003]);
    }

    #[test]
    fn a_filter_is_typed_corrected_kept_and_cleared() {
        let mut app = app();
        three(&mut app, 0);
        press(&mut app, "/8002q");
        assert!(app.is_typing && !app.has_quit, "q is a letter here");
        assert!(ports(&app).is_empty());
        press(&mut app, "\x08\n");
        assert_eq!(ports(&app), [8002]);
        assert!(!app.is_typing);
        press(&mut app, "\x1b");
        assert_eq!(ports(&app).len(), 3);
        assert!(!app.has_quit, "the filter was what Esc closed");
        press(&mut app, "/8002\x1b");
        assert_eq!(ports(&app).len(), 3);
    }

    #[test]
    fn a_filter_knows_owners_and_conditions_in_any_case() {
        let mut app = app();
        let stuck = Made::new(8002, 1, 100).raising(Condition::Stuck).owned_by("mail");
        with(&mut app, 0, &[Made::new(8001, 0, 1).owned_by("Shop@host"), stuck]);
        press(&mut app, "/shop");
        assert_eq!(ports(&app), [8001]);
        press(&mut app, "\x1b/STUCK");
        assert_eq!(ports(&app), [8002]);
    }

    #[test]
    fn while_paused_nothing_moves_and_nothing_is_lost() {
        let mut app = app();
        three(&mut app, 0);
        press(&mut app, "p");
        with(&mut app, 1, &[Made::new(8001, 99, 100)]);
        assert!(app.is_paused());
        assert_eq!(ports(&app).len(), 3);
        press(&mut app, " ");
        assert_eq!(ports(&app), [8001]);
        assert_eq!(app.rows()[0].history.len(), 2, "what came meanwhile is in the history");
    }

    #[test]
    fn the_selection_follows_its_listener_and_not_its_row() {
        let mut app = app();
        three(&mut app, 0);
        assert_eq!(selected(&app), 8003);
        press(&mut app, "j");
        assert_eq!(selected(&app), 8001);
        with(&mut app, 1, &[Made::new(8001, 0, 100), Made::new(8002, 50, 100), Made::new(8003, 0, 5)]);
        assert_eq!(ports(&app), [8002, 8001, 8003]);
        assert_eq!(selected(&app), 8001);
        press(&mut app, "jjjj");
        assert_eq!(selected(&app), 8003);
        press(&mut app, "kkkkkk");
        assert_eq!(selected(&app), 8002);
        press(&mut app, "G");
        assert_eq!(selected(&app), 8003);
        press(&mut app, "g");
        assert_eq!(selected(&app), 8002);
    }

    #[test]
    fn where_the_selected_listener_is_gone_its_row_is_selected() {
        let mut app = app();
        three(&mut app, 0);
        press(&mut app, "j");
        with(&mut app, 1, &[Made::new(8003, 6, 5), Made::new(8002, 0, 100)]);
        assert_eq!(selected(&app), 8002);
        with(&mut app, 2, &[]);
        assert_eq!(app.selected(&app.rows()), None);
        press(&mut app, "jk\n");
    }

    #[test]
    fn esc_closes_one_thing_at_a_time_and_then_the_program() {
        let mut app = app();
        three(&mut app, 0);
        press(&mut app, "/80\n\n?");
        assert!(app.pane == Some(Pane::Detail) && app.page == Some(Page::Help));
        for _ in 0..3 {
            press(&mut app, "\x1b");
            assert!(!app.has_quit);
        }
        press(&mut app, "\x1b");
        assert!(app.has_quit);
    }

    #[test]
    fn control_c_quits_whatever_is_open() {
        for keys in ["", "/8", "?", "\n", "p"] {
            let mut app = app();
            three(&mut app, 0);
            press(&mut app, keys);
            app.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
            assert!(app.has_quit, "after {keys:?}");
        }
    }

    #[test]
    fn a_key_with_control_or_alt_is_no_letter() {
        let mut app = app();
        for modifiers in [KeyModifiers::CONTROL, KeyModifiers::ALT] {
            app.key(KeyEvent::new(KeyCode::Char('q'), modifiers));
        }
        assert!(!app.has_quit);
    }

    #[test]
    fn a_failed_reading_leaves_no_old_figures_and_is_forgotten_when_it_works_again() {
        let mut app = App::new(scope(Some(4711)), Duration::from_millis(500));
        three(&mut app, 0);
        app.failed(Error::NotFound);
        assert_eq!(app.failure.as_deref(), Some("process 4711 has ended"));
        assert!(app.has_ended && app.rows().is_empty());
        app.failed(Error::Truncated);
        assert!(!app.has_ended, "that may be better the next time");
        three(&mut app, 1);
        assert_eq!(app.failure, None);
    }

    #[test]
    fn drops_are_told_by_the_second() {
        let mut app = app();
        for (at, drops) in [(0, 100), (1, 100), (2, 130)] {
            with(&mut app, at, &[Made::new(8001, 6, 5).dropped(drops)]);
        }
        assert_eq!(app.rows()[0].drops_per_second(), Some(30.0));
        with(&mut app, 4, &[Made::new(8001, 6, 5).dropped(130)]);
        assert_eq!(app.rows()[0].drops_per_second(), Some(0.0));
    }

    #[test]
    fn one_reading_tells_no_rate_and_a_listener_made_anew_begins_anew() {
        let mut app = app();
        with(&mut app, 0, &[Made::new(8001, 6, 5).dropped(100)]);
        assert_eq!(app.rows()[0].drops_per_second(), None);
        with(&mut app, 1, &[Made::new(8001, 6, 5).dropped(3).made_anew()]);
        assert_eq!(app.rows()[0].drops_per_second(), None);
        assert_eq!(app.rows()[0].history.len(), 1);
    }

    #[test]
    fn nobody_stands_in_an_empty_queue_whoever_stood_there_at_the_last_look() {
        let mut app = app();
        with(&mut app, 0, &[Made::new(8001, 3, 5).waiting(Duration::from_secs(1), 2).holding(7).since_emptied()]);
        let rows = app.rows();
        let counts = rows[0].counts().expect("a look");
        assert_eq!((counts.queued_alive, counts.queued_closed, counts.queued_reset()), (0, 0, 0));
        assert_eq!((counts.oldest_wait, counts.close_wait), (None, 7));
    }
}
