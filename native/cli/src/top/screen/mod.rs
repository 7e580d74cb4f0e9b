//! Draws the state.

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

use super::app::App;
use super::page;
use super::row::{ListenerRow, Moment};
use super::view::Pane;

/// What is kept from one drawing to the next: how far the table is scrolled.
pub(crate) struct Screen {
    palette: Palette,
    table: TableState,
}

/// With its graph, all of a listener in 80 columns.
const DETAIL_HEIGHT: u16 = 14;
/// What a word that does not fit leaves free at the end of a line.
const BREAK: usize = 12;
/// Less of a table is no table.
const LEAST_TABLE: u16 = 5;

impl Screen {
    pub(crate) fn new(palette: Palette) -> Screen {
        Screen { palette, table: TableState::new() }
    }

    pub(crate) fn draw(&mut self, frame: &mut Frame, app: &App) {
        let notice = self.notice(app);
        let height = notice.as_ref().map_or(0, |notice| lines(notice.width(), frame.area().width));
        let heights = [1, height, 1].map(Constraint::Length);
        let [title, body, below, footer] =
            Layout::vertical([heights[0], Constraint::Min(0), heights[1], heights[2]]).areas(frame.area());
        let rows = app.rows();
        self.title(frame, title, app, &rows);
        match app.page {
            Some(page) => {
                let text: Vec<_> = page::text(page, app.view()).into_iter().map(Text::from).collect();
                let page = Paragraph::new(text).wrap(Wrap { trim: false }).scroll((app.scrolled as u16, 0));
                frame.render_widget(page, body);
            }
            None => self.listeners(frame, body, app, &rows),
        }
        if let Some(notice) = notice {
            frame.render_widget(Paragraph::new(notice).wrap(Wrap { trim: true }), below);
        }
        frame.render_widget(keys(app), footer);
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
        left.push(format!(", by {} {arrow}", app.sort.by.title()).into());
        let right = if app.is_paused() {
            Span::styled(" PAUSED ", REVERSED)
        } else {
            Span::styled(humantime::format_duration(app.interval).to_string(), DIM)
        };
        let areas = Layout::horizontal([Constraint::Min(0), Constraint::Length(right.width() as u16 + 1)]);
        let [beside, at_right] = areas.areas(area);
        frame.render_widget(Text::from(left), beside);
        frame.render_widget(Text::from(right).alignment(Alignment::Right), at_right);
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

fn keys(app: &App) -> Text<'static> {
    let keys = match (app.page, app.pane) {
        (Some(_), _) => "Esc closes this page  arrows scroll it  q quit",
        (None, Some(Pane::Threads)) => "q quit  ? help  t closes  arrows another listener  PgUp PgDn scroll  p pause",
        (None, _) => "q quit  ? help  / filter  s sort  r reverse  p pause  Enter detail  t threads",
    };
    if app.is_typing {
        let typed = Span::styled(format!("filter: {}", app.filter), BOLD);
        Text::from(vec![typed, Span::styled(" ", REVERSED), Span::styled("  Enter keeps it, Esc clears it", DIM)])
    } else if app.filter.is_empty() {
        Text::styled(keys, DIM)
    } else {
        let kept = Span::styled(format!("filter: {}  ", app.filter), BOLD);
        Text::from(vec![kept, Span::styled(keys, DIM)])
    }
}

#[cfg(test)]
mod tests;
