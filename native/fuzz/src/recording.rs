//! A recording of `accept-queue record`, behind its first eight bytes.

// The program is no library; this module of it depends on core only.
#[allow(dead_code, unused_imports, reason = "used by the program alone")]
#[path = "../../cli/src/recording/mod.rs"]
mod format;

use format::{Entry, EntryReader, MAGIC, is_torn};

pub(crate) fn fuzz(bytes: &[u8]) {
    let mut entries = EntryReader::new(bytes);
    while let Some(entry) = entries.next().expect("memory can be read") {
        let mut again = Vec::new();
        entry.write(&mut again);
        let mut again = EntryReader::new(&again[..]);
        assert_eq!(again.next().expect("memory can be read"), Some(entry));
        assert_eq!(again.next().expect("memory can be read"), None);
    }
    let whole = entries.whole() as usize - MAGIC.len();
    let _ = is_torn(&bytes[whole..]);
    // The checksum stops a fuzzer, so the payload alone is an input too.
    if let Ok(entry) = Entry::read(bytes) {
        let mut again = Vec::new();
        entry.write(&mut again);
        assert_eq!(EntryReader::new(&again[..]).next().expect("memory can be read"), Some(entry));
    }
}
