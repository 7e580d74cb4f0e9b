//! The signs of the screen for a terminal whose locale has ASCII alone (`LANG=C`).

use ratatui::buffer::Buffer;

/// Replaces each sign outside ASCII.
pub(super) fn spell(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if !cell.symbol().is_ascii() {
            let sign = cell.symbol().chars().next().map_or('?', ascii);
            cell.set_char(sign);
        }
    }
}

/// Of bars, only what is full is `#`.
fn ascii(sign: char) -> char {
    match sign {
        '·' => '.',
        '▁' | '▂' | '▃' => '_',
        '▄' | '▅' => '-',
        '▆' | '▇' => '=',
        '█' => '#',
        '▏' | '▎' | '▍' => '-',
        '▌' | '▋' | '▊' | '▉' => '=',
        '─' => '-',
        '▼' => 'v',
        '▲' => '^',
        '…' => '~',
        _ => '?',
    }
}

/// Whether the locale of these variables, the first of which counts that has a value, has ASCII alone. Without any it is `C`.
pub(super) fn is_ascii(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
    let locale = locale.unwrap_or_default().to_lowercase();
    !(locale.contains("utf-8") || locale.contains("utf8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_with_a_value_says_whether_there_is_more_than_ascii() {
        for (all, ctype, lang, expected) in [
            ("", "", "", true),
            ("", "", "C", true),
            ("", "", "de_DE.ISO-8859-1", true),
            ("", "", "C.UTF-8", false),
            ("", "", "en_US.utf8", false),
            ("", "C", "C.UTF-8", true),
            ("C.UTF-8", "C", "C", false),
            ("POSIX", "C.UTF-8", "C.UTF-8", true),
        ] {
            let variable = |name: &str| {
                let value = match name {
                    "LC_ALL" => all,
                    "LC_CTYPE" => ctype,
                    _ => lang,
                };
                Some(value.to_owned())
            };
            assert_eq!(is_ascii(variable), expected, "{all:?} {ctype:?} {lang:?}");
        }
    }
}
