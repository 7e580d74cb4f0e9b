//! JSON that is safe to show: names are other people's, and a document ends on a terminal, in a log, or in a page.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::output::is_printable;

/// One line, without its end.
pub(crate) fn line(document: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    write(document, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The same, behind what `to` holds already.
pub(crate) fn write(document: &impl Serialize, to: &mut Vec<u8>) -> serde_json::Result<()> {
    document.serialize(&mut Serializer::with_formatter(to, Harmless))
}

/// Escapes what is not printable, and `<`, so that no text ends the script element that it stands in. To a program that reads it
/// the text is the same.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, letter) in fragment.char_indices().filter(|&(_, letter)| letter == '<' || !is_printable(letter)) {
            to.write_all(&fragment.as_bytes()[plain..at])?;
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(to, "\\u{unit:04x}")?;
            }
            plain = at + letter.len_utf8();
        }
        to.write_all(&fragment.as_bytes()[plain..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_character_that_moves_or_hides_text_is_written() {
        let name = "\u{9b}31m\u{202e}\u{2028}\u{2029}\u{feff}\u{e0001}</script>\u{7f}\u{1b}ü\"";
        assert_eq!(
            line(&name).expect("JSON"),
            r#""\u009b31m\u202e\u2028\u2029\ufeff\udb40\udc01\u003c/script>\u007f\u001bü\"""#
        );
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(text: String) {
            let json = line(&text).expect("JSON");
            prop_assert!(json.chars().all(is_printable) && !json.contains('<'));
            prop_assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
        }
    }
}
