//! Files that are there whole, or not at all, or as they were before.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// A file in the folder of this one, gone again when it is dropped.
pub(crate) fn beside(file: &Path) -> io::Result<NamedTempFile> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // As any file of this user: the umask takes from it.
    tempfile::Builder::new().prefix(".accept-queue-").permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}

/// Writes beside the file and renames.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = beside(file)?;
    temporary.write_all(bytes)?;
    // Some file systems find out late that there is no room.
    temporary.as_file().sync_all()?;
    temporary.persist(file)?;
    Ok(())
}
