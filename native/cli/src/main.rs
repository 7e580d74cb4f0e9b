//! `accept-queue`: the accept queues of this machine's servers, seen from outside.

mod args;
mod figures;
mod lab;
mod list;
mod port;

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let outcome = match command {
        Command::List(options) => list::run(&options),
        Command::Lab(options) => lab::run(&options),
        Command::LabClients(options) => lab::clients(&options),
        Command::Port(options) => port::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("accept-queue: {message}");
            ExitCode::FAILURE
        }
    }
}
