//! Takes the entry point of the crate `linux` (`entry.rs`), which there is for one architecture so far. Elsewhere the
//! program starts as any other, and does the same a little later.
#![allow(clippy::print_stdout, reason = "a build script speaks to cargo")]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        println!("cargo:rustc-link-arg-bins=-Wl,--entry=sampan_entry");
    }
}
