//! Draws the state.

mod ascii;
mod palette;
mod panes;
mod table;

use accept_queue_core::rules::check::Severity;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Paragraph, TableState, Wrap};

pub(crate) use palette::Palette;
use palette::{BOLD, DIM, REVERSED};

use super::app::{App, Extent};
use super::page;
use super::row::{ListenerRow, Moment};
use super::traffic::Rates;
use super::view::Pane;
use super::words;

/// What is kept from one drawing to the next: how far the table is scrolled.
pub(crate) struct Screen {
    palette: Palette,
    table: TableState,
    pub(crate) extent: Extent,
}

/// With its graph, all of a listener in 80 columns.
const DETAIL_HEIGHT: u16 = 14;
/// What a word that does not fit leaves free at the end of a line.
const BREAK: usize = 12;
/// Between the two sides of the title.
const GAP_IN_TITLE: usize = 1;
/// On a lower screen each line is a listener's.
const LEAST_HEIGHT_FOR_TRAFFIC: u16 = 16;
/// Less of a table is no table.
const LEAST_TABLE: u16 = 5;

impl Screen {
    pub(crate) fn new(palette: Palette) -> Screen {
        Screen { palette, table: TableState::new(), extent: Extent::default() }
    }

    pub(crate) fn draw(&mut self, frame: &mut Frame, app: &App) {
        let notice = self.notice(app);
        let height = notice.as_ref().map_or(0, |notice| lines(notice.width(), frame.area().width));
        let traffic = app.view().traffic.rates().filter(|_| frame.area().height >= LEAST_HEIGHT_FOR_TRAFFIC);
        let heights = [1, traffic.map_or(0, |_| 1), height, 1].map(Constraint::Length);
        let [title, under_title, body, below, footer] =
            Layout::vertical([heights[0], heights[1], Constraint::Min(0), heights[2], heights[3]]).areas(frame.area());
        self.extent = Extent { width: frame.area().width.into(), rows: 0, lines: 1, ..Extent::default() };
        let rows = app.rows();
        self.title(frame, title, app, &rows);
        if let Some(rates) = traffic {
            frame.render_widget(self.traffic(rates), under_title);
        }
        match app.page {
            Some(page) => {
                let lines = page::lines(page, app.view(), body.width.into());
                let scrolled = app.scrolled.min(lines.len().saturating_sub(1));
                let text: Vec<_> = lines.into_iter().skip(scrolled).map(Text::from).collect();
                frame.render_widget(Paragraph::new(text), body);
                self.extent.lines = body.height.into();
            }
            None => self.listeners(frame, body, app, &rows),
        }
        if let Some(notice) = notice {
            frame.render_widget(Paragraph::new(notice).wrap(Wrap { trim: true }), below);
        }
        frame.render_widget(keys(app, footer.width.into()), footer);
        if self.palette.is_ascii {
            ascii::spell(frame.buffer_mut());
        }
    }

    fn title(&self, frame: &mut Frame, area: Rect, app: &App, rows: &[&ListenerRow]) {
        let troubled = rows.iter().filter(|row| row.severity() > Severity::Ok).count();
        let count = match rows.len() {
            1 => "1 listener".to_owned(),
            count => format!("{count} listeners"),
        };
        let arrow = if app.sort.is_reversed { '▲' } else { '▼' };
        let mut left = vec![Span::styled(format!("{}: {count}", app.subject()), BOLD)];
        if troubled > 0 {
            let worst = rows.iter().map(|row| row.severity()).max().unwrap_or(Severity::Ok);
            left.push(", ".into());
            left.push(Span::styled(format!("{troubled} in trouble"), self.palette.severity(worst)));
        }
        if let [first, others @ ..] = &app.view().stopped[..] {
            let others = if others.is_empty() { String::new() } else { format!(" and {} others", others.len()) };
            left.push(", ".into());
            let stopped = format!("{first}{others} stopped");
            left.push(Span::styled(stopped, self.palette.severity(Severity::Critical)));
        }
        let right = if app.is_paused() {
            Span::styled(" PAUSED ", REVERSED)
        } else {
            Span::styled(humantime::format_duration(app.interval).to_string(), DIM)
        };
        let mut room = usize::from(area.width).saturating_sub(right.width() + 1);
        let mut right = vec![right];
        // In a narrow terminal the row counts for more than the order, which the header shows as well.
        if let Some(row) = app.selected(rows) {
            let row = format!("row {} of {}  ", row + 1, rows.len());
            if left.iter().map(Span::width).sum::<usize>() + row.len() + GAP_IN_TITLE <= room {
                room -= row.len();
                right.insert(0, Span::styled(row, DIM));
            }
        }
        let order = format!(", by {} {arrow}", app.sort.by.title());
        if left.iter().map(Span::width).sum::<usize>() + Span::raw(&order).width() <= room {
            left.push(order.into());
        }
        let right = Text::from(right).alignment(Alignment::Right);
        let areas = Layout::horizontal([Constraint::Min(0), Constraint::Length(right.width() as u16 + 1)]);
        let [beside, at_right] = areas.areas(area);
        frame.render_widget(Text::from(left), beside);
        frame.render_widget(right, at_right);
    }

