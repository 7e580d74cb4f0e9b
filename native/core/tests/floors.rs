//! The folders of core are floors: a folder uses those below it, and none above. Within a folder no two files lean on each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// From the ground up. What stands on the last line may not use its neighbours either.
const FLOORS: [&[&str]; 5] = [&["linux"], &["vm"], &["reading"], &["rules"], &["monitor", "outside"]];

/// The code of each module, by its path (`["linux", "diag", "reply"]`). Comments and tests use nothing.
type Modules = BTreeMap<Vec<String>, String>;

fn floor(folder: &str) -> Option<usize> {
    FLOORS.iter().position(|folders| folders.contains(&folder))
}

fn modules(folder: &Path, at: &[String], found: &mut Modules) {
    for entry in fs::read_dir(folder).expect("a folder of core") {
        let path = entry.expect("an entry of it").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let module: Vec<String> = at.iter().cloned().chain((name != "mod").then_some(name)).collect();
        if path.is_dir() {
            modules(&path, &module, found);
        } else {
            let text = fs::read_to_string(&path).expect("a source");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let is_code = |line: &&str| !line.trim_start().starts_with("//");
            found.insert(module, code.lines().filter(is_code).collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The paths of a use tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(tree: &str, before: &str, found: &mut Vec<String>) {
    let Some((stem, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return found.push(format!("{before}{path}"));
    };
    let (mut depth, mut start) = (0, 0);
    let list = rest.trim_end().strip_suffix('}').expect("a closed list");
    for (index, letter) in list.char_indices().chain([(list.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = list[start..index].trim();
                if !part.is_empty() {
                    paths(part, &format!("{before}{}", stem.trim()), found);
                }
                start = index + 1;
            }
            _ => {}
        }
    }
}

/// What each module uses, as far as its `use` items say. A name that a module passes on is of the module that it is from.
fn uses(modules: &Modules) -> BTreeMap<Vec<String>, Vec<Vec<String>>> {
    let named = |module: &[String]| {
        let mut found = Vec::new();
        let code = &modules[module];
        let is_word = |at: usize| code[..at].ends_with(|before: char| before.is_whitespace()) || at == 0;
        for (at, word) in code.match_indices("use ").filter(|&(at, _)| is_word(at)) {
            let item = code[at + word.len()..].split(';').next().unwrap_or_default();
            paths(item, "", &mut found);
        }
        found.iter().filter_map(|path| absolute(module, path, modules)).collect::<Vec<_>>()
    };
    let all: BTreeMap<_, _> = modules.keys().map(|module| (module.clone(), named(module))).collect();
    let origin = |path: &Vec<String>| {
        let mut path = path;
        loop {
            let length = (0..=path.len()).rev().find(|&length| modules.contains_key(&path[..length])).unwrap_or(0);
            let (module, name) = path.split_at(length);
            match all[module].iter().find(|passed_on| passed_on.last() == name.first() && *passed_on != path) {
                Some(passed_on) => path = passed_on,
                None => return module.to_vec(),
            }
        }
    };
    all.iter().map(|(module, paths)| (module.clone(), paths.iter().map(origin).collect())).collect()
}

/// The path from the root of the crate; `None`: it is of another crate.
fn absolute(module: &[String], path: &str, modules: &Modules) -> Option<Vec<String>> {
    let mut parts = path.split("::").peekable();
    let mut at = match *parts.peek()? {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module.to_vec(),
        first if modules.contains_key(&[module, &[first.to_owned()]].concat()) => module.to_vec(),
        _ => return None,
    };
    for part in parts {
        match part {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            name => at.push(name.to_owned()),
        }
    }
    Some(at)
}

fn core() -> Modules {
    let mut found = Modules::new();
    modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut found);
    // The root's own list of what the crate offers.
    let root = found.remove(&vec!["lib".to_owned()]).expect("the root");
    found.insert(Vec::new(), root);
    found
}

#[test]
fn a_folder_uses_only_the_folders_below_it() {
    let modules = core();
    let mut count = 0;
    for (module, code) in modules.iter().filter(|(module, _)| !module.is_empty()) {
        let of = floor(&module[0]);
        for other in
            code.split("crate::").skip(1).filter_map(|rest| rest.split(|letter: char| !letter.is_alphanumeric()).next())
        {
            let Some(used) = floor(other) else { continue };
            count += 1;
            assert!(
                module[0] == other || of.is_some_and(|of| used < of),
                "{} uses {other}/, which is not below it",
                module.join("/")
            );
        }
    }
    assert!(count > 50, "{count} uses were found: the sources were not read");
}

#[test]
fn no_file_leans_on_one_that_leans_on_it() {
    let modules = core();
    let mut left = uses(&modules);
    assert!(left.values().map(Vec::len).sum::<usize>() > 150, "too few uses were found: the sources were not read");
    while !left.is_empty() {
        let free: Vec<_> = left
            .iter()
            .filter(|(module, uses)| uses.iter().all(|used| used == *module || !left.contains_key(used)))
            .map(|(module, _)| module.clone())
            .collect();
        let circle: Vec<_> = left.keys().map(|module| module.join("/")).collect();
        assert!(!free.is_empty(), "a circle among {circle:?}");
        free.iter().for_each(|module| drop(left.remove(module)));
        println!("{}", free.iter().map(|module| module.join("/")).collect::<Vec<_>>().join(" "));
    }
}
