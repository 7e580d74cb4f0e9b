//! Which function of a library stands at an address.
//!
//! The file is whatever a process has mapped, so it is not trusted: not in its size, not in its offsets, not in its names. What
//! is read of it, and so what is kept in memory, has a bound.

use std::cell::Cell;
use std::fs::File;

use object::read::elf::{FileHeader, ProgramHeader, Sym};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, elf};

/// The tables of symbols of the largest NIFs known are a third of this.
const MOST_BYTES: u64 = 64 << 20;
/// A C++ name may be kilobytes long.
const MOST_NAME: usize = 200;

/// The function that holds a byte of an ELF file, by its offset in the file. `None`: none that the file names, or no such file.
pub fn at(file: File, offset: u64) -> Option<String> {
    let cache = ReadCache::new(file);
    let data = Bounded { cache: &cache, left: &Cell::new(MOST_BYTES) };
    let header = elf::FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let address = header.program_headers(endian, data).ok()?.iter().find_map(|segment| {
        let inside = offset.checked_sub(segment.p_offset(endian))?;
        let is_loaded = segment.p_type(endian) == elf::PT_LOAD && inside < segment.p_filesz(endian);
        is_loaded.then(|| segment.p_vaddr(endian).checked_add(inside)).flatten()
    })?;
    let sections = header.sections(endian, data).ok()?;
    // What it exports, and where it has not been stripped what it does not.
    [elf::SHT_DYNSYM, elf::SHT_SYMTAB].into_iter().find_map(|table| {
        let symbols = sections.symbols(endian, data, table).ok()?;
        let holds = |symbol: &&elf::Sym64<Endianness>| {
            let into = address.checked_sub(symbol.st_value(endian));
            symbol.st_type() == elf::STT_FUNC && into.is_some_and(|into| into < symbol.st_size(endian))
        };
        let symbol = symbols.iter().find(holds)?;
        let name = symbol.name(endian, symbols.strings()).ok().filter(|name| !name.is_empty())?;
        Some(String::from_utf8_lossy(&name[..name.len().min(MOST_NAME)]).into_owned())
    })
}

/// A file of which no more than so much is read.
#[derive(Debug, Clone, Copy)]
struct Bounded<'a> {
    cache: &'a ReadCache<File>,
    left: &'a Cell<u64>,
}

impl Bounded<'_> {
    fn take(&self, bytes: u64) -> Result<(), ()> {
        self.left.set(self.left.get().checked_sub(bytes).ok_or(())?);
        Ok(())
    }
}

impl<'a> ReadRef<'a> for Bounded<'a> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.take(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: std::ops::Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        // What the cache reads at most, however long the range.
        self.take(4096)?;
        self.cache.read_bytes_at_until(range, delimiter)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    fn library() -> Vec<u8> {
        std::fs::read(c_library().0).expect("the C library")
    }

    fn file(bytes: &[u8]) -> File {
        let path = scratch();
        File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("a file");
        let opened = File::open(&path).expect("the file");
        std::fs::remove_file(&path).expect("the file");
        opened
    }

    fn scratch() -> PathBuf {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::env::temp_dir().join(format!("accept-queue-symbols-{}-{number}", std::process::id()))
    }

    /// The C library that this program has mapped: its path, and the offset of a function in it.
    fn c_library() -> (String, u64) {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("own maps");
        let address = libc::getsockopt as *const () as usize as u64;
        let mapped = maps.lines().find_map(|line| {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            let (start, end) = words[0].split_once('-')?;
            let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
            let offset = u64::from_str_radix(words[2], 16).ok()?;
            (start..end).contains(&address).then(|| (words[5].to_owned(), address - start + offset))
        });
        mapped.expect("the mapping of the C library")
    }

    #[test]
    fn a_function_is_found_by_its_address() {
        let (path, offset) = c_library();
        assert_eq!(at(File::open(path).expect("the C library"), offset), Some("getsockopt".to_owned()));
    }

    #[test]
    fn what_is_no_elf_file_has_no_symbols() {
        for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0xff; 4096]] {
            assert_eq!(at(file(bytes), 0), None);
        }
    }

    #[test]
    fn a_table_that_claims_to_be_larger_than_the_bound_is_not_read() {
        let path = scratch();
        // The sizes of all sections are made 1 TiB, and the file is as long as that, without a block of its own.
        let mut lying = library();
        let sections = u64::from_ne_bytes(lying[40..48].try_into().expect("e_shoff")) as usize;
        let count = u16::from_ne_bytes(lying[60..62].try_into().expect("e_shnum")) as usize;
        for section in 0..count {
            let size = sections + section * 64 + 32;
            lying[size..size + 8].copy_from_slice(&(1u64 << 40).to_ne_bytes());
        }
        std::fs::write(&path, &lying).expect("the lying copy");
        let stretched = File::options().write(true).open(&path).expect("the copy");
        stretched.set_len(1 << 42).expect("a sparse file");
        let opened = File::open(&path).expect("the copy");
        std::fs::remove_file(&path).expect("the copy");
        assert_eq!(at(opened, c_library().1), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn an_elf_file_that_lies_breaks_nothing(
            changes in prop::collection::vec((0usize..8192, any::<u8>()), 1..40), offset in 0u64..4 << 20, cut in 0usize..4 << 20
        ) {
            let mut bytes = library();
            for (place, value) in changes {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = value;
                }
            }
            bytes.truncate(cut);
            let _ = at(file(&bytes), offset);
        }
    }
}