    /// Of the namespace of this program, whatever the scope is.
    fn traffic(&self, rates: Rates) -> Text<'static> {
        let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), words::rate);
        let style = if rates.overflows > Some(0.0) { self.palette.severity(Severity::Warning) } else { DIM };
        Text::from(vec![
            Span::styled(format!("network namespace: {} connections/s, ", rate(rates.connections)), DIM),
            Span::styled(format!("{} overflows/s", rate(rates.overflows)), style),
        ])
    }

    /// What could not be read.
    fn notice(&self, app: &App) -> Option<Text<'static>> {
        if let Some(failure) = &app.failure {
            return Some(Text::styled(failure.clone(), self.palette.severity(Severity::Critical)));
        }
        let gaps = &app.view().gaps;
        let first = gaps.first()?;
        let more = if gaps.len() > 1 { format!(", and {} more (u)", gaps.len() - 1) } else { " (u)".to_owned() };
        Some(Text::styled(format!("not seen{more}: {first}"), self.palette.severity(Severity::Warning)))
    }

    fn listeners(&mut self, frame: &mut Frame, area: Rect, app: &App, rows: &[&ListenerRow]) {
        let selected = app.selected(rows).map(|index| rows[index]);
        let pane = app.pane.filter(|&pane| pane == Pane::Threads || selected.is_some());
        let Some(pane) = pane else { return self.table(frame, area, app, rows) };
        let wanted = match pane {
            Pane::Detail => DETAIL_HEIGHT,
            // All of them, if it can be.
            Pane::Threads => area.height.saturating_sub(LEAST_TABLE.min(rows.len() as u16 + 1)),
        };
        let below = if area.height < DETAIL_HEIGHT + LEAST_TABLE { area.height } else { wanted };
        let [above, below] = Layout::vertical([Constraint::Min(0), Constraint::Length(below)]).areas(area);
        self.table(frame, above, app, rows);
        match (pane, selected) {
            (Pane::Detail, Some(row)) => self.detail(frame, below, app, row),
            _ => self.threads(frame, below, app),
        }
    }
}

/// That a text takes, with what breaking between words leaves free; four at the most.
fn lines(text: usize, width: u16) -> u16 {
    let per_line = usize::from(width).saturating_sub(BREAK).max(1);
    if text <= usize::from(width) { 1 } else { (text / per_line + 1).min(4) as u16 }
}

/// Of so many steps. One connection is visible, and only a full queue reaches the top.
fn level(moment: &Moment, steps: u64) -> u64 {
    if moment.queued > moment.limit {
        return steps;
    }
    let share = (moment.fill() * steps as f64) as u64;
    share.max((moment.queued > 0).into()).min(steps.saturating_sub(1))
}

/// What the keys do, and how much it matters: what has the greatest number is left out first.
type Hint = (&'static str, u8);

const ON_A_PAGE: &[Hint] = &[("Esc closes this page", 0), ("arrows scroll it", 2), ("q quit", 1)];
const ON_THREADS: &[Hint] = &[
    ("q quit", 0),
    ("? help", 1),
    ("t closes", 2),
    ("arrows another listener", 4),
    ("PgUp PgDn scroll", 3),
    ("p pause", 5),
];
const ON_THE_TABLE: &[Hint] = &[
    ("q quit", 0),
    ("? help", 1),
    ("/ filter", 4),
    ("s sort", 5),
    ("r reverse", 7),
    ("p pause", 6),
    ("Enter detail", 3),
    ("t threads", 2),
];

/// As many as fit.
fn hints(hints: &[Hint], room: usize) -> String {
    let joined =
        |most: u8| hints.iter().filter(|hint| hint.1 <= most).map(|hint| hint.0).collect::<Vec<_>>().join("  ");
    (0..hints.len() as u8).rev().map(joined).find(|text| text.len() <= room).unwrap_or_default()
}

fn keys(app: &App, room: usize) -> Text<'static> {
    let keys = |taken: usize| {
        let of = match (app.page, app.pane) {
            (Some(_), _) => ON_A_PAGE,
            (None, Some(Pane::Threads)) => ON_THREADS,
            (None, _) => ON_THE_TABLE,
        };
        Span::styled(hints(of, room.saturating_sub(taken)), DIM)
    };
    if app.is_typing {
        let typed = Span::styled(format!("filter: {}", app.filter), BOLD);
        Text::from(vec![typed, Span::styled(" ", REVERSED), Span::styled("  Enter keeps it, Esc clears it", DIM)])
    } else if app.filter.is_empty() {
        Text::from(keys(0))
    } else {
        let kept = Span::styled(format!("filter: {}  ", app.filter), BOLD);
        let keys = keys(kept.width());
        Text::from(vec![kept, keys])
    }
}

#[cfg(test)]
mod tests;
