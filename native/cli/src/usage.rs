//! A command line that cannot be understood: one line, where the caller of the program expects it.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::check;
use crate::output::printable;

/// The status of a program that was called wrongly. `check` has its own, for 2 would mean critical there.
const WRONGLY_CALLED: u8 = 2;

/// The command line. `help COMMAND` is `COMMAND --help`, as with other programs.
pub(crate) fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|word| word == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    arguments
}

/// Help and version come this way too, and are no refusal; of `check` they are no result either, which its convention calls unknown.
pub(crate) fn refused(refusal: &clap::Error) -> ExitCode {
    let is_check = std::env::args_os().nth(1).is_some_and(|command| command == "check");
    if !refusal.use_stderr() || refusal.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // An error means that there is no reader, who would not see another line either.
        let _ = refusal.print();
        return match refusal.use_stderr() {
            true => ExitCode::from(WRONGLY_CALLED),
            false if is_check => ExitCode::from(check::NO_RESULT),
            false => ExitCode::SUCCESS,
        };
    }
    let sentence = sentence(&refusal.to_string());
    if is_check {
        return check::unknown(&sentence);
    }
    eprintln!("accept-queue: {sentence}; --help says more");
    ExitCode::from(WRONGLY_CALLED)
}

/// The first paragraph, and what may have been meant. What stood on the command line may have any character in it.
fn sentence(text: &str) -> String {
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let first = paragraphs.next().unwrap_or(text).trim_start_matches("error: ");
    let tip = paragraphs.find_map(|paragraph| paragraph.strip_prefix("tip: ")).and_then(|tip| tip.lines().next());
    let in_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts: Vec<_> = [Some(first), tip].into_iter().flatten().map(in_one_line).collect();
    printable(&parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_without_control_characters() {
        let text = "error: invalid value '\u{1b}[2Jx\ny\u{9b}\u{2028}\u{202e}' for '--pid <PID>': no\n\nFor more information, try '--help'.\n";
        assert_eq!(sentence(text), "invalid value '\\u{1b}[2Jx y\\u{9b} \\u{202e}' for '--pid <PID>': no");
        let text = "error: unrecognized subcommand 'lsit'\n\n  tip: a similar subcommand exists: 'list'\n\nUsage: accept-queue <COMMAND>\n";
        assert_eq!(sentence(text), "unrecognized subcommand 'lsit'; a similar subcommand exists: 'list'");
    }
}
