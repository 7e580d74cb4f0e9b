//! The pages that cover the table: help, and what could not be read. Pure.

use super::column::Column;
use super::view::View;
use super::words;
use super::wrap::wrapped;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    Help,
    Gaps,
}

/// The cells of a name, before what it means.
const NAMES: usize = 11;

/// What each key does.
const KEYS: [(&str, &str); 14] = [
    ("arrows j k", "the listener above, below; also the wheel, a click, Home End g G"),
    ("PgUp PgDn", "a page up, down"),
    ("Enter d", "everything that is known of it"),
    ("t", "why its process does not accept, and its threads; PgUp PgDn scroll"),
    ("s S", "sort by the next column, by the one before"),
    ("r", "turn the order round"),
    ("/", "only listeners with this in their address, owner or condition"),
    ("p space", "stop the screen; readings go on meanwhile"),
    ("u", "what could not be read, and what would help"),
    ("? h F1", "this page"),
    ("Esc", "close what was opened last; where nothing is open, quit"),
    ("Ctrl-L", "draw the screen again"),
    ("Ctrl-Z", "back to the shell; `fg` comes back here"),
    ("q Ctrl-C", "quit"),
];

/// Its lines, none wider than this.
pub(crate) fn lines(page: Page, view: &View, width: usize) -> Vec<String> {
    let indent = match page {
        Page::Help => NAMES,
        Page::Gaps => 2,
    };
    text(page, view).iter().flat_map(|line| wrapped(line, indent, width)).collect()
}

fn text(page: Page, view: &View) -> Vec<String> {
    match page {
        Page::Help => help(view),
        Page::Gaps if view.gaps.is_empty() => vec!["Everything in the scope could be read.".to_owned()],
        Page::Gaps => view.gaps.clone(),
    }
}

fn help(view: &View) -> Vec<String> {
    let row = |(name, meaning): (&str, &str)| format!("{name:<NAMES$}{meaning}");
    let mut text: Vec<_> = KEYS.into_iter().map(row).collect();
    text.push(String::new());
    text.extend(Column::ALL.into_iter().map(|column| row((column.title(), column.explanation()))));
    text.push(String::new());
    text.push(
        "Under the title: connections that servers of this network namespace got, and packets that met a full queue, a second."
            .to_owned(),
    );
    text.push(format!("The last reading took {}.", words::span(view.took)));
    text
}
