//! Reading what a process says of itself: never more than so many bytes, whatever it says.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use crate::Error;

/// As much as most files of `/proc` hold; `net/netstat` has more than 4,096.
const USUAL: usize = 8192;
/// More than the others have.
const MOST: usize = 1 << 20;
/// It is not as the kernel writes it.
pub(crate) const MALFORMED: Error = Error::Errno(crate::Errno::BAD_MESSAGE);

/// The whole of a file of `/proc`; [`Error::Truncated`] where it holds more than `most` bytes, [`Error::NotFound`] where
/// there is none, or its process has ended.
pub(crate) fn read(path: &str, most: usize) -> Result<Vec<u8>, Error> {
    let (bytes, is_cut) = beginning(path, most)?;
    if is_cut { Err(Error::Truncated) } else { Ok(bytes) }
}

/// The whole of a file of `/proc` that is not long, as text. The same errors.
pub(crate) fn text(path: &str) -> Result<String, Error> {
    String::from_utf8(read(path, MOST)?).map_err(|_| MALFORMED)
}

/// What a file of `/proc` begins with, as many bytes as `most`, and whether there were more. The same errors.
pub(crate) fn beginning(path: &str, most: usize) -> Result<(Vec<u8>, bool), Error> {
    // With room for what most of them hold: a buffer that has to grow makes six reads of one.
    let mut bytes = Vec::with_capacity(USUAL);
    File::open(path)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| reason(&error))?;
    let is_cut = bytes.len() > most;
    bytes.truncate(most);
    Ok((bytes, is_cut))
}

/// A file of one record (`single_open_net`) that is read again and again, and stays open; one of a network namespace is that of the thread
/// that read it first.
#[derive(Debug)]
pub(crate) struct KeptFile {
    path: &'static str,
    file: Option<File>,
}

impl KeptFile {
    /// Opened when it is first read.
    pub(crate) const fn new(path: &'static str) -> KeptFile {
        KeptFile { path, file: None }
    }

    /// The whole of it, as it is now, by one system call. The same errors.
    pub(crate) fn text(&mut self) -> Result<String, Error> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(self.path).map_err(|error| reason(&error))?,
        };
        let mut bytes = vec![0; USUAL];
        let length = loop {
            let length = file.read_at(&mut bytes, 0).map_err(|error| reason(&error))?;
            if length < bytes.len() {
                break length;
            }
            if length >= MOST {
                return Err(Error::Truncated);
            }
            bytes.resize(2 * length, 0);
        };
        // One that could not be read is opened again.
        self.file = Some(file);
        bytes.truncate(length);
        String::from_utf8(bytes).map_err(|_| MALFORMED)
    }
}

/// The numbers that a folder of `/proc` is made of, as many as `most`, and whether there were more.
pub(crate) fn numbers(path: &str, most: usize) -> Result<(Vec<i32>, bool), Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| reason(&error))? {
        let name = entry.map_err(|error| reason(&error))?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if found.len() == most {
            return Ok((found, true));
        }
        found.push(number);
    }
    Ok((found, false))
}

/// A process that ends while its file is open is "no such process".
pub(crate) fn reason(error: &std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ESRCH) => Error::NotFound,
        _ if error.kind() == ErrorKind::NotFound => Error::NotFound,
        Some(number) => Error::Errno(crate::Errno(number)),
        None => MALFORMED,
    }
}

/// Of a process that has ended, `/proc` has no folder, or one that answers nothing.
pub(crate) fn ended(errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::SRCH => Error::NotFound,
        errno => errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_an_error_and_not_its_beginning() {
        assert_eq!(read("/proc/self/status", 10), Err(Error::Truncated));
        assert!(read("/proc/self/status", 1 << 16).is_ok_and(|bytes| bytes.starts_with(b"Name:")));
        assert_eq!(read("/proc/0/status", 10), Err(Error::NotFound));
    }

    #[test]
    fn a_file_that_is_kept_open_is_read_whole_as_it_is_now() {
        let path = std::env::temp_dir().join(format!("accept_queue-kept-{}", std::process::id()));
        let mut kept = KeptFile::new(Box::leak(path.to_string_lossy().into_owned().into_boxed_str()));
        assert_eq!(kept.text(), Err(Error::NotFound));
        for length in [10, USUAL - 1, USUAL, 3 * USUAL, 5] {
            fs::write(&path, "x".repeat(length)).expect("a file");
            assert_eq!(kept.text().map(|text| text.len()), Ok(length));
        }
        fs::write(&path, "x".repeat(MOST)).expect("a file");
        assert_eq!(kept.text(), Err(Error::Truncated));
        fs::remove_file(&path).expect("it is there");
    }

    #[test]
    fn a_folder_that_is_too_long_says_so() {
        let (found, more) = numbers("/proc", 1).expect("at least this process");
        assert_eq!((found.len(), more), (1, true));
    }
}
