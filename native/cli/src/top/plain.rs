//! The screen as a text table at each interval, where there is no terminal to draw on.

use std::io;

use comfy_table::{CellAlignment, Table, presets};

use super::app::App;
use super::column::Column;
use super::sampler::Sampler;
use super::words;
use crate::output::{self, Reader};

/// Ends when the reader of standard output has gone, or there is nothing more to read.
pub(crate) fn run(mut app: App, sampler: Sampler) -> Result<(), String> {
    let mut outcome = write(&app);
    if outcome == Ok(Reader::Present) {
        sampler.run(|observed| {
            match observed {
                Ok(observation) => app.observed(observation),
                Err(error) => app.failed(error),
            }
            outcome = match &app.failure {
                Some(failure) if app.has_ended => Err(failure.clone()),
                _ => write(&app),
            };
            outcome == Ok(Reader::Present)
        });
    }
    outcome.map(drop)
}

fn write(app: &App) -> Result<Reader, String> {
    output::write(&mut io::stdout().lock(), text(app).as_bytes())
}

fn text(app: &App) -> String {
    let view = app.view();
    let rows = app.rows();
    let mut text = format!("{}, after {}\n", app.subject(), words::span(view.elapsed));
    for process in &view.stopped {
        text.push_str(&format!("{process} is stopped (state T): `kill -CONT` lets it go on\n"));
    }
    if let Some(failure) = &app.failure {
        text.push_str(&format!("{failure}\n"));
    } else if rows.is_empty() {
        text.push_str(&format!("{}\n", app.no_row()));
    } else {
        let columns = || Column::ALL.into_iter().filter(|column| !matches!(column, Column::Fill | Column::History));
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(columns().map(Column::title));
        table.add_rows(rows.iter().map(|row| columns().map(|column| column.text(row)).collect::<Vec<_>>()));
        for (index, column) in columns().enumerate() {
            if let Some(cells) = table.column_mut(index).filter(|_| column.is_figure()) {
                cells.set_cell_alignment(CellAlignment::Right);
            }
        }
        text.push_str(&table.trim_fmt());
        text.push('\n');
    }
    for gap in &view.gaps {
        text.push_str(&format!("not seen: {gap}\n"));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixtures::{MadeUp, app, gap, observation};
    use super::*;

    #[test]
    fn a_table_has_what_the_screen_has() {
        let mut app = app();
        let mut observed = observation(Duration::from_secs(3), &[MadeUp::new(8080, 6, 5).polled(None)]);
        observed.sample.gaps.push(gap("a\x1bb"));
        app.observed(observed);
        let text = text(&app);
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(lines[0], "every BEAM, after 3.0s");
        assert!(lines[1].starts_with("ADDRESS") && lines[1].ends_with("OWNER"), "{text}");
        let words: Vec<_> = lines[2].split_whitespace().collect();
        assert_eq!(
            words,
            ["127.0.0.1:8080", "6/5", "-", "-", "never_accepted", "6", "0", "0", "0", "shop@host", "(4711)"]
        );
        assert!(lines[3].starts_with("not seen: a\\u{1b}b (4711): "), "{text}");
    }

    #[test]
    fn an_empty_table_is_a_sentence() {
        let mut app = app();
        app.observed(observation(Duration::ZERO, &[]));
        assert_eq!(text(&app), "every BEAM, after 0ms\nAt the moment no BEAM has a listener.\n\n");
    }
}
