//! Loaded by `test/panicking_nif.erl`.

#[rustler::nif(schedule = "Normal")]
fn normal() {
    panic!("on a normal scheduler")
}

#[rustler::nif(schedule = "DirtyIo")]
fn dirty() {
    panic!("on a dirty one")
}

rustler::init!("panicking_nif");
