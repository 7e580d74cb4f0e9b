//! Runs each target on every input that is kept for it.

use std::fs;
use std::path::{Path, PathBuf};

use accept_queue_fuzz::TARGETS;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn paths_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn every_input_that_is_kept_is_taken() {
    for (name, target) in TARGETS {
        let inputs = paths_in(&corpora().join(name));
        assert!(!inputs.is_empty(), "{name} has nothing to begin with");
        for input in inputs {
            // Shown only where the target panics.
            println!("{}", input.display());
            target(&fs::read(&input).expect("its bytes"));
        }
    }
}

#[test]
fn every_folder_of_inputs_belongs_to_a_target() {
    for folder in paths_in(&corpora()) {
        let is_target = TARGETS.iter().any(|target| folder.ends_with(target.0));
        assert!(is_target, "{} is of no target", folder.display());
    }
}
