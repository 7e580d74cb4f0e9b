//! Evidence on disk: JSON and text for each hang, whole or not at all, readable by their owner alone, bounded in number and size.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::{Builder, NamedTempFile};

/// A folder of evidence. Several VMs may share it; the bounds hold for all of them together.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: PathBuf,
    /// The evidence of at most this many hangs.
    keep: usize,
}

/// What the name of every evidence file begins with; nothing else is ever removed.
const PREFIX: &str = "accept-queue-hang-";
/// A file that is being written. One this old was left behind by a program that was killed.
const UNFINISHED: &str = ".accept-queue-hang-";
const LEFT_BEHIND: Duration = Duration::from_secs(600);
/// The document of a VM with thousands of listeners fits.
pub(crate) const MOST_BYTES: usize = 8 << 20;
const MOST_BYTES_IN_ALL: u64 = 64 << 20;

impl Store {
    pub(crate) fn new(directory: PathBuf, keep: usize) -> Store {
        Store { directory, keep }
    }

    /// Makes the folder where it is missing. The error is why evidence could not be written there. What it is tried with has no name, and
    /// leaves nothing where the program ends meanwhile.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        let tried = self.make_directory().and_then(|()| tempfile::tempfile_in(&self.directory)).map(drop);
        tried.map_err(|error| self.refused(&error))
    }

    /// Writes both, and removes the oldest. Returns the path of the document.
    pub(crate) fn write(&self, at: SystemTime, pid: i32, document: &str, page: &str) -> Result<PathBuf, String> {
        for (what, text) in [("document", document), ("page", page)] {
            if text.len() > MOST_BYTES {
                return Err(format!(
                    "the {what} has {} bytes, more than the {MOST_BYTES} that are allowed",
                    text.len()
                ));
            }
        }
        self.try_write(at, pid, document, page).map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &io::Error) -> String {
        format!("evidence cannot be written to {}: {error}", self.directory.display())
    }

    fn try_write(&self, at: SystemTime, pid: i32, document: &str, page: &str) -> io::Result<PathBuf> {
        self.make_directory()?;
        let stem = stem(at, pid);
        // Both are complete before either gets its name: a full disk leaves nothing.
        let (document, page) = (self.filled(document)?, self.filled(page)?);
        self.remove_oldest(self.keep.saturating_sub(1))?;
        let place = |suffix: &str| self.directory.join(format!("{stem}.{suffix}"));
        // The document last: where it is, the text is too.
        page.persist_noclobber(place("txt"))?;
        document.persist_noclobber(place("json"))?;
        Ok(place("json"))
    }

    fn make_directory(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)
    }

    fn unfinished(&self) -> io::Result<NamedTempFile> {
        Builder::new().prefix(UNFINISHED).tempfile_in(&self.directory)
    }

    /// Mode 0600 is tempfile's own.
    fn filled(&self, text: &str) -> io::Result<NamedTempFile> {
        let mut file = self.unfinished()?;
        file.write_all(text.as_bytes())?;
        // The machine may be about to be reset.
        file.as_file().sync_all()?;
        Ok(file)
    }

    /// Removes the oldest, by name, until at most `keep` are left and their sizes are within bounds.
    fn remove_oldest(&self, keep: usize) -> io::Result<()> {
        let mut kept: Vec<(String, PathBuf, u64)> = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let Ok(status) = entry.metadata() else { continue };
            let name = entry.file_name();
            if !status.is_file() {
                continue;
            }
            if is_unfinished(&name) && is_left_behind(&status) {
                remove(&entry.path())?;
            } else if let Some(stem) = stem_of(&name) {
                kept.push((stem.to_owned(), entry.path(), status.len()));
            }
        }
        kept.sort();
        let mut stems: Vec<&str> = kept.iter().map(|(stem, _, _)| stem.as_str()).collect();
        stems.dedup();
        let newest = stems.len().saturating_sub(keep);
        let mut bytes: u64 = kept.iter().map(|(_, _, bytes)| bytes).sum();
        let room = MOST_BYTES_IN_ALL - 2 * MOST_BYTES as u64;
        for (place, stem) in stems.iter().enumerate() {
            if place >= newest && bytes <= room {
                break;
            }
            for (_, path, size) in kept.iter().filter(|(own, _, _)| own == stem) {
                remove(path)?;
                bytes -= size;
            }
        }
        Ok(())
    }
}

