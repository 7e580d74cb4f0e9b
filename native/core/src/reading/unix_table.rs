//! Which Unix sockets listen, out of `/proc/PID/net/unix`: for a kernel without unix_diag, which cannot say how deep their queues are.

use crate::linux::proc_file as file;
use crate::{Error, Inode};

/// A hundred thousand sockets with long names.
const MOST: usize = 16 << 20;
/// `__SO_ACCEPTCON`, include/uapi/linux/net.h.
const LISTENS: u32 = 1 << 16;

/// Those in the network namespace of a process.
pub(crate) fn listening(pid: i32) -> Result<Vec<Inode>, Error> {
    file::read(&format!("/proc/{pid}/net/unix"), MOST).map(|table| listeners(&table))
}

/// `Num RefCount Protocol Flags Type St Inode Path` (`unix_seq_show`, net/unix/af_unix.c). A path may hold any byte, a newline too:
/// the line that it makes of its own is at worst the number of a socket that no process holds.
fn listeners(table: &[u8]) -> Vec<Inode> {
    let inode = |line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace().skip(3);
        let flags = u32::from_str_radix(words.next()?, 16).ok()?;
        let inode = words.nth(2)?.parse().ok()?;
        (flags & LISTENS != 0).then_some(Inode(inode))
    };
    table.split(|&byte| byte == b'\n').filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_listens_is_named() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 20331 /run/a b\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 20332\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 20333 @\xff\n";
        assert_eq!(listeners(table), [Inode(20331), Inode(20333)]);
    }

    #[test]
    fn this_process_listens() {
        let name = std::env::temp_dir().join(format!("accept-queue-table-{}", std::process::id()));
        let socket = std::os::unix::net::UnixListener::bind(&name).expect("a listener");
        std::fs::remove_file(&name).expect("its name");
        let inode = crate::linux::sockopt::inode(std::os::fd::AsRawFd::as_raw_fd(&socket)).expect("its inode");
        assert!(listening(std::process::id() as i32).expect("a table").contains(&inode));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_nothing_breaks(bytes: Vec<u8>) {
            let _ = listeners(&bytes);
        }
    }

    #[test]
    fn whatever_the_lines_are_no_more_listen_than_they_are() {
        proptest!(|(lines in prop::collection::vec("([0-9a-f]{0,16}:? ?){0,8}(\\PC{0,120}|/run/a)", 0..20))| {
            let text = lines.join("\n");
            prop_assert!(listeners(text.as_bytes()).len() <= text.lines().count());
        });
    }
}
