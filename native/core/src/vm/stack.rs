//! In which library a thread waits: read from its stack, without stopping it.
//!
//! The kernel gives the stack pointer of a thread that waits ([`super::threads::Call`]); the words above it hold the addresses
//! to which its calls will return. A word counts where it points into the code of a mapped file, just behind a call. That is a
//! guess, though a good one: a word that an earlier call has left on the stack may be like it. The first frame outside of the
//! C library ([`Frame`] number 0) is as good as certain, for little stands between it and the stack pointer.
//!
//! `/proc/PID/mem` is opened for reading only. Needs the right to trace: CAP_SYS_PTRACE, or the same user where Yama allows it.
//! Cost: one walk over the mappings of the process (0.5 ms for 500), then 4 KiB of its memory and some hundred bytes for each
//! word that may be an address; for a library's symbol also its table of symbols.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::sync::Arc;

use super::symbols;
use super::threads::Stand;
use crate::Error;
use crate::linux::proc_file as file;

/// Code that a process has mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    start: u64,
    end: u64,
    offset: u64,
    device: (u32, u32),
    inode: u64,
    path: Arc<str>,
}

/// The code of a process, by address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Code {
    regions: Vec<Region>,
    /// There are more mappings than [`MOST_MAPPINGS`], or their names are too long: what is in the others is not known.
    pub is_cut: bool,
}

/// The kernel's own limit is 65,530 (`vm.max_map_count`) where it has not been raised.
pub const MOST_MAPPINGS: usize = 100_000;
/// A path is at most a page, and each of its bytes may be escaped by four.
const LONGEST_LINE: u64 = 4 * 4096 + 256;
/// Of all paths together. A BEAM has hundreds of mappings; a process may have all of them under names of 16 KiB.
const MOST_PATHS: usize = 4 << 20;

/// Which code it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The emulator's: `beam.smp`, and what its JIT has made.
    Emulator,
    /// The C library's and the kernel's: those through which every thread waits.
    System,
    /// Of a library that has been loaded: a NIF, a driver, or what these use. The name of its file.
    Library(String),
}

/// A call that has not returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which code it is; never [`Origin::System`].
    pub origin: Origin,
    /// Where in it.
    pub address: u64,
    /// The function, where [`name`] has found it.
    pub symbol: Option<String>,
}

/// More would be guesswork.
const FRAMES: usize = 4;
const STACK: usize = 4096;

impl Code {
    /// Of a process.
    pub fn read(pid: i32) -> Result<Code, Error> {
        let maps = File::open(format!("/proc/{pid}/maps")).map_err(|error| file::reason(&error))?;
        Code::parse(BufReader::with_capacity(64 * 1024, maps))
    }

    /// Text of `/proc/PID/maps`: of what may be executed.
    pub fn parse(mut maps: impl BufRead) -> Result<Code, Error> {
        let mut code = Code::default();
        let mut line = Vec::new();
        let mut paths = 0;
        for _ in 0..MOST_MAPPINGS {
            line.clear();
            let read =
                maps.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(|error| file::reason(&error))?;
            if read == 0 {
                return Ok(code);
            }
            if let Some(mut region) = Region::parse(&line) {
                // The mappings of a file stand together.
                match code.regions.last() {
                    Some(last) if last.path == region.path => region.path = Arc::clone(&last.path),
                    _ => paths += region.path.len(),
                }
                if paths > MOST_PATHS {
                    break;
                }
                code.regions.push(region);
            }
        }
        code.is_cut = paths > MOST_PATHS || maps.fill_buf().is_ok_and(|rest| !rest.is_empty());
        Ok(code)
    }

    fn region(&self, address: u64) -> Option<&Region> {
        // As the kernel writes them they are in order; what is not from the kernel may be in any.
        let after = self.regions.partition_point(|region| region.start <= address);
        self.regions.get(after.checked_sub(1)?).filter(|region| address < region.end)
    }

