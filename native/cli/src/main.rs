//! `accept-queue`: the accept queues of this machine's servers, seen from outside.

mod args;
mod check;
mod figures;
mod lab;
mod list;
mod top;
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
        Command::List(options) => list::run(&options),
        Command::Check(options) => return check::run(&options),
        Command::Top(options) => top::run(&options),
        Command::Lab(options) => lab::run(&options),
        Command::LabClients(options) => lab::clients(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("accept-queue: {message}");
            ExitCode::FAILURE
        }
    }
}
