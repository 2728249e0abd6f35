//! An archive of images on disk: where its members are. Names lead to members only, never to the file system.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};

use linux::tree;
use rustix::fs::{AtFlags, Mode, OFlags};
use snapshot::{Budget, MemberKind, Members};

use crate::strict::MAX_DOCUMENT;
use crate::{Error, Images, Result};

/// Files, links and directories in one archive.
const MAX_MEMBERS: u64 = 100_000;

enum Found {
    File {
        offset: u64,
        size: u64,
        /// Whether several members have this name.
        twice: bool,
    },
    /// The name, in the archive, of what it is a link to.
    Link(String),
}

/// An archive whose members can be read in any order.
pub(crate) struct Archive {
    file: File,
    members: BTreeMap<String, Found>,
}

/// A part of the archive, read by position.
#[derive(Clone)]
pub(crate) struct Section<'a> {
    file: &'a File,
    offset: u64,
    pub(crate) left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.file.read_at(&mut buffer[..want], self.offset)?;
        if n == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

impl Archive {
    /// Opens a tarball: as it is where it is an uncompressed file at its beginning, else through a copy below the store
    /// that has no name and goes with this value.
    pub(crate) fn open(images: &Images, mut file: File) -> Result<Self> {
        let begins =
            file.metadata().is_ok_and(|m| m.is_file()) && file.stream_position().is_ok_and(|at| at == 0);
        if !begins {
            return Self::spool(images, file);
        }
        let length = file.metadata().map_err(read_error)?.len();
        let mut members = Members::new(Section { file: &file, offset: 0, left: length }, &budget())?;
        if members.is_compressed() {
            return Self::spool(images, file);
        }
        let index = index(&mut members, None)?;
        drop(members);
        Ok(Self { file, members: index })
    }

    /// Opens a tarball that can be read only once.
    pub(crate) fn spool(images: &Images, from: impl Read) -> Result<Self> {
        let mut members = Members::new(from, &budget())?;
        let mut file = nameless(images.store.extension("spool")?)?;
        let index = index(&mut members, Some(&mut file))?;
        members.finish()?;
        Ok(Self { file, members: index })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// The file `name`, through one link at the most.
    fn find(&self, name: &str) -> Result<(u64, u64, bool)> {
        let wanted = plain(Path::new(name))?;
        let target = match self.members.get(&wanted) {
            Some(Found::Link(target)) => target,
            _ => &wanted,
        };
        match self.members.get(target) {
            Some(&Found::File { offset, size, twice }) => Ok((offset, size, twice)),
            Some(Found::Link(_)) => Err(bad(format!("{name:?} is a link to a link"))),
            None => Err(bad(format!("it has no {name:?}"))),
        }
    }

    /// A file whose content is verified by its reader.
    pub(crate) fn open_member(&self, name: &str) -> Result<Section<'_>> {
        let (offset, left, _) = self.find(name)?;
        Ok(Section { file: &self.file, offset, left })
    }

    /// A JSON document, of which there must be only one.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>> {
        let (offset, size, twice) = self.find(name)?;
        if twice {
            return Err(bad(format!("it has {name:?} twice")));
        }
        let size = usize::try_from(size).ok().filter(|&size| size <= MAX_DOCUMENT);
        let size = size.ok_or_else(|| bad(format!("{name:?} is longer than {MAX_DOCUMENT} bytes")))?;
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, offset).map_err(read_error)?;
        Ok(bytes)
    }
}

fn budget() -> Budget {
    Budget { entries: MAX_MEMBERS, path: 512, ..Budget::default() }
}

/// A file below the store that goes with its descriptor.
fn nameless(dir: impl AsFd) -> Result<File> {
    let name = tree::temporary_name();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let shown = name.to_string_lossy();
    let fd = rustix::fs::openat(&dir, &name, flags, Mode::from(0o600))
        .map_err(|e| linux::Error::on("openat", shown.clone(), e))?;
    rustix::fs::unlinkat(&dir, &name, AtFlags::empty())
        .map_err(|e| linux::Error::on("unlinkat", shown, e))?;
    Ok(fd.into())
}

/// Notes where every member is: in the archive, or in `spool`, to which the files are copied.
fn index<R: Read>(members: &mut Members<R>, mut spool: Option<&mut File>) -> Result<BTreeMap<String, Found>> {
    let mut found = BTreeMap::new();
    let mut end = 0;
    while let Some(member) = members.next()? {
        let entry = match &member.kind {
            MemberKind::Directory => continue,
            MemberKind::File => {
                let offset = match &mut spool {
                    Some(file) => {
                        copy(members, file)?;
                        end += member.size;
                        end - member.size
                    }
                    None => member.offset,
                };
                Found::File { offset, size: member.size, twice: false }
            }
            MemberKind::Symlink(target) => {
                let dir = member.path.parent().unwrap_or(Path::new(""));
                Found::Link(plain(&dir.join(target))?)
            }
            MemberKind::Hardlink(target) => Found::Link(plain(target)?),
            MemberKind::Other => {
                return Err(bad(format!("{:?} is neither file, directory nor link", member.path)));
            }
        };
        let name = plain(&member.path)?;
        let earlier = found.insert(name.clone(), entry).is_some();
        if let (true, Some(Found::File { twice, .. })) = (earlier, found.get_mut(&name)) {
            *twice = true;
        }
    }
    Ok(found)
}

fn copy(from: &mut impl Read, to: &mut File) -> Result<()> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        match from.read(&mut buffer).map_err(read_error)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n]).map_err(read_error)?,
        }
    }
}

/// A name in the archive as `a/b/c`: `.` dropped and `..` taken back by its text alone, never above the archive.
fn plain(path: &Path) -> Result<String> {
    let outside = || bad(format!("the name {:?} leads out of it", path.to_string_lossy()));
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => {
                parts.push(part.to_str().ok_or_else(|| bad(format!("the name {path:?} is not UTF-8")))?);
            }
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop().ok_or_else(outside)?),
            Component::RootDir | Component::Prefix(_) => return Err(outside()),
        }
    }
    Ok(parts.join("/"))
}

pub(crate) fn bad(why: String) -> Error {
    Error::Archive(why)
}

fn read_error(source: io::Error) -> Error {
    Error::Io { what: "read", source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for (name, clean) in [("a/b", "a/b"), ("./a//b/", "a/b"), ("x/../a", "a"), ("", "")] {
            assert_eq!(plain(Path::new(name)).unwrap(), clean, "{name}");
        }
        for bad in ["../a", "a/../../b", "/etc/passwd", ".."] {
            assert!(plain(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
