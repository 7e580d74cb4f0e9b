//! `accept-queue`: the accept queues of this machine's servers, seen from outside.

mod args;
mod check;
mod diagnose;
mod figures;
mod list;
mod usage;

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;

fn main() -> ExitCode {
    let command = match Arguments::try_parse() {
        Ok(Arguments { command }) => command,
        Err(refusal) => return usage::refused(&refusal),
    };
    let outcome = match command {
        Command::List(options) => list::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Check(options) => return check::run(&options),
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
