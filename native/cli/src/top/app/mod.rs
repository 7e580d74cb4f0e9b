//! What is on the screen and what the keys have asked for: observations and keys in, state out. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use accept_queue_core::Error;
use accept_queue_core::outside::observer::Reading;
use accept_queue_core::outside::snapshot::Scope;
use ratatui::crossterm::event::{KeyEvent, MouseButton, MouseEvent, MouseEventKind};

use super::column::Column;
use super::examiner::Examined;
use super::keys::{self, KeyCommand};
use super::page::{self, Page};
use super::row::{ListenerId, ListenerRow};
use super::sampler::{Observation, has_ended};
use super::threads::ThreadsPane;
use super::traffic::Totals;
use super::view::{Counters, Pane, View};
use crate::args::ScopeOptions;
use crate::figures::{Process, Unreadable};

/// The whole state.
#[derive(Debug)]
pub(crate) struct App {
    scope: ScopeOptions,
    pub(crate) interval: Duration,
    live: View,
    /// What was on the screen when it was paused.
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
    /// Lines of the page, or of the pane, that are scrolled off at the top.
    pub(crate) scrolled: usize,
    selected: Option<ListenerId>,
    index: usize,
    /// What the last drawing had room for.
    pub(crate) extent: Extent,
    pub(crate) wants_redraw: bool,
    pub(crate) wants_suspension: bool,
    pub(crate) has_quit: bool,
}

/// What a drawing had room for: how far a page goes, and what was clicked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) width: usize,
    /// Rows of the table that are seen, which of all is the first of them, and on which line it stands.
    pub(crate) rows: usize,
    pub(crate) first_row: usize,
    pub(crate) top: u16,
    /// Lines of the page, or of the pane.
    pub(crate) lines: usize,
}

