//! Every parser of untrusted bytes, as a function that takes any bytes and asserts what must hold for all of them. The program of
//! this crate runs one of them with libFuzzer (`make fuzz`); `tests/corpora.rs` runs each on the inputs in `corpus/`, at every
//! `cargo test`.
//!
//! A target is a file and a line: a module with `pub(crate) fn fuzz(bytes: &[u8])`, its name in [`TARGETS`], and an input
//! in `corpus/NAME/`. An input that once made a parser fail is kept there as well, under a name that says what it was.

/// Its name, and the function.
pub type Target = (&'static str, fn(&[u8]));

macro_rules! targets {
    ($($name:ident)*) => {
        $(mod $name;)*
        /// Every target, under the name of its module and of its folder in `corpus/`.
        pub const TARGETS: &[Target] = &[$((stringify!($name), $name::fuzz)),*];
    };
}

mod datagram;

targets! {
    command_line
    elf_symbols
    end_reply
    epmd_answer
    epoll_fdinfo
    kernel_files
    maps
    port_term
    recording
    tcp_reply
    thread_files
    unix_reply
}
