//! Help, manual pages and completions.

mod running;

use running::program;

fn says(arguments: &[&str]) -> String {
    let output = program().args(arguments).output().expect("the program");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// As the manual page names them.
fn commands() -> Vec<String> {
    let main = says(&["man"]);
    let names = main.lines().filter_map(|line| line.strip_prefix("accept\\-queue\\-")?.strip_suffix("(1)"));
    names.map(str::to_owned).collect()
}

#[test]
fn every_command_has_examples_a_manual_page_and_completions() {
    let commands = commands();
    assert!(["list", "watch", "export"].iter().all(|known| commands.iter().any(|command| command == known)));
    let completions = ["bash", "fish", "zsh"].map(|shell| says(&["completions", shell]));
    for command in &commands {
        let help = says(&["help", command]);
        assert!(help.contains("Examples:") && help.contains(&format!("accept-queue {command}")), "{help}");
        let page = says(&["man", command]);
        assert!(page.contains(".SH OPTIONS") && page.contains("Examples:"), "{page}");
        assert!(completions.iter().all(|text| text.contains(command.as_str())), "{command}");
    }
}

#[test]
fn every_page_is_written_into_a_folder_which_is_made_where_it_is_not_there() {
    let folder = std::env::temp_dir().join(format!("accept-queue-man-{}", running::own_pid()));
    let below = folder.join("man/man1");
    says(&["man", "--into", below.to_str().expect("a path")]);
    let pages = std::fs::read_dir(&below).expect("the folder").count();
    std::fs::remove_dir_all(&folder).expect("the folder");
    assert_eq!(pages, 1 + commands().len());
    let output = program().args(["man", "--into", "/dev/null/man1"]).output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("/dev/null/man1: Not a directory"), "{said}");
}

#[test]
fn help_of_a_command_may_be_asked_for_by_the_word() {
    assert_eq!(says(&["help", "list"]), says(&["list", "--help"]));
    assert_eq!(says(&["help"]), says(&["--help"]));
    let output = program().args(["help", "lsit"]).output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("lsit") && said.contains("'list'"), "{said}");
}

#[test]
fn a_page_for_which_there_is_no_room_is_not_half_written() {
    let folder = std::env::temp_dir().join(format!("accept-queue-full-{}", running::own_pid()));
    std::fs::create_dir(&folder).expect("a folder");
    // No file may be larger than a block: a write beyond it fails, as on a full disk.
    let line = "trap '' XFSZ; ulimit -f 1; exec \"$0\" man --into \"$1\"";
    let mut shell = std::process::Command::new("sh");
    let output = shell.args(["-c", line, env!("CARGO_BIN_EXE_accept-queue")]).arg(&folder).output().expect("sh");
    let left: Vec<_> = std::fs::read_dir(&folder).expect("the folder").collect();
    std::fs::remove_dir_all(&folder).expect("the folder");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("accept-queue-check.1: File too large"), "{said}");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn there_is_no_colour_where_there_is_no_terminal() {
    for arguments in [&["--help"][..], &["watch", "--help"], &["watch", "--all", "--count", "1", "--samples"]] {
        assert!(!says(arguments).contains('\x1b'), "{arguments:?}");
    }
}
