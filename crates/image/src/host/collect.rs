//! Which files an image needs, with the symlinks that lead to them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Stat};

use super::cache::Known;
use super::elf::{self, Linkage};
use super::search;
use crate::{Error, Result};

/// Files and directories of one image.
const MAX_NODES: usize = 200_000;
/// Symlinks on the way to one file; the kernel's own limit.
const MAX_LINKS: usize = 40;
/// The kernel reads so much of a script's first line (`BINPRM_BUF_SIZE`).
const SCRIPT_LINE: usize = 256;
/// Interpreters of interpreters; the kernel allows 5.
const MAX_SCRIPTS: usize = 5;

/// One file of the image.
#[derive(Debug)]
pub(super) enum Node {
    Directory { mode: u32 },
    Symlink { target: PathBuf },
    File { path: PathBuf, stat: Box<Stat> },
    Text { bytes: Vec<u8>, mode: u32 },
}

/// Gathers files; paths in the image are those of the host, without the leading `/`.
pub(super) struct Collector {
    nodes: BTreeMap<PathBuf, Node>,
    known: BTreeMap<PathBuf, Known>,
    configured: Vec<PathBuf>,
    done: HashSet<PathBuf>,
    newest: i64,
    glibc: bool,
}

/// An object being linked: where it was found, its linkage, and the RPATHs of those that loaded it.
struct Loaded {
    path: PathBuf,
    linkage: Linkage,
    inherited: Vec<PathBuf>,
}

impl Collector {
    pub(super) fn new() -> Self {
        let (configured, files) = search::configured();
        let mut collector = Self {
            nodes: BTreeMap::new(),
            known: BTreeMap::new(),
            configured,
            done: HashSet::new(),
            newest: 0,
            glibc: false,
        };
        // Not taken, but a change of where libraries are found must show.
        for path in files.into_iter().chain(["/etc/passwd".into(), "/etc/group".into()]) {
            if let Ok(stat) = rustix::fs::lstat(&path) {
                collector.known.insert(path.clone(), Known::new(&path, &stat));
            }
        }
        collector
    }

    /// All files, as they were when they were looked at.
    pub(super) fn known(&self) -> Vec<Known> {
        self.known.values().cloned().collect()
    }

    /// The newest modification time of a file taken: the image's date, so that the same files make the same image.
    pub(super) fn newest(&self) -> i64 {
        self.newest
    }

    pub(super) fn into_nodes(self) -> BTreeMap<PathBuf, Node> {
        self.nodes
    }

    /// Takes a program and all that it loads.
    pub(super) fn program(&mut self, path: &Path, depth: usize) -> Result<()> {
        let real = self.take(path)?;
        if !self.done.insert(real.clone()) {
            return Ok(());
        }
        if depth > MAX_SCRIPTS {
            return Err(host_file(path, "its interpreters form a loop"));
        }
        let mut file = File::open(&real).map_err(|e| host_file(path, e))?;
        let mut start = Vec::new();
        file.by_ref().take(SCRIPT_LINE as u64).read_to_end(&mut start).map_err(|e| host_file(path, e))?;
        match &start[..] {
            [b'#', b'!', line @ ..] => self.script(path, line, depth),
            [0x7f, b'E', b'L', b'F', ..] => self.link(real, &file),
            _ => Err(host_file(path, "it is neither an ELF program nor a script with #!")),
        }
    }

