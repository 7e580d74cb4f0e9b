//! `accept-queue`: the accept queues of this machine, without a VM.
fn main() {}
