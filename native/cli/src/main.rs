//! `accept-queue`: the accept queues of this machine's servers, seen from outside.

mod args;
mod diagnose;
mod figures;
mod list;

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let outcome = match command {
        Command::List(options) => list::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Diagnose(options) => diagnose::run(&options),
    };
    match outcome {
        Ok(status) => status,
        Err(message) => {
            eprintln!("accept-queue: {message}");
            ExitCode::FAILURE
        }
    }
}
