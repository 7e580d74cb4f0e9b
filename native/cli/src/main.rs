//! `accept-queue`: the accept queues of this machine's servers, seen from outside.

mod args;
mod assets;
mod check;
mod condition;
mod export;
mod figures;
mod interrupt;
mod lab;
mod list;
mod output;
mod pace;
mod port;
mod scope;
mod top;
mod usage;
mod watch;

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
        Command::Watch(options) => watch::run(&options),
        Command::Export(options) => export::run(&options),
        Command::Completions(options) => assets::completions(options.shell),
        Command::Man(options) => assets::man(&options),
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
