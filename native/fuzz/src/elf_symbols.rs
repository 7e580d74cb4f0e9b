//! An ELF file that a process has mapped: the first eight bytes are the offset to look up, the others the file.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, Write};

use accept_queue_core::vm::symbols::at;
use rustix::fs::{MemfdFlags, memfd_create};

thread_local! {
    static FILE: RefCell<File> =
        RefCell::new(memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a file in memory").into());
}

pub(crate) fn fuzz(bytes: &[u8]) {
    let Some((offset, elf)) = bytes.split_first_chunk() else { return };
    let name = FILE.with_borrow_mut(|file| {
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(elf)).expect("room for it");
        at(file.try_clone().expect("a descriptor"), u64::from_ne_bytes(*offset))
    });
    // Each byte that is no UTF-8 becomes three.
    assert!(name.is_none_or(|name| !name.is_empty() && name.len() <= 3 * 200));
}