    /// What it has loaded besides the emulator and the C library, each once: the files whose code may hold up a thread.
    pub fn libraries(&self) -> Vec<&str> {
        let mut found: Vec<_> = self
            .regions
            .iter()
            .filter(|region| matches!(region.origin(), Origin::Library(_)))
            .map(Region::file_name)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Region {
    /// `7f4df3fcc000-7f4df3fd6000 r-xp 00027000 fe:00 325843    /usr/lib/ld.so`
    fn parse(line: &[u8]) -> Option<Region> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\n');
        let mut words = text.splitn(6, ' ');
        let (start, end) = words.next()?.split_once('-')?;
        let is_code = words.next()?.as_bytes().get(2) == Some(&b'x');
        let hex = |word: &str| u64::from_str_radix(word, 16).ok();
        let offset = hex(words.next()?)?;
        let (major, minor) = words.next()?.split_once(':')?;
        let device = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
        let inode = words.next()?.parse().ok()?;
        let path = words.next().unwrap_or_default().trim_start();
        let (start, end) = (hex(start)?, hex(end)?);
        (is_code && start < end).then(|| Region { start, end, offset, device, inode, path: path.into() })
    }

    fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    fn origin(&self) -> Origin {
        let name = self.file_name();
        let is_system = ["libc.so", "libc-", "libc.musl", "ld-", "libpthread", "[vdso]", "[vsyscall]"];
        // The JIT's code is in no file, or in one that has never had a name.
        let is_jit = self.path.is_empty() || self.path.starts_with("/memfd:") || self.path.starts_with("[anon");
        if is_system.iter().any(|prefix| name.starts_with(prefix)) {
            Origin::System
        } else if is_jit || name.starts_with("beam.") {
            Origin::Emulator
        } else {
            Origin::Library(name.to_owned())
        }
    }

    /// The function at an address in it. The file is looked up in the root of the process, and must be the one that it has mapped.
    fn symbol(&self, pid: i32, address: u64) -> Option<String> {
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(self.path.as_bytes())).strip_prefix("/").ok()?;
        let path = std::path::Path::new(&format!("/proc/{pid}/root")).join(path);
        // Whatever has taken the place of the file: a pipe is not to be waited for.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()?;
        let status = file.metadata().ok()?;
        let is_same = status.is_file()
            && status.ino() == self.inode
            && (libc::major(status.dev()), libc::minor(status.dev())) == self.device;
        is_same.then(|| symbols::at(file, address - self.start + self.offset)).flatten()
    }
}

/// The calls that a thread waits in, innermost first, without those of the C library. Empty: nothing on its stack is
/// known.
pub fn frames(pid: i32, at: Stand, code: &Code) -> Result<Vec<Frame>, Error> {
    let memory = File::open(format!("/proc/{pid}/mem")).map_err(|error| file::reason(&error))?;
    let mut stack = [0; STACK];
    let length = memory.read_at(&mut stack, at.sp).map_err(|error| file::reason(&error))?;
    let before = |address: u64| {
        let mut bytes = [0; LONGEST_CALL];
        let start = address.checked_sub(LONGEST_CALL as u64)?;
        memory.read_exact_at(&mut bytes, start).ok().map(|()| bytes)
    };
    let found = walk(at.pc, &stack[..length], code, before);
    Ok(found
        .into_iter()
        .map(|(address, region)| {
            // A call that never returns may end its function: the address behind it is already another's.
            let address = if address == at.pc { address } else { address - 1 };
            Frame { origin: region.origin(), address, symbol: None }
        })
        .collect())
}

/// Names the function of a frame, where its file does.
pub fn name(pid: i32, frame: &mut Frame, code: &Code) {
    frame.symbol = code.region(frame.address).and_then(|region| region.symbol(pid, frame.address));
}

