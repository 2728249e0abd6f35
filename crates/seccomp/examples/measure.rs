//! How long a start spends on seccomp: `cargo run --release -p seccomp --example measure`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool")]

use std::collections::BTreeSet;
use std::time::Instant;

use seccomp::{Arch, Cache, KernelSupport, Profile, ProfileSet, compile, default_profile};

fn time<T>(what: &str, rounds: u32, mut work: impl FnMut() -> T) {
    let mut micros: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(work());
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    let first = micros[0];
    micros.sort_by(f64::total_cmp);
    println!("{what}: first {first:.1} us, median {:.1} us", micros[micros.len() / 2]);
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(std::fs::File::open(dir.path()).unwrap().into());
    let arch = Arch::NATIVE.unwrap();
    let caps = BTreeSet::from(["CAP_SYS_CHROOT".to_owned()]);
    let kernel = KernelSupport::probe().unwrap();
    for set in [ProfileSet::Sampan, ProfileSet::Docker] {
        let profile = default_profile(&caps, set, arch);
        let json = profile.to_json().unwrap();
        let program = compile(&profile, &kernel).unwrap();
        let stored = program.to_bytes();
        println!(
            "{set:?}: {} instructions, profile {} bytes, stored {} bytes",
            program.insns().len(),
            json.len(),
            stored.len()
        );
        time("  compile", 200, || compile(&profile, &kernel).unwrap());
        time("  default_profile", 200, || default_profile(&caps, set, arch));
        time("  parse JSON", 200, || Profile::parse(&json).unwrap());
        time("  key", 200, || Cache::key(&profile, &kernel));
        time("  decode and check", 200, || seccomp::Program::from_bytes(&stored).unwrap());
        assert!(!cache.get_or_compile(&profile, &kernel).unwrap().hit);
        time("  cached", 200, || cache.get_or_compile(&profile, &kernel).unwrap());
    }
    time("probe", 50, || KernelSupport::probe().unwrap());
    // The loaded filter stays with this process, so this comes last; each round adds one.
    let program = compile(&default_profile(&caps, ProfileSet::Sampan, arch), &kernel).unwrap();
    time("load", 20, || program.load().unwrap());
}
