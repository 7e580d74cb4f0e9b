//! Makes the manual pages and shell completions from the command line, and a table of them for the program.

#[allow(dead_code, unused_imports, reason = "used by the program")]
#[path = "src/args/mod.rs"]
mod args;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use args::manual::{EXAMPLES, Manual};
use clap::ValueEnum;
use clap_complete::aot::Shell;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/args");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let (pages, completions) = (out.join("man"), out.join("completions"));
    for folder in [&pages, &completions] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir(folder)?;
    }
    let mut program = args::Arguments::documented();
    // Sets the display names, as `accept-queue list`.
    program.build();
    for command in std::iter::once(&program).chain(program.get_subcommands()).filter(|command| !command.is_hide_set()) {
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        let source = format!("accept-queue {}", env!("CARGO_PKG_VERSION"));
        let man = clap_mangen::Man::new(command.clone()).title(&name).source(source).manual("accept-queue");
        fs::write(pages.join(format!("{name}.1")), page(command, &man)?)?;
    }
    for shell in args::Shell::value_variants() {
        let shell = match shell {
            args::Shell::Bash => Shell::Bash,
            args::Shell::Fish => Shell::Fish,
            args::Shell::Zsh => Shell::Zsh,
        };
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut args::Arguments::documented(), "accept-queue", &mut text);
        fs::write(completions.join(shell.to_string()), text)?;
    }
    fs::write(out.join("assets.rs"), table("PAGES", &pages)? + &table("COMPLETIONS", &completions)?)
}

/// A manual page: its sections are those of `--help`, under the names that manual pages have.
fn page(command: &clap::Command, man: &clap_mangen::Man) -> io::Result<Vec<u8>> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let manual = Manual::of(command.get_name());
    let (before, examples) = after.split_once(EXAMPLES).unwrap_or((&after, ""));
    let first = manual.and_then(|manual| manual.sections().next());
    let notes = first.and_then(|(title, _)| before.split(&format!("{title}:\n")).next()).unwrap_or(before);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let mut text = String::new();
    notes
        .split("\n\n")
        .map(str::trim)
        .filter(|note| !note.is_empty())
        .for_each(|note| text += &format!(".PP\n{}\n", roff(note)));
    page.append(&mut std::mem::take(&mut text).into_bytes());
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    for (title, rows) in manual.into_iter().flat_map(Manual::sections) {
        text += &format!(".SH {:?}\n", title.to_uppercase());
        rows.iter().for_each(|(name, meaning)| text += &format!(".TP\n\\fB{}\\fR\n{}\n", roff(name), roff(meaning)));
    }
    if !examples.is_empty() {
        // As they are written.
        text += &format!(".SH EXAMPLES\n.nf\n{}\n.fi\n", roff(examples.trim_end()));
    }
    page.append(&mut text.into_bytes());
    if command.get_version().is_some() {
        man.render_version_section(&mut page)?;
    }
    Ok(page)
}

/// Text in which nothing is a command of roff.
fn roff(text: &str) -> String {
    let line = |line: &str| {
        let escaped = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        if line.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A Rust constant with name and text of each file of a folder.
fn table(name: &str, folder: &Path) -> io::Result<String> {
    let mut files = fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    let mut table = format!("const {name}: &[(&str, &str)] = &[\n");
    for path in files {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "({:?}, include_str!({path:?})),", path.file_stem().unwrap_or_default());
    }
    Ok(table + "];\n")
}
