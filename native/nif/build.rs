//! Links the library so that it stays mapped once it is loaded: the thread of `src/poller.rs` runs in it, and ends after the last
//! reference to it has gone, when the VM may already have unloaded the module.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
