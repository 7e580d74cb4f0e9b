//! The table of the listeners.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, Wrap};

use super::palette::{BOLD, DIM, REVERSED, UNDERLINED};
use super::{Screen, level};
use crate::list::cut;
use crate::top::app::App;
use crate::top::column::{Column, GAP, fitting};
use crate::top::row::ListenerRow;

impl Screen {
    pub(super) fn table(&mut self, frame: &mut Frame, area: Rect, app: &App, rows: &[&ListenerRow]) {
        if rows.is_empty() {
            return frame.render_widget(Paragraph::new(app.no_row()).wrap(Wrap { trim: true }), area);
        }
        let columns = fitting(area.width.into(), rows);
        let header = columns.iter().map(|&(column, _)| {
            let style = if column == app.sort.by { UNDERLINED } else { BOLD };
            Cell::new(aligned(column, Text::styled(column.title(), style)))
        });
        let body =
            rows.iter().map(|row| Row::new(columns.iter().map(|&(column, width)| self.cell(row, column, width))));
        let widths = columns.iter().map(|&(_, width)| Constraint::Length(width as u16));
        let table =
            Table::new(body, widths).header(Row::new(header)).column_spacing(GAP as u16).row_highlight_style(REVERSED);
        self.table.select(app.selected(rows));
        frame.render_stateful_widget(table, area, &mut self.table);
        self.extent.rows = area.height.saturating_sub(1).into();
        self.extent.first_row = self.table.offset();
        self.extent.top = area.y + 1;
        // A full block is all foreground: reversed it would be all background.
        let buffer = frame.buffer_mut();
        for at in area.positions() {
            let cell = &mut buffer[at];
            if cell.symbol().starts_with(|sign| ('▁'..='█').contains(&sign)) {
                cell.modifier.remove(Modifier::REVERSED);
            }
        }
    }

    fn cell(&self, row: &ListenerRow, column: Column, width: usize) -> Cell<'static> {
        let text = match column {
            Column::Fill => bar(row.fill(), width, self.palette.bar(row.severity())),
            Column::History => Text::styled(history(row, width), self.palette.bar(row.severity())),
            Column::Conditions => {
                Text::styled(beginning(column.text(row), width), self.palette.severity(row.severity()))
            }
            Column::Address => end(column.text(row), width).into(),
            Column::Owner => cut(&column.text(row), width).into(),
            _ => beginning(column.text(row), width).into(),
        };
        Cell::new(aligned(column, text))
    }
}

pub(super) fn history(row: &ListenerRow, width: usize) -> String {
    const LEVELS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let newest = row.history.iter().skip(row.history.len().saturating_sub(width));
    let signs: String = newest.map(|moment| LEVELS[level(moment, 8) as usize]).collect();
    format!("{signs:>width$}")
}

fn bar(fill: f64, width: usize, style: Style) -> Text<'static> {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (fill * width as f64 * 8.0) as usize;
    let filled = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    let rest = "·".repeat(width - filled.chars().count());
    Text::from(vec![Span::styled(filled, style), Span::styled(rest, DIM)])
}

fn aligned(column: Column, text: Text<'_>) -> Text<'_> {
    text.alignment(if column.is_figure() { Alignment::Right } else { Alignment::Left })
}

/// Cut off at the right.
fn beginning(text: String, width: usize) -> String {
    if text.chars().count() <= width { text } else { text.chars().take(width - 1).chain(['…']).collect() }
}

/// Cut off at the left: addresses and paths differ at their ends.
fn end(text: String, width: usize) -> String {
    let count = text.chars().count();
    if count <= width { text } else { ['…'].into_iter().chain(text.chars().skip(count + 1 - width)).collect() }
}