/// Another program may have removed it first.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `accept-queue-hang-20261124T185012.345Z-4711`: sorted by time, whichever VM they are of.
fn stem(at: SystemTime, pid: i32) -> String {
    let time: String = humantime::format_rfc3339_millis(at)
        .to_string()
        .chars()
        .filter(|letter| !matches!(letter, '-' | ':'))
        .collect();
    format!("{PREFIX}{time}-{pid}")
}

/// Of a name in exactly the form of [`stem`].
fn stem_of(name: &OsStr) -> Option<&str> {
    let name = name.to_str()?;
    let stem = name.strip_suffix(".json").or_else(|| name.strip_suffix(".txt"))?;
    let (time, pid) = stem.strip_prefix(PREFIX)?.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (day, rest) = time.split_at_checked(8)?;
    let (second, millisecond) = rest.strip_prefix('T')?.strip_suffix('Z')?.split_once('.')?;
    let is_ours =
        [day, second, millisecond, pid].into_iter().all(is_number) && (second.len(), millisecond.len()) == (6, 3);
    is_ours.then_some(stem)
}

fn is_unfinished(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(UNFINISHED))
}

fn is_left_behind(status: &fs::Metadata) -> bool {
    status.modified().ok().and_then(|changed| changed.elapsed().ok()).is_some_and(|age| age > LEFT_BEHIND)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("the folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_go_and_what_is_not_ours_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("made/for/it");
        let store = Store::new(directory.clone(), 2);
        store.prepare().expect("a folder that can be written");
        let others = [
            "accept-queue-hang-19700101T000000.000Z-1.json.bak",
            "accept-queue-hang-notes.txt",
            "accept-queue-hang-19700101T0000.000Z-1.json",
            "notes.json",
        ];
        for name in others {
            fs::write(directory.join(name), "another's").expect("a file");
        }
        fs::create_dir(directory.join("accept-queue-hang-19700101T000000.000Z-2.json")).expect("a folder");
        for second in 1..=5 {
            store.write(at(second), 7, "{}", "page").expect("written");
        }
        let mut expected: Vec<String> = others.map(str::to_owned).into();
        expected.push("accept-queue-hang-19700101T000000.000Z-2.json".to_owned());
        for second in [4, 5] {
            for suffix in ["json", "txt"] {
                expected.push(format!("accept-queue-hang-19700101T00000{second}.000Z-7.{suffix}"));
            }
        }
        expected.sort();
        assert_eq!(names(&directory), expected);
    }

    #[test]
    fn evidence_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("new");
        let document = Store::new(directory.clone(), 1).write(at(0), 7, "{}", "page").expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("it").permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&document), mode(&document.with_extension("txt"))), (0o700, 0o600, 0o600));
        assert_eq!(fs::read_to_string(document).expect("the document"), "{}");
    }

    #[test]
    fn all_of_it_together_has_a_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path().to_owned(), 1000);
        let large = "x".repeat(MOST_BYTES);
        for second in 0..6 {
            store.write(at(second), 7, &large, &large).expect("written");
        }
        let bytes: u64 =
            names(folder.path()).iter().map(|name| fs::metadata(folder.path().join(name)).expect("it").len()).sum();
        assert_eq!(bytes, MOST_BYTES_IN_ALL);
        let refused = store.write(at(9), 7, &(large + "x"), "page").expect_err("too large");
        assert_eq!(refused, "the document has 8388609 bytes, more than the 8388608 that are allowed");
    }

    #[test]
    fn a_file_in_the_way_is_reported_and_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("file");
        File::create(&directory).expect("a file");
        let store = Store::new(directory.clone(), 1);
        let sentence = format!("evidence cannot be written to {}: File exists (os error 17)", directory.display());
        assert_eq!(store.prepare(), Err(sentence.clone()));
        assert_eq!(store.write(at(0), 7, "{}", "page"), Err(sentence));
    }

    #[test]
    fn what_a_killed_program_left_behind_is_removed_when_it_is_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let [old, new] = ["old", "new"].map(|name| folder.path().join(format!("{UNFINISHED}{name}")));
        for path in [&old, &new] {
            File::create(path).expect("a file");
        }
        let long_ago = SystemTime::now() - 2 * LEFT_BEHIND;
        File::open(&old).and_then(|file| file.set_modified(long_ago)).expect("a time");
        Store::new(folder.path().to_owned(), 1).write(at(0), 7, "{}", "page").expect("written");
        assert_eq!((old.exists(), new.exists()), (false, true));
    }
}
