//! The file: opened where it is ours, cut where it is torn, and only ever longer from there on.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::condition::many;
use crate::output::refusal;
use crate::recording::{Entries, Entry, HEAD, LARGEST, MAGIC, is_torn};

/// Kept free for the last entry.
const RESERVE: u64 = 256;

pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// Up to here, everything is whole.
    length: u64,
    /// What it was when it was opened.
    before: u64,
    is_new: bool,
    most: u64,
}

/// Whether there is room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Left,
    None,
}

impl Log {
    /// A file that is not a recording, or that somebody writes to, is not touched.
    pub(super) fn open(path: &Path, most: u64) -> Result<Log, String> {
        let refused = |reason: &str| format!("{}: {reason}", shown(path));
        let failed = |error: io::Error| refused(&refusal(&error));
        let is_new = match fs::metadata(path) {
            Ok(status) if status.is_dir() => return Err(failed(ErrorKind::IsADirectory.into())),
            // To open a device or a pipe may do something already.
            Ok(status) if !status.is_file() => {
                return Err(refused("is no file: a recording is gone on with, and read again"));
            }
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => return Err(failed(error)),
        };
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Some file systems have no locks.
            Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS) => {}
            Err(Errno::WOULDBLOCK) => return Err(refused("another accept-queue record is writing to it")),
            Err(error) => return Err(failed(error.into())),
        }
        let mut log = Log { path: path.to_owned(), file, length: 0, before: 0, is_new, most };
        log.find_end()?;
        log.before = log.length;
        Ok(log)
    }

    /// Adds them, all or none.
    pub(super) fn write(&mut self, entries: &[Entry]) -> Result<Room, String> {
        let bytes = self.bytes(entries);
        if self.length + bytes.len() as u64 + RESERVE > self.most {
            return Ok(Room::None);
        }
        if let Err(reason) = self.append(&bytes) {
            // It says why it ends, where there is room for that.
            let at_ms = entries.iter().rev().find_map(|entry| match entry {
                Entry::Sample(sample) => Some(sample.at_ms),
                _ => None,
            });
            let end = Entry::Ended { at_ms: at_ms.unwrap_or(0), why: reason.clone() };
            let _ = self.append(&self.bytes(&[end]));
            let held = if self.length == 0 { "nothing is recorded" } else { "what was recorded before can be read" };
            return Err(format!("{}: {reason}; {held}", self.shown()));
        }
        Ok(Room::Left)
    }

    /// The last entries; how many bytes have come since it was opened.
    pub(super) fn finish(mut self, entries: &[Entry]) -> Result<u64, String> {
        let written = self.append(&self.bytes(entries));
        let kept = written.and_then(|()| self.file.sync_all().map_err(|error| refusal(&error)));
        kept.map_err(|reason| format!("{}: {reason}; what was recorded before can be read", self.shown()))?;
        Ok(self.length - self.before)
    }

    /// What has come to nothing leaves nothing behind.
    pub(super) fn forget_if_new(&self) {
        if self.is_new && self.length == 0 {
            // It stays, then, and is empty.
            let _ = fs::remove_file(&self.path);
        }
    }

    pub(super) fn shown(&self) -> String {
        shown(&self.path)
    }

    fn bytes(&self, entries: &[Entry]) -> Vec<u8> {
        let mut bytes = if self.length == 0 { MAGIC.to_vec() } else { Vec::new() };
        entries.iter().for_each(|entry| entry.write(&mut bytes));
        bytes
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), String> {
        if let Err(error) = self.file.write_all_at(bytes, self.length) {
            // A part of it may stand there. Where it cannot be cut off, the next run will.
            let _ = self.file.set_len(self.length);
            return Err(refusal(&error));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Where the last entry that is whole ends. What is torn behind it is cut off.
    fn find_end(&mut self) -> Result<(), String> {
        let shown = self.shown();
        let failed = |error: io::Error| format!("{shown}: {}", refusal(&error));
        let mut name = [0; MAGIC.len()];
        let all = self.file.metadata().map_err(failed)?.len();
        let named = all.min(MAGIC.len() as u64) as usize;
        self.file.read_exact_at(&mut name[..named], 0).map_err(failed)?;
        if name[..named] != MAGIC[..named] {
            let is_other_version = name[..MAGIC.len() - 1] == MAGIC[..MAGIC.len() - 1];
            return Err(if is_other_version {
                let [.., own] = MAGIC;
                let [.., other] = name;
                format!("{shown}: is a recording of version {other}, and this program writes version {own}")
            } else {
                format!("{shown}: is no recording, and is left as it is")
            });
        }
        let mut whole = 0;
        if named == MAGIC.len() {
            self.file.seek(SeekFrom::Start(MAGIC.len() as u64)).map_err(failed)?;
            let mut entries = Entries::new(BufReader::new(&self.file));
            while entries.next().map_err(failed)?.is_some() {}
            whole = entries.whole();
            if self.tail_is_worth_something(whole, all).map_err(failed)? {
                return Err(format!(
                    "{shown}: is damaged at byte {whole}, and whole again behind it: it is not gone on with, and is left as it is"
                ));
            }
        }
        if whole + RESERVE > self.most {
            return Err(format!("{shown}: has {whole} bytes, and --max-size allows {}", self.most));
        }
        if whole < all {
            self.file.set_len(whole).map_err(failed)?;
            let torn = many(all - whole, "byte");
            eprintln!("accept-queue: {shown}: {torn} of an entry that was not finished are cut off.");
        }
        self.length = whole;
        Ok(())
    }

    /// What follows the last entry that is whole.
    fn tail_is_worth_something(&self, whole: u64, all: u64) -> io::Result<bool> {
        let mut from = &self.file;
        from.seek(SeekFrom::Start(whole))?;
        let mut left = from.take(all - whole);
        let mut part = Vec::new();
        loop {
            part.clear();
            left.by_ref().take((HEAD + LARGEST) as u64).read_to_end(&mut part)?;
            match part.as_slice() {
                [] => return Ok(false),
                part if !is_torn(part) => return Ok(true),
                _ => {}
            }
        }
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Sample;

    fn sample(at_ms: u64) -> Entry {
        Entry::Sample(Sample { at_ms, ..Sample::default() })
    }

    fn read(path: &Path) -> Vec<Entry> {
        let bytes = fs::read(path).expect("a recording");
        let mut entries = Entries::new(&bytes[MAGIC.len()..]);
        let read = std::iter::from_fn(|| entries.next().expect("memory can be read")).collect();
        assert_eq!(entries.whole(), bytes.len() as u64, "all of it is whole");
        read
    }

    #[test]
    fn wherever_the_end_was_torn_the_next_run_goes_on_behind_what_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.aq");
        let mut log = Log::open(&path, 1 << 20).expect("a new recording");
        let written: Vec<_> = [1, 200, 30_000].map(sample).into();
        let mut ends = vec![0];
        for entry in &written {
            log.write(std::slice::from_ref(entry)).expect("room");
            ends.push(log.length as usize);
        }
        drop(log);
        let bytes = fs::read(&path).expect("a recording");
        for torn in 0..=bytes.len() {
            fs::write(&path, &bytes[..torn]).expect("a torn recording");
            let mut log = Log::open(&path, 1 << 20).expect("a recording of ours");
            assert_eq!(log.write(&[sample(7)]), Ok(Room::Left));
            drop(log);
            let whole = ends.iter().filter(|end| **end <= torn).count() - 1;
            assert_eq!(read(&path), [&written[..whole], &[sample(7)]].concat(), "torn at {torn}");
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.aq");
        let mut log = Log::open(&path, 300).expect("a new recording");
        while log.write(&[sample(1)]).expect("a file") == Room::Left {}
        assert!(log.length <= 300 - RESERVE);
        log.finish(&[Entry::Ended { at_ms: 1, why: "so".to_owned() }]).expect("a file");
        assert!(matches!(read(&path).last(), Some(Entry::Ended { .. })));
        let refused = Log::open(&path, 300).err().expect("no room");
        assert!(refused.ends_with("and --max-size allows 300"), "{refused}");
    }
}
