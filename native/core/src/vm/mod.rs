//! A process seen from outside, by what `/proc` tells of it.

pub mod find;