/// The addresses of calls, and the code they are in.
fn walk<'a>(
    pc: u64,
    stack: &[u8],
    code: &'a Code,
    before: impl Fn(u64) -> Option<[u8; LONGEST_CALL]>,
) -> Vec<(u64, &'a Region)> {
    let bits = address_bits(code);
    let words = stack.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word) & bits);
    let returns =
        words.filter(|&word| code.region(word).is_some() && before(word).is_some_and(|bytes| ends_in_call(&bytes)));
    std::iter::once(pc)
        .chain(returns)
        .filter_map(|address| Some((address, code.region(address)?)))
        .filter(|(_, region)| region.origin() != Origin::System)
        .take(FRAMES)
        .collect()
}

/// The bits that an address of this code may have. A function that is compiled to sign its return address (`-mbranch-protection`) keeps it
/// with the signature in the bits above those (Documentation/arch/arm64/pointer-authentication.rst). How many there are is the kernel's
/// choice, 39, 48 or 52, and it maps its own code for the process (`[vdso]`) near the highest one.
#[cfg(target_arch = "aarch64")]
fn address_bits(code: &Code) -> u64 {
    let end = code.regions.iter().map(|region| region.end).max().unwrap_or_default();
    end.checked_next_power_of_two().map_or(u64::MAX, |above| above - 1)
}

/// No return address is signed elsewhere.
#[cfg(not(target_arch = "aarch64"))]
fn address_bits(_: &Code) -> u64 {
    u64::MAX
}

const LONGEST_CALL: usize = 7;

/// Whether these bytes of code end in a call.
#[cfg(target_arch = "x86_64")]
fn ends_in_call(code: &[u8; LONGEST_CALL]) -> bool {
    // call rel32; and call r/m64, `FF /2`, in each of its lengths: a register, a pointer in one, with 8 or 32 bits beside it.
    let indirect = |length: usize| {
        let start = LONGEST_CALL - length;
        code[start] == 0xff && code[start + 1] & 0x38 == 0x10
    };
    code[2] == 0xe8 || [2, 3, 4, 6, 7].into_iter().any(indirect)
}

/// Whether these bytes of code end in a call: `bl`, or `blr` in any of its forms: `blraa` and the like authenticate the address.
#[cfg(target_arch = "aarch64")]
fn ends_in_call(code: &[u8; LONGEST_CALL]) -> bool {
    let word = u32::from_le_bytes([code[3], code[4], code[5], code[6]]);
    word & 0xfc00_0000 == 0x9400_0000 || word & 0xfeff_f000 == 0xd63f_0000
}

