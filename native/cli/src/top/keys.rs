//! Keys -> commands. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::page::Page;
use super::view::Pane;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    /// Close what was opened last.
    Close,
    /// Open this page, or close it.
    Page(Page),
    /// Open this pane, or close it.
    Pane(Pane),
    Pause,
    SortByNext,
    SortByPrevious,
    Reverse,
    /// So many rows or lines down.
    Move(isize),
    /// So many rows or lines down, or half as many lines of the threads.
    Leaf(isize),
    /// Start to type a filter.
    Filter,
    Type(char),
    Erase,
    KeepFilter,
    ClearFilter,
}

/// How far PgUp and PgDn go.
const STRIDE: isize = 10;

/// `None`: the key means nothing here. While a filter is typed, letters are letters.
pub(super) fn command(key: KeyEvent, is_typing: bool) -> Option<Command> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        _ if key.kind == KeyEventKind::Release => None,
        KeyCode::Char('c') if is_control => Some(Command::Quit),
        _ if is_control || key.modifiers.contains(KeyModifiers::ALT) => None,
        code if is_typing => typed(code),
        code => pressed(code),
    }
}

fn typed(code: KeyCode) -> Option<Command> {
    Some(match code {
        KeyCode::Esc => Command::ClearFilter,
        KeyCode::Enter => Command::KeepFilter,
        KeyCode::Backspace => Command::Erase,
        KeyCode::Char(character) if !character.is_control() => Command::Type(character),
        _ => return None,
    })
}

fn pressed(code: KeyCode) -> Option<Command> {
    Some(match code {
        KeyCode::Char('q') => Command::Quit,
        KeyCode::Esc => Command::Close,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Command::Page(Page::Help),
        KeyCode::Char('u') => Command::Page(Page::Gaps),
        KeyCode::Char('p' | ' ') => Command::Pause,
        KeyCode::Char('/') => Command::Filter,
        KeyCode::Char('s') => Command::SortByNext,
        KeyCode::Char('S') => Command::SortByPrevious,
        KeyCode::Char('r') => Command::Reverse,
        KeyCode::Enter | KeyCode::Char('d') => Command::Pane(Pane::Detail),
        KeyCode::Char('t') => Command::Pane(Pane::Threads),
        KeyCode::Down | KeyCode::Char('j') => Command::Move(1),
        KeyCode::Up | KeyCode::Char('k') => Command::Move(-1),
        KeyCode::PageDown => Command::Leaf(STRIDE),
        KeyCode::PageUp => Command::Leaf(-STRIDE),
        KeyCode::Home | KeyCode::Char('g') => Command::Move(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => Command::Move(isize::MAX),
        _ => return None,
    })
}
