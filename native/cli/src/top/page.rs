//! The pages that cover the table: help, and what could not be read. Pure.

use super::column::Column;
use super::view::View;
use super::words;
use super::wrap::wrapped;
use crate::args::manual::KEYS;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    Help,
    Gaps,
}

/// The cells of a name, before what it means.
const NAMES: usize = 11;

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
    let mut text: Vec<_> = KEYS.iter().copied().map(row).collect();
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
