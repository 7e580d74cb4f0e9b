//! Every parser of bytes from outside, as a function that takes any bytes, asserts what must hold whatever they are, and
//! returns. The program of this crate drives one of them with libFuzzer (`make fuzz`); `tests/corpora.rs` gives each the
//! inputs that are kept in `corpus/`, at every `cargo test`.
//!
//! A target is a file and a line: a module with `pub(crate) fn fuzz(bytes: &[u8])`, its name in [`TARGETS`], and an input
//! to begin with in `corpus/NAME/`. An input that once made a parser fail is kept there as well, named by what it was.

/// By name.
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
