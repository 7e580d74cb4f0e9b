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
        assert!(page.contains(".SH OPTIONS") && page.contains(".SH EXAMPLES"), "{page}");
        assert!(completions.iter().all(|text| text.contains(command.as_str())), "{command}");
    }
}

/// The lines of a section, up to the next one.
fn section<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    page.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with(".SH")).collect()
}

#[test]
fn a_manual_page_has_the_sections_of_the_help_and_its_examples_as_they_are_written() {
    for command in commands() {
        let (help, page) =
            (says(&["help", &command]), says(&["man", &command]).replace("\\-", "-").replace("\\(aq", "'"));
        for heading in [".SH \"EXIT STATUS\"", ".SH \"ENVIRONMENT\""] {
            assert!(!section(&page, heading).is_empty(), "{command}: {heading}: {page}");
        }
        let has_files = page.contains(".SH \"FILES\"");
        assert!(has_files || command == "completions", "{command}: {page}");
        let written: Vec<_> = help.lines().skip_while(|line| *line != "Examples:").skip(1).collect();
        // A long line is broken in the help.
        let shown = section(&page, ".SH EXAMPLES");
        let words = |lines: &[&str]| lines.join(" ").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let between: Vec<_> = shown.iter().copied().filter(|line| ![".nf", ".fi"].contains(line)).collect();
        let end = between.iter().position(|line| line.starts_with(".ie")).unwrap_or(between.len());
        assert_eq!(words(&written), words(&between[..end]), "{command}");
        assert_eq!((shown.first(), written.is_empty()), (Some(&".nf"), false), "{command}");
    }
}

#[test]
fn the_page_of_top_has_the_keys_that_its_help_on_the_screen_has() {
    let source = include_str!("../src/args/manual.rs");
    let table = source.split_once("const KEYS").and_then(|(_, rest)| rest.split_once("\n];")).expect("its keys").0;
    let rows: Vec<(&str, &str)> = table
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\"")?.strip_suffix("\"),")?.split_once("\", \""))
        .collect();
    assert!(rows.len() > 10, "{table}");
    let page = says(&["man", "top"]).replace("\\-", "-");
    let keys = section(&page, ".SH \"KEYS\"");
    let shown: Vec<_> =
        keys.chunks(3).map(|row| (row[1].trim_start_matches("\\fB").trim_end_matches("\\fR"), row[2])).collect();
    assert_eq!(shown, rows);
}

#[test]
fn every_bad_command_line_is_one_line_and_status_2() {
    for line in [
        &["lsit"][..],
        &["list", "--no-such-option"],
        &["list", "--pid", "0"],
        &["list", "--pid", "1", "--all"],
        &["diagnose", "--for", "soon"],
        &["watch", "--interval", "1"],
        &["record"],
        &["record", "a.aq", "--max-size", "1"],
        &["report"],
        &["top", "--interval", "0s"],
        &["export", "--listen", "9700"],
        &["export", "--host", "a:b"],
        &["lab", "--clients", "0"],
        &["completions", "tcsh"],
        &["man", "nosuch"],
        &["man", "port"],
        &["man", "list", "--into", "."],
    ] {
        let output = program().args(line).output().expect("the program");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{line:?}: {said}");
    }
    // Which is CRITICAL for `check`.
    let output = program().args(["check", "--no-such-option"]).output().expect("the program");
    assert_eq!(output.status.code(), Some(3));
}

/// A row of the one table of exit statuses has a cell for each status that the manual page of the command has, and no other.
#[test]
fn the_table_of_exit_statuses_is_that_of_the_manual_pages() {
    let document = include_str!("../../../docs/errors.md");
    let table = document.split_once("## Exit statuses of the program").expect("its heading").1;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    for command in commands() {
        let named = format!("`{command}`");
        let row = rows.iter().find(|row| row[1].contains(&named)).unwrap_or_else(|| panic!("no row for {command}"));
        let page = says(&["man", &command]);
        let of_page: Vec<_> = (0..5)
            .filter(|status| section(&page, ".SH \"EXIT STATUS\"").contains(&format!("\\fB{status}\\fR").as_str()))
            .collect();
        let of_table: Vec<_> = (0..5).filter(|status| !row[status + 2].is_empty()).collect();
        assert_eq!(of_table, of_page, "{command}");
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
