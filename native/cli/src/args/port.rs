//! The port program. Its options come from `accept_queue_port`, validated by `accept_queue_config`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct PortOptions {
    /// The pid of the VM that has started this program
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) vm: i32,
    #[command(flatten)]
    pub(crate) watchdog: Option<WatchdogOptions>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchdogOptions {
    /// The folder for the evidence of hangs
    #[arg(long = "evidence", value_name = "FOLDER", required = false)]
    pub(crate) directory: PathBuf,
    /// Keep the evidence of at most this many hangs
    #[arg(long, value_name = "N", required = false)]
    pub(crate) keep: usize,
    /// Time between two heartbeats of the VM, in milliseconds
    #[arg(long, value_name = "MS", required = false)]
    pub(crate) heartbeat_ms: u64,
    /// The VM hangs when no heartbeat has come for this long, in milliseconds
    #[arg(long, value_name = "MS", required = false)]
    pub(crate) hang_after_ms: u64,
}