/// Elsewhere every address of code may be one.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn ends_in_call(_: &[u8; LONGEST_CALL]) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAPS: &str = "\
55d0a0000000-55d0a0400000 r-xp 00010000 fe:00 42                         /usr/lib/erlang/erts-13.1.5/bin/beam.smp
7f0000000000-7f0000010000 r-xp 00000000 00:00 0 
7f1000000000-7f1000010000 rwxp 00000000 00:01 9                          /memfd:vmem (deleted)
7f2000000000-7f2000010000 r--p 00000000 fe:00 43                         /srv/shop/priv/image nif.so
7f2000010000-7f2000020000 r-xp 00010000 fe:00 43                         /srv/shop/priv/image nif.so
7f3000000000-7f3000100000 r-xp 00028000 fe:00 44                         /usr/lib/x86_64-linux-gnu/libc.so.6
7fff00000000-7fff00002000 r-xp 00000000 00:00 0                          [vdso]
";

    fn code() -> Code {
        Code::parse(MAPS.as_bytes()).expect("mappings")
    }

    fn origin(address: u64) -> Option<Origin> {
        code().region(address).map(Region::origin)
    }

    #[test]
    fn an_address_belongs_to_the_file_whose_code_is_mapped_there() {
        assert_eq!(origin(0x55d0_a000_0000), Some(Origin::Emulator));
        assert_eq!(origin(0x7f00_0000_0010), Some(Origin::Emulator), "the JIT's");
        assert_eq!(origin(0x7f10_0000_0010), Some(Origin::Emulator), "the JIT's, mapped twice");
        assert_eq!(origin(0x7f20_0000_0010), None, "data of the library");
        assert_eq!(origin(0x7f20_0001_ffff), Some(Origin::Library("image nif.so".to_owned())));
        assert_eq!(origin(0x7f20_0002_0000), None, "behind its end");
        assert_eq!(origin(0x7f30_0000_0000), Some(Origin::System));
        assert_eq!(origin(0x7fff_0000_1fff), Some(Origin::System));
        assert_eq!(origin(0), None);
        assert_eq!(code().libraries(), ["image nif.so"]);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_first_frame_outside_of_the_c_library_comes_first() {
        let words: [u64; 6] = [
            0x7f30_0000_1000, // libc
            0x1234,           // a number
            0x7f20_0001_0100, // the library, behind no call
            0x7f20_0001_0200, // the library
            0x7f20_0000_0010, // its data
            0x55d0_a000_0400, // the emulator
        ];
        let stack: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let before = |address| Some(if address == 0x7f20_0001_0100 { [0; 7] } else { [0, 0, 0xe8, 1, 2, 3, 4] });
        let code = code();
        let found: Vec<_> =
            walk(0x7f30_0000_0500, &stack, &code, before).into_iter().map(|(_, region)| region.origin()).collect();
        assert_eq!(found, [Origin::Library("image nif.so".to_owned()), Origin::Emulator]);
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn the_first_frame_outside_of_the_c_library_comes_first_and_may_be_signed() {
        let words: [u64; 7] = [
            0x7f30_0000_1000,      // libc
            0x1234,                // a number
            0x7f20_0001_0100,      // the library, behind no call
            0x0055_7f20_0001_0200, // the library, signed
            0x7f20_0000_0010,      // its data
            0x003a_55d0_a000_0400, // the emulator, signed
            0x0000_7f20_0001_0300, // the library
        ];
        let stack: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let bl = |address| Some(if address == 0x7f20_0001_0100 { [0; 7] } else { [0, 0, 0, 1, 0, 0, 0x94] });
        let code = code();
        let found: Vec<_> = walk(0x7f30_0000_0500, &stack, &code, bl)
            .into_iter()
            .map(|(address, region)| (address, region.origin()))
            .collect();
        let library = || Origin::Library("image nif.so".to_owned());
        let expected =
            [(0x7f20_0001_0200, library()), (0x55d0_a000_0400, Origin::Emulator), (0x7f20_0001_0300, library())];
        assert_eq!(found, expected);
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn a_call_is_known_in_each_of_its_forms() {
        for (instruction, is_call) in [
            (0x9400_0000_u32, true), // bl
            (0x97ff_fffe, true),     // bl backwards
            (0xd63f_0100, true),     // blr x8
            (0xd63f_083f, true),     // blraaz x1: what is called is signed too
            (0xd73f_0822, true),     // blraa x1, x2
            (0xd73f_0c22, true),     // blrab x1, x2
            (0x1400_0000, false),    // b
            (0xd61f_0100, false),    // br x8
            (0xd65f_03c0, false),    // ret
            (0xd400_0001, false),    // svc
            (0, false),
        ] {
            let mut bytes = [0; LONGEST_CALL];
            bytes[3..].copy_from_slice(&instruction.to_le_bytes());
            assert_eq!(ends_in_call(&bytes), is_call, "{instruction:x}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_call_is_known_in_each_of_its_forms() {
        for (bytes, is_call) in [
            ([0, 0, 0xe8, 0, 0, 0, 0], true),
            ([0, 0, 0, 0, 0, 0xff, 0xd0], true),
            ([0, 0, 0, 0, 0x41, 0xff, 0xd4], true),
            ([0, 0, 0, 0, 0xff, 0x50, 0x08], true),
            ([0, 0xff, 0x15, 1, 2, 3, 4], true),
            ([0xff, 0x94, 0x24, 1, 2, 3, 4], true),
            ([0, 0, 0, 0, 0, 0xff, 0xe0], false),
            ([0; 7], false),
        ] {
            assert_eq!(ends_in_call(&bytes), is_call, "{bytes:x?}");
        }
    }

    #[test]
    fn names_of_sixteen_kilobytes_are_not_kept_a_hundred_thousand_times() {
        let line = |n: u32| format!("7f2000010000-7f2000020000 r-xp 00010000 fe:00 43    /{n:016000}/nif.so\n");
        let code = Code::parse((0..2000).map(line).collect::<String>().as_bytes()).expect("mappings");
        assert!(code.is_cut && code.regions.iter().map(|region| region.path.len()).sum::<usize>() <= MOST_PATHS);
        let same = Code::parse(line(1).repeat(2000).as_bytes()).expect("mappings");
        assert_eq!((same.regions.len(), same.is_cut), (2000, false));
    }

    #[test]
    fn a_hundred_thousand_mappings_are_read_and_no_more() {
        let line = "7f2000010000-7f2000020000 r-xp 00010000 fe:00 43    /srv/nif.so\n";
        let whole = Code::parse(line.repeat(MOST_MAPPINGS).as_bytes()).expect("mappings");
        assert_eq!((whole.regions.len(), whole.is_cut), (MOST_MAPPINGS, false));
        let cut = Code::parse(line.repeat(MOST_MAPPINGS + 1).as_bytes()).expect("mappings");
        assert_eq!((cut.regions.len(), cut.is_cut), (MOST_MAPPINGS, true));
    }

    #[test]
    fn a_line_without_an_end_is_read_in_pieces() {
        let endless = std::io::repeat(b'x').take(LONGEST_LINE * 40);
        assert_eq!(Code::parse(BufReader::new(endless)).expect("nothing"), Code::default());
    }

    #[test]
    fn no_name_that_a_file_has_can_add_a_mapping() {
        // The kernel writes a newline in a path as \012.
        let line = b"7f2000010000-7f2000020000 r-xp 00010000 fe:00 43    /srv/\\0127f-80 r-xp 0 0:0 1 x\x1b[2J.so\n";
        let code = Code::parse(&line[..]).expect("one");
        assert_eq!(code.regions.len(), 1);
        assert_eq!(&*code.regions[0].path, "/srv/\\0127f-80 r-xp 0 0:0 1 x\u{1b}[2J.so");
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_nothing_breaks(bytes: Vec<u8>, address: u64) {
            let _ = Code::parse(&bytes[..]).map(|code| code.region(address).map(Region::origin));
        }

        #[test]
        fn mappings_in_any_order_are_searched_without_harm(
            lines in prop::collection::vec((0u64..1 << 20, 0u64..1 << 20), 0..40), stack: Vec<u8>, pc in 0u64..1 << 20
        ) {
            let maps: String = lines.iter().map(|(start, end)| format!("{start:x}-{end:x} r-xp 0 0:0 0 /x.so\n")).collect();
            let code = Code::parse(maps.as_bytes()).expect("mappings");
            prop_assert!(walk(pc, &stack, &code, |_| Some([0; LONGEST_CALL])).len() <= FRAMES);
        }
    }

    #[test]
    fn this_process_has_code_and_a_stack() {
        let own = std::process::id() as i32;
        let code = Code::read(own).expect("own maps");
        let here = this_process_has_code_and_a_stack as *const () as usize as u64;
        assert!(code.region(here).is_some());
        let local = 0u64;
        let at = Stand { sp: &raw const local as u64, pc: here };
        let frames = frames(own, at, &code).expect("own memory");
        assert!(
            matches!(&frames[0].origin, Origin::Library(name) if name.starts_with("accept_queue_core")),
            "{frames:?}"
        );
        assert_eq!(Code::read(i32::MAX), Err(Error::NotFound));
    }
}
