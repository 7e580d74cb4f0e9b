//! Processes seen from outside, through `/proc` alone.

pub mod find;
pub mod namespace;
pub mod pollset;
