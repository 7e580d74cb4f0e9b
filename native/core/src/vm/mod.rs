//! Processes seen from outside, through `/proc` alone, and by what epmd tells of them.

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
