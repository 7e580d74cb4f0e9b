//! Rights that the program has and its caller has not: by setuid, setgid or file capabilities.

use accept_queue_core::linux::sockopt::has_borrowed_rights;

use crate::args::{Command, ManOptions, PortOptions};

/// With borrowed rights the program reads and writes no file that its caller names, and starts no program that the caller's PATH
/// chooses.
pub(crate) fn check(command: &Command) -> Result<(), String> {
    match risk(command) {
        Some(risk) if has_borrowed_rights() => Err(format!(
            "this command {risk}, and this program has rights that its caller has not (setuid, setgid or file capabilities): refused"
        )),
        _ => Ok(()),
    }
}

fn risk(command: &Command) -> Option<&'static str> {
    match command {
        Command::Record(_) | Command::Report(_) => Some("names a file"),
        Command::Man(ManOptions { into: Some(_), .. }) => Some("names a folder"),
        Command::Port(PortOptions { watchdog: Some(_), .. }) => Some("names a folder for evidence"),
        Command::Lab(_) | Command::LabClients(_) => Some("starts other programs"),
        _ => None,
    }
}
