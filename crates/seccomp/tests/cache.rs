//! The cache of compiled programs on a real directory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use seccomp::{Action, Arch, Cache, KernelSupport, Profile, ProfileSet, compile, default_profile};

fn open(path: &Path) -> Cache {
    Cache::new(fs::File::open(path).unwrap().into())
}

fn profile() -> Profile {
    default_profile(&BTreeSet::new(), ProfileSet::Sampan, Arch::X86_64)
}

fn files(path: &Path) -> Vec<String> {
    fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn compiles_once_and_reads_after() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, kernel) = (open(dir.path()), KernelSupport::full(Arch::X86_64));
    let first = cache.get_or_compile(&profile(), &kernel).unwrap();
    assert!(!first.hit && first.unsaved.is_none());
    let second = cache.get_or_compile(&profile(), &kernel).unwrap();
    assert!(second.hit);
    assert_eq!(first.program, second.program);
    assert_eq!(files(dir.path()), [format!("{}.bpf", Cache::key(&profile(), &kernel))]);
}

#[test]
fn a_default_profile_is_known_by_what_it_is_made_from() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, kernel) = (open(dir.path()), KernelSupport::full(Arch::X86_64));
    let admin = BTreeSet::from(["CAP_SYS_ADMIN".to_owned()]);
    for (caps, set) in [
        (&BTreeSet::new(), ProfileSet::Sampan),
        (&BTreeSet::new(), ProfileSet::Docker),
        (&admin, ProfileSet::Sampan),
        (&admin, ProfileSet::Docker),
    ] {
        let first = cache.get_or_compile_default(caps, set, &kernel).unwrap();
        assert!(!first.hit && first.unsaved.is_none());
        assert_eq!(first.program, compile(&default_profile(caps, set, Arch::X86_64), &kernel).unwrap());
        let second = cache.get_or_compile_default(caps, set, &kernel).unwrap();
        assert!(second.hit);
        assert_eq!(first.program, second.program);
    }
    assert_eq!(files(dir.path()).len(), 4);
}

#[test]
fn a_damaged_file_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, kernel) = (open(dir.path()), KernelSupport::full(Arch::X86_64));
    let good = cache.get_or_compile(&profile(), &kernel).unwrap().program;
    let path = dir.path().join(&files(dir.path())[0]);
    let bytes = fs::read(&path).unwrap();
    let flipped: Vec<u8> = bytes.iter().enumerate().map(|(i, b)| if i == 100 { b ^ 1 } else { *b }).collect();
    for damaged in [flipped, bytes[..50].to_vec(), Vec::new(), vec![0; 1 << 20]] {
        fs::write(&path, damaged).unwrap();
        let again = cache.get_or_compile(&profile(), &kernel).unwrap();
        assert!(!again.hit);
        assert_eq!(again.program, good);
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    // A link is not followed, wherever it leads.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(!cache.get_or_compile(&profile(), &kernel).unwrap().hit);
    assert!(cache.get_or_compile(&profile(), &kernel).unwrap().hit);
}

#[test]
fn the_key_follows_meaning_and_kernel() {
    let (x86_64, aarch64) = (KernelSupport::full(Arch::X86_64), KernelSupport::full(Arch::Aarch64));
    let base = profile();
    let mut other = profile();
    other.rules[0].action = Action::Log;
    let mut agent = profile();
    agent.listener_path = Some("/run/agent".into());
    assert_ne!(Cache::key(&base, &x86_64), Cache::key(&other, &x86_64));
    assert_ne!(Cache::key(&base, &x86_64), Cache::key(&base, &aarch64));
    assert_eq!(
        Cache::key(&base, &x86_64),
        Cache::key(&agent, &x86_64),
        "the agent is no part of the program"
    );
}

#[test]
fn without_a_place_to_write_the_program_is_still_good() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let cache = open(&gone);
    fs::remove_dir(&gone).unwrap();
    let cached = cache.get_or_compile(&profile(), &KernelSupport::full(Arch::X86_64)).unwrap();
    assert!(!cached.hit && cached.unsaved.is_some());
}
