//! How what is wrong looks, with colours and without.

use accept_queue_core::rules::check::Severity;
use ratatui::style::{Color, Modifier, Style};

use super::ascii;

/// Whether there are colours and signs outside ASCII. Without colours, what is wrong is bold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    pub(crate) has_colours: bool,
    pub(crate) is_ascii: bool,
}

impl Palette {
    /// <https://no-color.org>, and the locale.
    pub(crate) fn of_environment() -> Palette {
        Palette {
            has_colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            is_ascii: ascii::is_ascii(|name| std::env::var(name).ok()),
        }
    }

    fn coloured(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn severity(self, severity: Severity) -> Style {
        match severity {
            Severity::Ok => Style::new(),
            Severity::Warning => self.coloured(Color::Yellow).add_modifier(Modifier::BOLD),
            Severity::Critical => self.coloured(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    pub(super) fn bar(self, severity: Severity) -> Style {
        if severity == Severity::Ok { self.coloured(Color::Cyan) } else { self.severity(severity) }
    }
}

pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub(super) const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);
pub(super) const UNDERLINED: Style = BOLD.add_modifier(Modifier::UNDERLINED);
