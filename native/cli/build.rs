//! Makes the manual pages and shell completions from the command line, and a table of them for the program.

#[allow(dead_code, unused_imports, reason = "used by the program")]
#[path = "src/args/mod.rs"]
mod args;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use clap::{CommandFactory, ValueEnum};
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
    let mut program = args::Arguments::command();
    // Sets the display names, as `accept-queue list`.
    program.build();
    for command in std::iter::once(&program).chain(program.get_subcommands()).filter(|command| !command.is_hide_set()) {
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        let source = format!("accept-queue {}", env!("CARGO_PKG_VERSION"));
        let page = clap_mangen::Man::new(command.clone()).title(&name).source(source).manual("accept-queue");
        page.render(&mut fs::File::create(pages.join(format!("{name}.1")))?)?;
    }
    for shell in args::Shell::value_variants() {
        let shell = match shell {
            args::Shell::Bash => Shell::Bash,
            args::Shell::Fish => Shell::Fish,
            args::Shell::Zsh => Shell::Zsh,
        };
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut args::Arguments::command(), "accept-queue", &mut text);
        fs::write(completions.join(shell.to_string()), text)?;
    }
    fs::write(out.join("assets.rs"), table("PAGES", &pages)? + &table("COMPLETIONS", &completions)?)
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
