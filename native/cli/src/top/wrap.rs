//! Breaks lines between words, and keeps their indent. Pure.

use ratatui::text::Span;

/// The line in so many cells; what does not fit goes on below, so many cells from the left.
pub(super) fn wrapped(line: &str, indent: usize, room: usize) -> Vec<String> {
    let room = room.max(1);
    if cells(line) <= room {
        return vec![line.to_owned()];
    }
    let indent = " ".repeat(indent.min(room / 2));
    let mut done = Vec::new();
    let mut current = String::new();
    for word in line.split_inclusive(' ') {
        if cells(&current) + cells(word.trim_end()) > room && !current.trim().is_empty() {
            done.push(current.trim_end().to_owned());
            current.clone_from(&indent);
        }
        for letter in word.chars() {
            let is_at_beginning = !done.is_empty() && current == indent;
            if letter == ' ' && (is_at_beginning || cells(&current) == room) {
                continue;
            }
            // A word longer than the room is broken anywhere.
            if cells(&current) + cells(letter.encode_utf8(&mut [0; 4])) > room {
                done.push(std::mem::replace(&mut current, indent.clone()));
            }
            current.push(letter);
        }
    }
    done.push(current.trim_end().to_owned());
    done
}

/// Where the text of a finding begins: after its spaces, and after an arrow.
pub(super) fn indent(line: &str) -> usize {
    let text = line.trim_start();
    let arrow = if text.starts_with("-> ") { 3 } else { 0 };
    line.len() - text.len() + arrow
}

fn cells(text: &str) -> usize {
    Span::raw(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_goes_on_below_its_own_beginning() {
        for (line, room, shown) in [
            ("  -> one two three", 12, &["  -> one two", "     three"][..]),
            ("  a finding of words", 11, &["  a finding", "  of words"]),
            ("fits", 4, &["fits"]),
            ("abcdefgh", 3, &["abc", "def", "gh"]),
            ("  abcdefgh", 6, &["  abcd", "  efgh"]),
            ("店店店", 4, &["店店", "店"]),
            ("a  b   c", 4, &["a  b", "c"]),
        ] {
            assert_eq!(wrapped(line, indent(line), room), shown, "{line:?} in {room}");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_room_and_no_room_is_too_small() {
        let line =
            "  -> A native call of more than 1 ms belongs on a dirty scheduler; `+sfwi 500` lets others take over.";
        for room in 0..60 {
            let lines = wrapped(line, indent(line), room);
            assert!(lines.iter().all(|line| cells(line) <= room.max(1)), "{room}: {lines:?}");
        }
    }
}
