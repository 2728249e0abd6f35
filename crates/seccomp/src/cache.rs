//! Compiled programs kept by content, so that a start does not compile.
//!
//! A file `<sha256>.bpf` in a directory that only root can write. Its name is the hash of the profile's meaning (of a default profile:
//! of what it is made from), the compiler's version and what the kernel offers; its content is [`Program::to_bytes`]. Files are written beside and renamed, so a reader sees all or
//! nothing, and a damaged file is compiled again. Nothing here must survive a reboot: no fsync.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use sha2::{Digest, Sha256};

use crate::default::DEFAULTS_VERSION;
use crate::program::MAX_STORED;
use crate::{COMPILER_VERSION, Error, KernelSupport, Profile, ProfileSet, Program, compile, default_profile};

/// A program and where it came from.
#[derive(Debug)]
pub struct Cached {
    /// The program.
    pub program: Program,
    /// Whether it was read rather than compiled.
    pub hit: bool,
    /// Why a compiled program could not be kept; the program itself is good.
    pub unsaved: Option<Error>,
}

/// A directory of compiled programs.
#[derive(Debug)]
pub struct Cache {
    dir: OwnedFd,
}

impl Cache {
    /// A cache in the directory `dir`, which must be private to the caller: its files are loaded as filters.
    pub fn new(dir: OwnedFd) -> Self {
        Self { dir }
    }

    /// The key of `profile` on `kernel`: 64 lower-case hexadecimal digits.
    pub fn key(profile: &Profile, kernel: &KernelSupport) -> String {
        key_of(kernel, &profile.canonical())
    }

    /// The key of a default profile, for which it need not be made: it is told by what it is made from.
    fn default_key(caps: &BTreeSet<String>, set: ProfileSet, kernel: &KernelSupport) -> String {
        let caps: Vec<&str> = caps.iter().map(String::as_str).collect();
        let words = format!("default {DEFAULTS_VERSION} {set:?} {}", caps.join(" "));
        key_of(kernel, words.as_bytes())
    }

    /// The program of `profile`: read where it is there and undamaged, else compiled and kept.
    ///
    /// # Errors
    /// Those of [`compile`]. A cache that cannot be read or written is no error: see [`Cached::unsaved`].
    pub fn get_or_compile(&self, profile: &Profile, kernel: &KernelSupport) -> Result<Cached, Error> {
        self.get_or(&Self::key(profile, kernel), kernel, || profile.clone())
    }

    /// The program of a [`default_profile`], which is only made when there is no program of it yet.
    ///
    /// # Errors
    /// As [`Cache::get_or_compile`].
    pub fn get_or_compile_default(
        &self,
        caps: &BTreeSet<String>,
        set: ProfileSet,
        kernel: &KernelSupport,
    ) -> Result<Cached, Error> {
        let key = Self::default_key(caps, set, kernel);
        self.get_or(&key, kernel, || default_profile(caps, set, kernel.native()))
    }

    fn get_or(
        &self,
        key: &str,
        kernel: &KernelSupport,
        profile: impl FnOnce() -> Profile,
    ) -> Result<Cached, Error> {
        let name = format!("{key}.bpf");
        let stored = read(self.dir.as_fd(), &name).ok().and_then(|bytes| Program::from_bytes(&bytes).ok());
        if let Some(program) = stored {
            return Ok(Cached { program, hit: true, unsaved: None });
        }
        let program = compile(&profile(), kernel)?;
        let unsaved = self.store(&name, &program).err();
        Ok(Cached { program, hit: false, unsaved })
    }

    fn store(&self, name: &str, program: &Program) -> Result<(), Error> {
        let dir = self.dir.as_fd();
        // Unique among the writers of one host: a process and its thread's time.
        let since = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
        let temporary = format!(".{}.{since}", std::process::id());
        let failed = |action, source| Error::Cache { action, name: name.to_owned(), source };
        write(dir, &temporary, &program.to_bytes())
            .map_err(|error| failed("write", error))
            .and_then(|()| renameat(dir, &temporary, dir, name).map_err(|e| failed("rename", e.into())))
            .inspect_err(|_| {
                // The first error is the one to tell; a leftover is of no use and is found by its leading dot.
                let _ = unlinkat(dir, &temporary, AtFlags::empty());
            })
    }
}

/// 64 lower-case hexadecimal digits of the compiler, the kernel and what is meant.
fn key_of(kernel: &KernelSupport, meaning: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(COMPILER_VERSION.to_le_bytes());
    hash.update(kernel.identity());
    hash.update(meaning);
    let mut key = String::with_capacity(64);
    for byte in hash.finalize() {
        for digit in [byte >> 4, byte & 15] {
            // A digit below 16 is one.
            key.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    key
}

fn read(dir: BorrowedFd<'_>, name: &str) -> io::Result<Vec<u8>> {
    let file = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    let mut bytes = Vec::with_capacity(4096);
    // One byte more than is allowed, so that a longer file is seen as such.
    std::fs::File::from(file).take(MAX_STORED as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
    std::fs::File::from(file).write_all(bytes)
}
