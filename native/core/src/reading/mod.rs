//! What a caller asks of the kernel, made of rows: one listener, several, all of them, and the connections in front of them.

pub mod accepted;
pub mod census;
pub mod ends;
pub mod held;
pub mod listener;
pub mod listeners;
pub mod queue;
pub mod survey;
pub mod tally;
pub mod tcp_table;
pub(crate) mod unix_table;
mod unix_tally;
pub mod waits;
