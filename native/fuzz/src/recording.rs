//! A recording of `accept-queue record`, behind the name of the file.

// The program is no library; this file of it stands alone.
#[allow(dead_code, reason = "what the program needs beside it")]
#[path = "../../cli/src/recording.rs"]
mod format;

use format::{Entries, Entry, MAGIC, is_torn};

pub(crate) fn fuzz(bytes: &[u8]) {
    let mut entries = Entries::new(bytes);
    while let Some(entry) = entries.next().expect("memory can be read") {
        let mut again = Vec::new();
        entry.write(&mut again);
        let mut again = Entries::new(&again[..]);
        assert_eq!(again.next().expect("memory can be read"), Some(entry));
        assert_eq!(again.next().expect("memory can be read"), None);
    }
    let whole = entries.whole() as usize - MAGIC.len();
    let _ = is_torn(&bytes[whole..]);
    // The checksum keeps a fuzzer out, but not whoever can compute it.
    if let Ok(entry) = Entry::read(bytes) {
        let mut again = Vec::new();
        entry.write(&mut again);
        assert_eq!(Entries::new(&again[..]).next().expect("memory can be read"), Some(entry));
    }
}
