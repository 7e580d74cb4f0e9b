//! libFuzzer on one target, named by `FUZZ_TARGET`; without it, prints their names. Arguments are libFuzzer's.

#![no_main]

use std::sync::OnceLock;

use accept_queue_fuzz::TARGETS;
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn chosen() -> fn(&[u8]) {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    if let Some(target) = TARGETS.iter().find(|target| target.0 == name) {
        return target.1;
    }
    for (name, _) in TARGETS {
        println!("{name}");
    }
    std::process::exit(if name.is_empty() { 0 } else { 2 });
}

fuzz_target!(init: { TARGET.get_or_init(chosen); }, |bytes: &[u8]| TARGET.get_or_init(chosen)(bytes));
