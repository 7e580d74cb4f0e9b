//! What is open below the table: a listener in detail, or the threads of its process.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Block, Borders, Paragraph, RenderDirection, Sparkline};

use super::palette::BOLD;
use super::{DETAIL_HEIGHT, Screen, level};
use crate::top::app::App;
use crate::top::detail;
use crate::top::row::ListenerRow;
use crate::top::wrap::wrapped;

const GRAPH_HEIGHT: u16 = 3;

impl Screen {
    pub(super) fn detail(&mut self, frame: &mut Frame, area: Rect, app: &App, row: &ListenerRow) {
        let inside = titled(frame, area, &row.address);
        let graph = if inside.height >= DETAIL_HEIGHT - 1 { GRAPH_HEIGHT } else { 0 };
        let [above, below] = Layout::vertical([Constraint::Length(graph), Constraint::Min(0)]).areas(inside);
        frame.render_widget(self.graph(row, above), above);
        let width = usize::from(below.width);
        let text = detail::text(row, app.view());
        let text: Vec<_> = text.iter().flat_map(|line| wrapped(line, detail::INDENT, width)).map(Text::from).collect();
        frame.render_widget(Paragraph::new(text), below);
    }

    pub(super) fn threads(&mut self, frame: &mut Frame, area: Rect, app: &App) {
        let threads = app.threads();
        let inside = titled(frame, area, &threads.title());
        let styled = |(severity, text)| Text::styled(text, self.palette.severity(severity));
        let lines = threads.wrapped(inside.width.into());
        let scrolled = app.scrolled.min(lines.len().saturating_sub(1));
        let text: Vec<_> = lines.into_iter().skip(scrolled).map(styled).collect();
        frame.render_widget(Paragraph::new(text), inside);
        self.extent.lines = inside.height.into();
    }

    /// The newest at the right; the top is full.
    fn graph(&self, row: &ListenerRow, area: Rect) -> Sparkline<'static> {
        let newest_first = row.history.iter().rev().take(area.width.into());
        let steps = u64::from(area.height) * 8;
        Sparkline::default()
            .data(newest_first.map(|moment| level(moment, steps)).collect::<Vec<_>>())
            .max(steps)
            .direction(RenderDirection::RightToLeft)
            .style(self.palette.bar(row.severity()))
    }
}

/// A line with a title, and the room under it.
fn titled(frame: &mut Frame, area: Rect, title: &str) -> Rect {
    let block = Block::new().borders(Borders::TOP).title(Span::styled(format!(" {title} "), BOLD));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    inside
}
