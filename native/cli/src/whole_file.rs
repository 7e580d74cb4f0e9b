//! Files that are replaced as a whole: complete, or as before.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tempfile::NamedTempFile;

use crate::output::{self, is_standard, refusal};

#[derive(Debug)]
pub(crate) struct Target {
    /// The option that names it.
    option: &'static str,
    path: PathBuf,
    /// The file to replace, links resolved; `None` for a device, a pipe or standard output, which is written to.
    file: Option<PathBuf>,
}

impl Target {
    /// Refuses a path that cannot be written, before any other work.
    pub(crate) fn check(option: &'static str, path: &Path) -> Result<Target, String> {
        let mut target = Target { option, path: path.to_owned(), file: None };
        if is_standard(path) {
            return Ok(target);
        }
        target.file = replaceable(path).map_err(|error| target.unwritten(&error))?;
        Ok(target)
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), String> {
        if is_standard(&self.path) {
            return output::print(bytes);
        }
        let written = match &self.file {
            Some(file) => replace(file, bytes, Access::Private),
            None => write_stream(&self.path, bytes),
        };
        written.map_err(|error| self.unwritten(&error))
    }

    fn unwritten(&self, error: &io::Error) -> String {
        format!("{} {}: {}", self.option, self.path.to_string_lossy().escape_debug(), refusal(error))
    }
}

fn replaceable(path: &Path) -> io::Result<Option<PathBuf>> {
    may_follow(path)?;
    let file = match fs::metadata(path) {
        Ok(status) if status.is_dir() => return Err(ErrorKind::IsADirectory.into()),
        Ok(status) if !status.is_file() => return Ok(None),
        Ok(_) => fs::canonicalize(path)?,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    beside(&file, Access::Private)?;
    Ok(Some(file))
}

/// Who may read a file that is new. One that is replaced keeps its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its owner, whatever the umask: what is in it names peers and processes.
    Private,
    /// As of any file of this user.
    Usual,
}

/// The rule of the kernel's `protected_symlinks` (`may_follow_link`, fs/namei.c), which is off on some machines and does not hold
/// for a rename: in a folder in which everybody may write, the link of another user leads where that user likes.
pub(crate) fn may_follow(path: &Path) -> io::Result<()> {
    let Some(link) = fs::symlink_metadata(path).ok().filter(Metadata::is_symlink) else { return Ok(()) };
    let folder = fs::metadata(folder_of(path))?;
    let is_shared = folder.mode() & 0o1002 == 0o1002;
    let is_trusted = link.uid() == geteuid().as_raw() || link.uid() == folder.uid();
    if is_shared && !is_trusted { Err(ErrorKind::PermissionDenied.into()) } else { Ok(()) }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

fn beside(file: &Path, access: Access) -> io::Result<NamedTempFile> {
    let mode = if access == Access::Private { 0o600 } else { 0o666 };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".accept-queue-").permissions(Permissions::from_mode(mode)).tempfile_in(folder_of(file))
}

/// Writes a temporary file beside it and renames that.
pub(crate) fn replace(file: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut temporary = beside(file, access)?;
    keep_access(file, temporary.as_file())?;
    temporary.write_all(bytes)?;
    // Some file systems report a full disk only here.
    temporary.as_file().sync_all()?;
    temporary.persist(file)?;
    Ok(())
}

/// Gives the new file the owner and the mode of the one that it replaces, or less.
fn keep_access(old: &Path, new: &File) -> io::Result<()> {
    let Ok(old) = fs::symlink_metadata(old) else { return Ok(()) };
    if !old.is_file() {
        return Ok(());
    }
    // Only root gives files away. Where the group is not the same, its rights are not those of the old one.
    let is_same = fchown(new, Some(old.uid()), Some(old.gid())).is_ok();
    let mode = old.mode() & if is_same { 0o777 } else { 0o707 };
    new.set_permissions(Permissions::from_mode(mode))
}

fn write_stream(path: &Path, bytes: &[u8]) -> io::Result<()> {
    File::options().write(true).open(path)?.write_all(bytes)
}
