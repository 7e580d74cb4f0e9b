//! Files that are replaced as a whole: complete, or as before.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::output::refusal;

#[derive(Debug)]
pub(crate) struct Target {
    /// The option that names it.
    option: &'static str,
    path: PathBuf,
    /// The file to replace, links resolved; `None` for a device or a pipe, which is written to.
    file: Option<PathBuf>,
}

impl Target {
    /// Refuses a path that cannot be written, before any other work.
    pub(crate) fn check(option: &'static str, path: &Path) -> Result<Target, String> {
        let mut target = Target { option, path: path.to_owned(), file: None };
        target.file = replaceable(path).map_err(|error| target.unwritten(&error))?;
        Ok(target)
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), String> {
        let written = match &self.file {
            Some(file) => replace(file, bytes),
            None => write_stream(&self.path, bytes),
        };
        written.map_err(|error| self.unwritten(&error))
    }

    fn unwritten(&self, error: &io::Error) -> String {
        format!("{} {}: {}", self.option, self.path.to_string_lossy().escape_debug(), refusal(error))
    }
}

fn replaceable(path: &Path) -> io::Result<Option<PathBuf>> {
    let file = match fs::metadata(path) {
        Ok(status) if status.is_dir() => return Err(ErrorKind::IsADirectory.into()),
        Ok(status) if !status.is_file() => return Ok(None),
        Ok(_) => fs::canonicalize(path)?,
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    beside(&file)?;
    Ok(Some(file))
}

fn beside(file: &Path) -> io::Result<NamedTempFile> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // The umask applies, as to any file of this user.
    tempfile::Builder::new().prefix(".accept-queue-").permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}

/// Writes a temporary file beside it and renames that.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = beside(file)?;
    temporary.write_all(bytes)?;
    // Some file systems report a full disk only here.
    temporary.as_file().sync_all()?;
    temporary.persist(file)?;
    Ok(())
}

fn write_stream(path: &Path, bytes: &[u8]) -> io::Result<()> {
    File::options().write(true).open(path)?.write_all(bytes)
}
