//! Manual pages and shell completions: made by `build.rs`, part of the program, so that it installs as one file.

use std::path::Path;
use std::{fs, io};

use clap::ValueEnum;

use crate::args::{ManOptions, Shell};
use crate::output;
use crate::whole_file::{self, Access};

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

pub(crate) fn completions(shell: Shell) -> Result<(), String> {
    let value = shell.to_possible_value();
    let name = value.as_ref().map_or("", |value| value.get_name());
    print(COMPLETIONS, name).ok_or_else(|| format!("there are no completions for {name}"))?
}

pub(crate) fn man(options: &ManOptions) -> Result<(), String> {
    match &options.into {
        Some(folder) => fs::create_dir_all(folder).map_err(|error| in_words(folder, &error)).and_then(|()| {
            PAGES.iter().try_for_each(|(page, text)| {
                let path = folder.join(format!("{page}.1"));
                whole_file::replace(&path, text.as_bytes(), Access::Usual).map_err(|error| in_words(&path, &error))
            })
        }),
        None => page(options.command.as_deref()),
    }
}

fn in_words(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display().to_string().escape_debug())
}

/// Of a command; `None`: of the program.
fn page(command: Option<&str>) -> Result<(), String> {
    let page = command.map_or_else(|| "accept-queue".to_owned(), |command| format!("accept-queue-{command}"));
    print(PAGES, &page).ok_or_else(|| format!("there is no page {page}"))?
}

fn print(table: &[(&str, &str)], name: &str) -> Option<Result<(), String>> {
    table.iter().find(|(of, _)| *of == name).map(|(_, text)| output::print(text.as_bytes()))
}
