//! Standard output, whose reader may close it at any time (`| head`).

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Present,
    Gone,
}

/// Writes all of it. A reader that has gone is no error.
pub(crate) fn write(to: &mut impl Write, bytes: &[u8]) -> Result<Reader, String> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Ok(()) => Ok(Reader::Present),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(format!("standard output: {error}")),
    }
}

/// The same for output that is written once.
pub(crate) fn print(bytes: &[u8]) -> Result<(), String> {
    write(&mut io::stdout().lock(), bytes).map(|_| ())
}

/// In place of the name of a file: standard input, or standard output. A file of that name is `./-`.
pub(crate) fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// Standard output for what is no text.
pub(crate) fn binary() -> Result<File, String> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        return Err("standard output: is a terminal, and this is no text: name a file, or a pipe".to_owned());
    }
    let own = stdout.as_fd().try_clone_to_owned();
    own.map(File::from).map_err(|error| format!("standard output: {}", refusal(&error)))
}

/// Whether the next write would have a reader.
pub(crate) fn reader() -> Reader {
    let stdout = io::stdout();
    let mut descriptors = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut descriptors, Some(&at_once)) {
        Ok(1..) if descriptors[0].revents().contains(PollFlags::ERR) => Reader::Gone,
        _ => Reader::Present,
    }
}

/// Whether a character shows as itself: it is no control character (Cc), no format character (Cf: directions, marks of no width), no
/// separator of lines (Zl, Zp), and none that is not assigned.
pub(crate) fn is_printable(letter: char) -> bool {
    // Of ASCII, `escape_debug` also escapes quotes and the backslash.
    if letter.is_ascii() { !letter.is_ascii_control() } else { letter.escape_debug().len() == 1 }
}

/// Text for people, with everything else escaped.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|letter| if is_printable(letter) { vec![letter] } else { letter.escape_debug().collect() })
        .collect()
}

/// The kernel's error text, without its number.
pub(crate) fn refusal(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
