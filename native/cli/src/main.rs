//! `accept-queue`: the accept queues of this machine's servers, read from outside.

mod accepting;
mod args;
mod assets;
mod borrowed;
mod check;
mod condition;
mod diagnose;
mod export;
mod figures;
mod findings;
mod follow;
mod interrupt;
mod json;
mod lab;
mod list;
mod output;
mod pace;
mod port;
mod record;
mod recording;
mod report;
mod scope;
mod top;
mod usage;
mod watch;
mod whole_file;

use std::process::ExitCode;

use args::{Arguments, Command};

fn main() -> ExitCode {
    let command = match Arguments::read(usage::arguments()) {
        Ok(Arguments { command }) => command,
        Err(refusal) => return usage::refused(&refusal),
    };
    if let Err(reason) = borrowed::check(&command) {
        eprintln!("accept-queue: {reason}");
        return ExitCode::FAILURE;
    }
    let outcome = match command {
        Command::Check(options) => return check::run(options),
        Command::Diagnose(options) => diagnose::run(&options),
        Command::List(options) => done(list::run(&options)),
        Command::Watch(options) => done(watch::run(&options)),
        Command::Record(options) => done(record::run(&options)),
        Command::Report(options) => report::run(&options),
        Command::Export(options) => done(export::run(&options)),
        Command::Top(options) => done(top::run(&options)),
        Command::Lab(options) => done(lab::run(&options)),
        Command::LabClients(options) => done(lab::clients(&options)),
        Command::Completions(options) => done(assets::completions(options.shell)),
        Command::Man(options) => done(assets::man(&options)),
        Command::Port(options) => done(port::run(&options)),
    };
    match outcome {
        Ok(status) => status,
        Err(message) => {
            eprintln!("accept-queue: {message}");
            ExitCode::FAILURE
        }
    }
}

fn done(outcome: Result<(), String>) -> Result<ExitCode, String> {
    outcome.map(|()| ExitCode::SUCCESS)
}
