//! The folders of core are floors: a folder uses those below it, and none above.

use std::fs;
use std::path::Path;

/// From the ground up. What stands on the last line may not use its neighbours either.
const FLOORS: [&[&str]; 5] = [&["linux"], &["vm"], &["reading"], &["rules"], &["monitor", "outside"]];

fn floor(folder: &str) -> usize {
    FLOORS.iter().position(|folders| folders.contains(&folder)).unwrap_or_else(|| panic!("no floor for {folder}/"))
}

fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of core") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(fs::read_to_string(&path).expect("a source"));
        }
    }
}

/// The folders that the code of a source names behind `crate::`; what a comment points to is no use.
fn used(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .filter_map(|rest| rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next())
        .filter(|&name| FLOORS.iter().any(|folders| folders.contains(&name)))
}

#[test]
fn a_folder_uses_only_the_folders_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for entry in fs::read_dir(&root).expect("the sources of core") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let mut found = Vec::new();
        if path.is_dir() {
            sources(&path, &mut found);
        } else {
            found.push(fs::read_to_string(&path).expect("a source"));
        }
        for other in found.iter().flat_map(|source| used(source)) {
            seen += 1;
            match (path.is_dir(), name.as_str()) {
                (true, name) if name == other => {}
                (true, name) => assert!(floor(other) < floor(name), "{name}/ uses {other}/, which is not below it"),
                // The root's own list of what the crate offers.
                (false, "lib") => {}
                (false, name) => panic!("{name}.rs is the vocabulary, and uses {other}/"),
            }
        }
    }
    assert!(seen > 50, "{seen} uses were seen: the sources were not read");
}
