//! The file of a recording: locked, cut behind its last intact entry, then only appended to. Or standard output, written to from its
//! first byte.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::condition::many;
use crate::output::{self, Reader, is_standard, refusal};
use crate::recording::{Entry, EntryReader, HEAD, LARGEST, MAGIC, is_torn};
use crate::whole_file::may_follow;

/// Bytes kept free for the last entry.
const RESERVE: u64 = 256;

pub(super) struct RecordingFile {
    path: PathBuf,
    file: File,
    /// Up to the end of the last entry.
    length: u64,
    /// Length when it was opened.
    before: u64,
    is_new: bool,
    most: u64,
    /// Of standard output; a file always has one.
    reader: Reader,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Left,
    None,
    /// The reader of standard output has gone.
    Unread,
}

impl RecordingFile {
    /// A file that is no recording, or that another process writes to, is left as it is.
    pub(super) fn open(path: &Path, most: u64) -> Result<RecordingFile, String> {
        let refused = |reason: &str| format!("{}: {reason}", shown(path));
        let failed = |error: io::Error| refused(&refusal(&error));
        let recording = |file: File, is_new: bool| RecordingFile {
            path: path.to_owned(),
            file,
            length: 0,
            before: 0,
            is_new,
            most,
            reader: Reader::Present,
        };
        if is_standard(path) {
            return Ok(recording(output::binary()?, true));
        }
        may_follow(path).map_err(failed)?;
        let is_new = match fs::metadata(path) {
            Ok(status) if status.is_dir() => return Err(failed(ErrorKind::IsADirectory.into())),
            // Opening a device or a pipe may have an effect.
            Ok(status) if !status.is_file() => {
                return Err(refused("is no regular file: a recording is appended to, and read again"));
            }
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => return Err(failed(error)),
        };
        // A new one is its owner's alone, as evidence is, and is made where its name stands: a link that leads to nothing leads where
        // the link's owner likes.
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(is_new).mode(0o600).open(path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Some file systems have no locks.
            Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS) => {}
            Err(Errno::WOULDBLOCK) => return Err(refused("another accept-queue record is writing to it")),
            Err(error) => return Err(failed(error.into())),
        }
        let mut recording = recording(file, is_new);
        recording.find_end()?;
        recording.before = recording.length;
        Ok(recording)
    }

    /// Appends all of them or none.
    pub(super) fn write(&mut self, entries: &[Entry]) -> Result<Room, String> {
        let bytes = self.bytes(entries);
        if self.length + bytes.len() as u64 + RESERVE > self.most {
            return Ok(Room::None);
        }
        if let Err(reason) = self.append(&bytes) {
            // The recording ends with the reason, where there is room for it.
            let at_ms = entries.iter().rev().find_map(|entry| match entry {
                Entry::Sample(sample) => Some(sample.at_ms),
                _ => None,
            });
            let end = Entry::Ended { at_ms: at_ms.unwrap_or(0), why: reason.clone() };
            let _ = self.append(&self.bytes(&[end]));
            if self.is_stream() {
                return Err(format!("{}: {reason}", self.shown()));
            }
            let held = if self.length == 0 { "nothing is recorded" } else { "what was recorded before can be read" };
            return Err(format!("{}: {reason}; {held}", self.shown()));
        }
        Ok(if self.reader == Reader::Gone { Room::Unread } else { Room::Left })
    }

    /// Whether the next write would have no reader.
    pub(super) fn is_closed(&self) -> bool {
        self.is_stream() && output::reader() == Reader::Gone
    }

    /// Appends the last entries. Returns the bytes written since it was opened.
    pub(super) fn finish(mut self, entries: &[Entry]) -> Result<u64, String> {
        let written = self.append(&self.bytes(entries));
        if self.is_stream() {
            return written.map(|()| self.length).map_err(|reason| format!("{}: {reason}", self.shown()));
        }
        let kept = written.and_then(|()| self.file.sync_all().map_err(|error| refusal(&error)));
        kept.map_err(|reason| format!("{}: {reason}; what was recorded before can be read", self.shown()))?;
        Ok(self.length - self.before)
    }

    /// A new file without an entry is removed.
    pub(super) fn remove_if_empty(&self) {
        if self.is_new && self.length == 0 && !self.is_stream() {
            // Where that fails, an empty file stays.
            let _ = fs::remove_file(&self.path);
        }
    }

    pub(super) fn shown(&self) -> String {
        shown(&self.path)
    }

    fn is_stream(&self) -> bool {
        is_standard(&self.path)
    }

    fn bytes(&self, entries: &[Entry]) -> Vec<u8> {
        let mut bytes = if self.length == 0 { MAGIC.to_vec() } else { Vec::new() };
        entries.iter().for_each(|entry| entry.write(&mut bytes));
        bytes
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.is_stream() {
            match self.file.write_all(bytes) {
                Ok(()) => self.length += bytes.len() as u64,
                Err(error) if error.kind() == ErrorKind::BrokenPipe => self.reader = Reader::Gone,
                Err(error) => return Err(refusal(&error)),
            }
            return Ok(());
        }
        if let Err(error) = self.file.write_all_at(bytes, self.length) {
            // A part may have been written. Where it cannot be cut off, the next run cuts it off.
            let _ = self.file.set_len(self.length);
            return Err(refusal(&error));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Finds the end of the last intact entry, and cuts off an incomplete one behind it.
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
            let mut entries = EntryReader::new(BufReader::new(&self.file));
            while entries.next().map_err(failed)?.is_some() {}
            whole = entries.whole();
            if self.has_data_behind(whole, all).map_err(failed)? {
                return Err(format!(
                    "{shown}: is damaged at byte {whole}, and whole again behind it: it is not appended to, and is left as it is"
                ));
            }
        }
        if whole + RESERVE > self.most {
            return Err(format!("{shown}: has {whole} bytes, and --max-size allows {}", self.most));
        }
        if whole < all {
            self.file.set_len(whole).map_err(failed)?;
            let torn = many(all - whole, "byte");
            eprintln!("accept-queue: {shown}: {torn} of an incomplete entry are cut off.");
        }
        self.length = whole;
        Ok(())
    }

    /// Whether the bytes behind the last intact entry are more than an interrupted write leaves.
    fn has_data_behind(&self, whole: u64, all: u64) -> io::Result<bool> {
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
    if is_standard(path) {
        return "standard output".to_owned();
    }
    path.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::SampleEntry;

    fn sample(at_ms: u64) -> Entry {
        Entry::Sample(SampleEntry { at_ms, ..SampleEntry::default() })
    }

    fn read(path: &Path) -> Vec<Entry> {
        let bytes = fs::read(path).expect("a recording");
        let mut entries = EntryReader::new(&bytes[MAGIC.len()..]);
        let read = std::iter::from_fn(|| entries.next().expect("memory can be read")).collect();
        assert_eq!(entries.whole(), bytes.len() as u64, "all of it is whole");
        read
    }

    #[test]
    fn wherever_the_end_was_torn_the_next_run_goes_on_behind_what_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.aq");
        let mut recording = RecordingFile::open(&path, 1 << 20).expect("a new recording");
        let written: Vec<_> = [1, 200, 30_000].map(sample).into();
        let mut ends = vec![0];
        for entry in &written {
            recording.write(std::slice::from_ref(entry)).expect("room");
            ends.push(recording.length as usize);
        }
        drop(recording);
        let bytes = fs::read(&path).expect("a recording");
        for torn in 0..=bytes.len() {
            fs::write(&path, &bytes[..torn]).expect("a torn recording");
            let mut recording = RecordingFile::open(&path, 1 << 20).expect("a recording of ours");
            assert_eq!(recording.write(&[sample(7)]), Ok(Room::Left));
            drop(recording);
            let whole = ends.iter().filter(|end| **end <= torn).count() - 1;
            assert_eq!(read(&path), [&written[..whole], &[sample(7)]].concat(), "torn at {torn}");
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.aq");
        let mut recording = RecordingFile::open(&path, 300).expect("a new recording");
        while recording.write(&[sample(1)]).expect("a file") == Room::Left {}
        assert!(recording.length <= 300 - RESERVE);
        recording.finish(&[Entry::Ended { at_ms: 1, why: "so".to_owned() }]).expect("a file");
        assert!(matches!(read(&path).last(), Some(Entry::Ended { .. })));
        let refused = RecordingFile::open(&path, 300).err().expect("no room");
        assert!(refused.ends_with("and --max-size allows 300"), "{refused}");
    }
}
