//! Standard output, of which somebody may have seen enough.

use std::io::{self, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Whether anybody reads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Present,
    Gone,
}

/// Writes all of it. That nobody reads on is no error.
pub(crate) fn write(to: &mut impl Write, bytes: &[u8]) -> Result<Reader, String> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Ok(()) => Ok(Reader::Present),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(format!("standard output: {error}")),
    }
}

/// The same, for what is written once.
pub(crate) fn print(bytes: &[u8]) -> Result<(), String> {
    write(&mut io::stdout().lock(), bytes).map(|_| ())
}

/// Whether anybody would read what there is not yet.
pub(crate) fn reader() -> Reader {
    let stdout = io::stdout();
    let mut descriptors = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut descriptors, Some(&at_once)) {
        Ok(1..) if descriptors[0].revents().contains(PollFlags::ERR) => Reader::Gone,
        _ => Reader::Present,
    }
}

/// The kernel's reason, in its words and without its number.
pub(crate) fn refusal(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