impl Default for Extent {
    fn default() -> Extent {
        Extent { width: 80, rows: 10, first_row: 0, top: 2, lines: 10 }
    }
}

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sort {
    pub(crate) by: Column,
    pub(crate) is_reversed: bool,
}

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
            extent: Extent::default(),
            wants_redraw: false,
            wants_suspension: false,
            has_quit: false,
        }
    }

    /// Why there is no row.
    pub(crate) fn no_row(&self) -> String {
        let view = self.view();
        match (view.rows.is_empty(), &view.gaps[..]) {
            (false, _) => "No listener matches the filter.".to_owned(),
            (true, []) => format!("At the moment {}.", self.scope.no_listener()),
            (true, [gap]) => format!("Nothing could be read, so no listener is known. {gap}"),
            (true, gaps) => format!(
                "Nothing could be read of {} processes, so no listener is known. {} `u` shows the others.",
                gaps.len(),
                gaps[0]
            ),
        }
    }

    pub(crate) fn subject(&self) -> String {
        self.scope.subject()
    }

    pub(crate) fn observed(&mut self, observation: Observation) {
        let Observation { at, elapsed, took, sample, epoll, kernel, passive_opens, stopped } = observation;
        let mut before: HashMap<ListenerId, ListenerRow> =
            self.live.rows.drain(..).map(|row| (row.id.clone(), row)).collect();
        let follow = |(reading, epoll): (Reading, _)| {
            let id = (reading.namespace, reading.endpoint.clone());
            ListenerRow::follow(before.remove(&id), at, reading, epoll)
        };
        let known = self.live.kernel;
        let examined = self.live.examined.take();
        let mut traffic = std::mem::take(&mut self.live.traffic);
        let overflows = kernel.and_then(|(_, kernel)| kernel.listen_overflows);
        traffic.observed(at, Totals { connections: passive_opens, overflows });
        let counters = |(namespace, now)| Counters {
            namespace,
            now,
            first: known.filter(|known| known.namespace == namespace).map_or(now, |known| known.first),
        };
        self.live = View {
            elapsed,
            took,
            rows: sample.readings.into_iter().zip(epoll).map(follow).collect(),
            gaps: sample.gaps.iter().map(|gap| gap_in_words(&Unreadable::from(gap))).collect(),
            kernel: kernel.map(counters),
            traffic,
            stopped: stopped.iter().map(|process| Process::from(&**process).shown()).collect(),
            examined,
        };
        self.failure = None;
    }

    pub(crate) fn examined(&mut self, examined: Examined) {
        self.live.examined = Some((self.live.elapsed, Arc::new(examined)));
    }

    /// The process whose threads are wanted: the owner of the selected listener, or the only process in the scope.
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
        self.live.rows.clear();
    }

    /// What the pane of threads shows.
    pub(crate) fn threads(&self) -> ThreadsPane<'_> {
        ThreadsPane { view: self.view(), process: self.process(), has_rows: !self.rows().is_empty() }
    }

    pub(crate) fn view(&self) -> &View {
        self.frozen.as_ref().unwrap_or(&self.live)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.frozen.is_some()
    }

    /// The rows that the filter lets through, in their order.
    pub(crate) fn rows(&self) -> Vec<&ListenerRow> {
        let mut rows: Vec<_> = self.view().rows.iter().filter(|row| row.is_named(&self.filter)).collect();
        rows.sort_by(|one, other| {
            let order = self.sort.by.compare(one, other);
            let order = if self.sort.is_reversed { order.reverse() } else { order };
            order.then_with(|| one.id.cmp(&other.id))
        });
        rows
    }

    /// Which of the rows is selected. Until a key has chosen one it is the first, whichever that is.
    pub(crate) fn selected(&self, rows: &[&ListenerRow]) -> Option<usize> {
        let last = rows.len().checked_sub(1)?;
        let chosen = self.selected.as_ref().and_then(|id| rows.iter().position(|row| row.id == *id));
        Some(chosen.unwrap_or(self.index).min(last))
    }

    pub(crate) fn key(&mut self, key: KeyEvent) {
        if let Some(command) = keys::command(key, self.is_typing) {
            self.apply(command);
        }
    }

    fn apply(&mut self, command: KeyCommand) {
        match command {
            KeyCommand::Quit => self.has_quit = true,
            KeyCommand::Close => self.close(),
            KeyCommand::Page(page) => self.toggle_page(page),
            KeyCommand::Pane(pane) => self.toggle_pane(pane),
            KeyCommand::Pause => self.frozen = if self.is_paused() { None } else { Some(self.live.clone()) },
            KeyCommand::SortByNext => self.sort_by_next(1),
            KeyCommand::SortByPrevious => self.sort_by_next(Column::SORTED.len() - 1),
            KeyCommand::Reverse => self.sort.is_reversed = !self.sort.is_reversed,
            KeyCommand::Move(by) => self.go(by),
            KeyCommand::Leaf { is_down } => self.leaf(is_down),
            KeyCommand::Redraw => self.wants_redraw = true,
            KeyCommand::Suspend => self.wants_suspension = true,
            KeyCommand::Filter => {
                self.page = None;
                self.is_typing = true;
            }
            KeyCommand::Type(character) => self.filter.push(character),
            KeyCommand::Erase => drop(self.filter.pop()),
            KeyCommand::KeepFilter => self.is_typing = false,
            KeyCommand::ClearFilter => {
                self.filter.clear();
                self.is_typing = false;
            }
        }
    }

    /// Closes what was opened last, and the program where nothing is open.
    fn close(&mut self) {
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

    fn toggle_page(&mut self, page: Page) {
        self.page = if self.page == Some(page) { None } else { Some(page) };
        self.scrolled = 0;
    }

    fn toggle_pane(&mut self, pane: Pane) {
        self.page = None;
        self.pane = if self.pane == Some(pane) { None } else { Some(pane) };
        self.scrolled = 0;
    }

    fn sort_by_next(&mut self, steps: usize) {
        let sorted = Column::SORTED;
        let now = sorted.iter().position(|&column| column == self.sort.by).unwrap_or(0);
        self.sort = Sort { by: sorted[(now + steps) % sorted.len()], is_reversed: false };
    }

    /// The arrows choose another listener; PgUp and PgDn scroll its threads. Of text, one line of the page before stays.
    fn leaf(&mut self, is_down: bool) {
        let is_threads = self.page.is_none() && self.pane == Some(Pane::Threads);
        let length = match self.page {
            None if !is_threads => self.extent.rows,
            _ => self.extent.lines.saturating_sub(1),
        };
        let by = if is_down { 1 } else { -1 } * length.max(1) as isize;
        if is_threads {
            self.scroll(by, self.threads().wrapped(self.extent.width).len());
        } else {
            self.go(by);
        }
    }

    /// The wheel goes where the arrows go, and scrolls the threads where it is over them; a click selects.
    pub(crate) fn mouse(&mut self, event: MouseEvent) {
        match event.kind {
            MouseEventKind::ScrollDown => self.wheel(1, event.row),
            MouseEventKind::ScrollUp => self.wheel(-1, event.row),
            MouseEventKind::Down(MouseButton::Left) if self.page.is_none() => {
                let line = usize::from(event.row.wrapping_sub(self.extent.top));
                let index = self.extent.first_row + line;
                if line < self.extent.rows && index < self.rows().len() {
                    self.select(index);
                }
            }
            _ => {}
        }
    }

    fn wheel(&mut self, by: isize, row: u16) {
        let is_below = usize::from(row) >= usize::from(self.extent.top) + self.extent.rows;
        if is_below && self.page.is_none() && self.pane == Some(Pane::Threads) {
            self.scroll(by, self.threads().wrapped(self.extent.width).len());
        } else {
            self.go(by);
        }
    }

    fn scroll(&mut self, by: isize, lines: usize) {
        self.scrolled = self.scrolled.saturating_add_signed(by).min(lines.saturating_sub(1));
    }

    fn go(&mut self, by: isize) {
        if let Some(page) = self.page {
            return self.scroll(by, page::lines(page, self.view(), self.extent.width).len());
        }
        let rows = self.rows();
        let Some(now) = self.selected(&rows) else { return };
        self.select(now.saturating_add_signed(by).min(rows.len() - 1));
    }

    fn select(&mut self, index: usize) {
        let id = self.rows()[index].id.clone();
        self.scrolled = 0;
        self.index = index;
        self.selected = Some(id);
    }
}

fn gap_in_words(gap: &Unreadable) -> String {
    format!("{}: {}", gap.process.shown(), gap.reason)
}

#[cfg(test)]
mod tests;
