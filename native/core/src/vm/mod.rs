//! Processes seen from outside, through `/proc` alone.

pub mod calls;
pub mod open_files;
pub mod distribution;
mod file;
pub mod find;
pub mod namespace;
pub mod pollset;
pub mod process;
pub mod stack;
mod symbols;
pub mod threads;