    /// `#!interpreter [argument]` (execve(2)); `env` names one more program.
    fn script(&mut self, path: &Path, line: &[u8], depth: usize) -> Result<()> {
        let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_whitespace();
        let interpreter = words.next().ok_or_else(|| host_file(path, "its #! line names no interpreter"))?;
        if !interpreter.starts_with('/') {
            return Err(host_file(path, "its #! line names a relative interpreter"));
        }
        self.program(Path::new(interpreter), depth + 1)?;
        if interpreter.ends_with("/env") {
            let named = words.find(|word| !word.starts_with('-') && !word.contains('='));
            if let Some(name) = named {
                let program = search::program(name).ok_or_else(|| Error::NoProgram(name.to_owned()))?;
                self.program(&program, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Follows an ELF program's interpreter and libraries, breadth first as the dynamic linker does.
    fn link(&mut self, path: PathBuf, file: &File) -> Result<()> {
        let linkage = elf::read(file).map_err(|why| host_file(&path, why))?;
        let interpreter = linkage.interpreter.clone().map(PathBuf::from);
        if let Some(interpreter) = &interpreter {
            self.take(interpreter)?;
            self.glibc |= interpreter.to_string_lossy().contains("ld-linux");
        }
        let defaults = search::defaults(interpreter.as_deref(), linkage.is_64);
        // The linker loads a name once per process; the first to need it decides where from.
        let mut names: HashSet<String> = HashSet::new();
        let mut queue = std::collections::VecDeque::from([Loaded { path, linkage, inherited: Vec::new() }]);
        while let Some(object) = queue.pop_front() {
            let origin = object.path.parent().unwrap_or(Path::new("/")).to_owned();
            let expanded = |list: &Option<String>| {
                list.as_deref().map(|l| search::expand(l, &origin)).unwrap_or_default()
            };
            let runpath = expanded(&object.linkage.runpath);
            // RPATH is inherited by what is loaded, RUNPATH is not, and where there is a RUNPATH no RPATH counts.
            let mut rpath = expanded(&object.linkage.rpath);
            rpath.extend(object.inherited.iter().cloned());
            let own = if object.linkage.runpath.is_some() { Vec::new() } else { rpath.clone() };
            for name in &object.linkage.needed {
                if !names.insert(name.clone()) {
                    continue;
                }
                if names.len() > MAX_NODES {
                    return Err(host_file(&object.path, "it loads too many libraries"));
                }
                let dirs = own.iter().chain(&runpath).chain(&self.configured).chain(&defaults);
                let found = find_library(name, dirs, &object.linkage).ok_or_else(|| Error::NoLibrary {
                    needed: name.clone(),
                    by: object.path.display().to_string(),
                })?;
                self.take(&found.0)?;
                queue.push_back(Loaded { path: found.0, linkage: found.1, inherited: rpath.clone() });
            }
        }
        Ok(())
    }

    /// Takes a file, or a directory with all in it, without looking for what it loads.
    pub(super) fn extra(&mut self, path: &Path) -> Result<()> {
        if !path.is_absolute() {
            return Err(host_file(path, "the path is not absolute"));
        }
        let mut todo = vec![path.to_owned()];
        while let Some(path) = todo.pop() {
            let real = self.take(&path)?;
            if real.is_dir() && self.done.insert(real.clone()) {
                for entry in fs::read_dir(&real).map_err(|e| host_file(&path, e))? {
                    let entry = entry.map_err(|e| host_file(&path, e))?;
                    let kind = entry.file_type().map_err(|e| host_file(&path, e))?;
                    // Sockets, devices and dangling links are nobody's program.
                    let dangling = kind.is_symlink() && !entry.path().exists();
                    if (kind.is_dir() || kind.is_file() || kind.is_symlink()) && !dangling {
                        todo.push(entry.path());
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes `path`, its directories and every symlink on the way, and gives the path without symlinks.
    fn take(&mut self, path: &Path) -> Result<PathBuf> {
        let mut todo: Vec<OsString> = names(path);
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            let stat = rustix::fs::statat(CWD, &next, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| host_file(&next, std::io::Error::from(e)))?;
            let key = next.strip_prefix("/").unwrap_or(&next).to_owned();
            let node = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    here = next;
                    Node::Directory { mode: stat.st_mode & 0o7777 }
                }
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(host_file(path, "too many symlinks"));
                    }
                    let text = rustix::fs::readlink(&next, Vec::new())
                        .map_err(|e| host_file(&next, std::io::Error::from(e)))?;
                    let target = PathBuf::from(OsString::from_vec(text.into_bytes()));
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    todo.extend(names(&target));
                    self.known.insert(next.clone(), Known::new(&next, &stat));
                    Node::Symlink { target }
                }
                FileType::RegularFile if todo.is_empty() => {
                    self.known.insert(next.clone(), Known::new(&next, &stat));
                    self.newest = self.newest.max(stat.st_mtime);
                    here = next.clone();
                    Node::File { path: next, stat: Box::new(stat) }
                }
                _ => return Err(host_file(&next, "it is neither a file, a directory nor a symlink")),
            };
            self.nodes.entry(key).or_insert(node);
            if self.nodes.len() > MAX_NODES {
                return Err(host_file(path, "more than 200000 files"));
            }
        }
        Ok(here)
    }

    /// What programs expect around them: the usual directories, users, and name service settings.
    pub(super) fn surroundings(&mut self, users: &[String]) -> Result<()> {
        if self.glibc {
            // Before glibc 2.34 getpwnam(3) and getaddrinfo(3) load these at run time.
            for module in ["libnss_files.so.2", "libnss_dns.so.2"] {
                let is_64 = cfg!(target_pointer_width = "64");
                let dirs = search::defaults(None, is_64);
                if let Some(path) = dirs.iter().map(|dir| dir.join(module)).find(|path| path.exists()) {
                    self.take(&path)?;
                }
            }
            if Path::new("/etc/ld.so.cache").is_file() {
                self.take(Path::new("/etc/ld.so.cache"))?;
            }
        }
        // Where /bin is a link to usr/bin, scripts that say /bin/sh need the link.
        for link in ["/bin", "/sbin", "/lib", "/lib32", "/lib64"].map(Path::new) {
            if link.is_symlink() && link.is_dir() {
                self.take(link)?;
            }
        }
        let names: BTreeSet<&str> =
            ["root", "nobody"].into_iter().chain(users.iter().map(String::as_str)).collect();
        let (passwd, gids) = chosen("/etc/passwd", &names, &BTreeSet::new())?;
        let (group, _) = chosen("/etc/group", &BTreeSet::from(["root"]), &gids)?;
        for (path, bytes) in [
            ("etc/passwd", passwd),
            ("etc/group", group),
            ("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n".to_vec()),
        ] {
            self.nodes.insert(path.into(), Node::Text { bytes, mode: 0o644 });
        }
        for (path, mode) in [
            ("etc", 0o755),
            ("proc", 0o555),
            ("sys", 0o555),
            ("dev", 0o755),
            ("run", 0o755),
            ("root", 0o700),
            ("tmp", 0o1777),
            ("var", 0o755),
            ("var/tmp", 0o1777),
            ("home", 0o755),
        ] {
            self.nodes.entry(path.into()).or_insert(Node::Directory { mode });
        }
        if self.nodes.get(Path::new("var")).is_some_and(|node| matches!(node, Node::Directory { .. })) {
            self.nodes.entry("var/run".into()).or_insert(Node::Symlink { target: "/run".into() });
        }
        Ok(())
    }
}

/// The lines of a passwd or group file whose name is in `names` or whose id is in `ids`, and the group ids in them.
fn chosen(path: &str, names: &BTreeSet<&str>, ids: &BTreeSet<String>) -> Result<(Vec<u8>, BTreeSet<String>)> {
    let text = linux::tree::read_small(CWD, path, 1 << 20)?;
    let (mut lines, mut gids) = (Vec::new(), BTreeSet::new());
    for line in text.split(|&b| b == b'\n') {
        let fields: Vec<_> = line.split(|&b| b == b':').map(String::from_utf8_lossy).collect();
        if fields.len() >= 4 && (names.contains(&*fields[0]) || ids.contains(&*fields[2])) {
            gids.insert(fields[3].clone().into_owned());
            lines.extend_from_slice(line);
            lines.push(b'\n');
        }
    }
    Ok((lines, gids))
}

/// The first file called `name` that is an object for the same machine as `by`; a file for another is passed over.
fn find_library<'a>(
    name: &str,
    dirs: impl Iterator<Item = &'a PathBuf>,
    by: &Linkage,
) -> Option<(PathBuf, Linkage)> {
    let fits = |path: PathBuf| {
        let linkage = elf::read(&File::open(&path).ok()?).ok()?;
        ((linkage.is_64, linkage.machine) == (by.is_64, by.machine)).then_some((path, linkage))
    };
    match name.contains('/') {
        true => Some(PathBuf::from(name)).filter(|path| path.is_absolute()).and_then(fits),
        false => dirs.map(|dir| dir.join(name)).find_map(fits),
    }
}

fn names(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}

fn host_file(path: &Path, why: impl ToString) -> Error {
    let shown = String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
    Error::HostFile { path: shown, why: why.to_string() }
}
