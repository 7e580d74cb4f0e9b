//! Processes from outside: what `/proc` shows of them, and what epmd knows.

pub mod calls;
pub mod descriptors;
pub mod distribution;
pub mod epmd;
pub mod find;
pub mod open_files;
pub mod pollset;
pub mod process;
pub mod stack;
#[doc(hidden)] // for the fuzzer
pub mod symbols;
pub mod threads;
