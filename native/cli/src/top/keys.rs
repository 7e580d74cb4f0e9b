//! Keys -> commands. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::page::Page;
use super::view::Pane;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyCommand {
    Quit,
    /// Close what was opened last.
    Close,
    /// Open this page, or close it.
    Page(Page),
    /// Open this pane, or close it.
    Pane(Pane),
    Pause,
    /// Draw the whole screen again.
    Redraw,
    /// Leave the terminal to the shell until it says `fg`.
    Suspend,
    SortByNext,
    SortByPrevious,
    Reverse,
    /// So many rows or lines down.
    Move(isize),
    /// A page of rows or lines down, or up.
    Leaf {
        is_down: bool,
    },
    /// Start to type a filter.
    Filter,
    Type(char),
    Erase,
    KeepFilter,
    ClearFilter,
}

/// `None`: the key means nothing here. While a filter is typed, letters are letters.
pub(super) fn command(key: KeyEvent, is_typing: bool) -> Option<KeyCommand> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        _ if key.kind == KeyEventKind::Release => None,
        KeyCode::Char('c') if is_control => Some(KeyCommand::Quit),
        KeyCode::Char('l') if is_control => Some(KeyCommand::Redraw),
        KeyCode::Char('z') if is_control => Some(KeyCommand::Suspend),
        _ if is_control || key.modifiers.contains(KeyModifiers::ALT) => None,
        code if is_typing => typed(code),
        code => pressed(code),
    }
}

fn typed(code: KeyCode) -> Option<KeyCommand> {
    Some(match code {
        KeyCode::Esc => KeyCommand::ClearFilter,
        KeyCode::Enter => KeyCommand::KeepFilter,
        KeyCode::Backspace => KeyCommand::Erase,
        KeyCode::Char(character) if !character.is_control() => KeyCommand::Type(character),
        _ => return None,
    })
}

fn pressed(code: KeyCode) -> Option<KeyCommand> {
    Some(match code {
        KeyCode::Char('q') => KeyCommand::Quit,
        KeyCode::Esc => KeyCommand::Close,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => KeyCommand::Page(Page::Help),
        KeyCode::Char('u') => KeyCommand::Page(Page::Gaps),
        KeyCode::Char('p' | ' ') => KeyCommand::Pause,
        KeyCode::Char('/') => KeyCommand::Filter,
        KeyCode::Char('s') => KeyCommand::SortByNext,
        KeyCode::Char('S') => KeyCommand::SortByPrevious,
        KeyCode::Char('r') => KeyCommand::Reverse,
        KeyCode::Enter | KeyCode::Char('d') => KeyCommand::Pane(Pane::Detail),
        KeyCode::Char('t') => KeyCommand::Pane(Pane::Threads),
        KeyCode::Down | KeyCode::Char('j') => KeyCommand::Move(1),
        KeyCode::Up | KeyCode::Char('k') => KeyCommand::Move(-1),
        KeyCode::PageDown => KeyCommand::Leaf { is_down: true },
        KeyCode::PageUp => KeyCommand::Leaf { is_down: false },
        KeyCode::Home | KeyCode::Char('g') => KeyCommand::Move(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => KeyCommand::Move(isize::MAX),
        _ => return None,
    })
}
