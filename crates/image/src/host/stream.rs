//! The collected files as a tar stream: sorted, root's, with whole seconds, so that the same files give the same bytes.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use super::collect::Node;
use crate::exact::Exact;

/// A tar stream of nodes, made as it is read.
pub(crate) struct TarStream {
    todo: VecDeque<(PathBuf, Node)>,
    current: Box<dyn Read>,
    ended: bool,
    size: u64,
}

impl TarStream {
    /// `nodes` are sorted, so that a directory comes before what is in it.
    pub(super) fn new(nodes: BTreeMap<PathBuf, Node>) -> Self {
        Self { todo: nodes.into_iter().collect(), current: Box::new(io::empty()), ended: false, size: 0 }
    }

    /// The stream again from the layer that it was applied to, whose files are in `fs`.
    ///
    /// # Errors
    /// What reading the directories fails with, and `InvalidData` for a file that no such stream has.
    pub(crate) fn again(fs: &Path) -> io::Result<Self> {
        let mut nodes = BTreeMap::new();
        walk(fs, Path::new(""), &mut nodes)?;
        Ok(Self::new(nodes))
    }

    /// Bytes read so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

impl Read for TarStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.current.read(buffer)?;
            self.size += n as u64;
            if n > 0 || buffer.is_empty() || self.ended {
                return Ok(n);
            }
            self.current = match self.todo.pop_front() {
                Some((path, node)) => entry(path, node)?,
                None => {
                    self.ended = true;
                    Box::new(Cursor::new(vec![0; 1024]))
                }
            };
        }
    }
}

fn walk(dir: &Path, name: &Path, nodes: &mut BTreeMap<PathBuf, Node>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let (path, name, kind) = (entry.path(), name.join(entry.file_name()), entry.file_type()?);
        let stat = || rustix::fs::lstat(&path);
        let node = match () {
            () if kind.is_dir() => {
                walk(&path, &name, nodes)?;
                Node::Directory { mode: stat()?.st_mode & 0o7777 }
            }
            () if kind.is_symlink() => Node::Symlink { target: std::fs::read_link(&path)? },
            () if kind.is_file() => Node::File { stat: Box::new(stat()?), path },
            () => return Err(io::ErrorKind::InvalidData.into()),
        };
        nodes.insert(name, node);
    }
    Ok(())
}

/// One entry: header, content and padding, through the `tar` crate's writer so that long names become extensions.
fn entry(path: PathBuf, node: Node) -> io::Result<Box<dyn Read>> {
    let mut header = Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    let mut head = Vec::new();
    let content: (Box<dyn Read>, u64) = match node {
        Node::Directory { mode } => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(mode);
            (Box::new(io::empty()), 0)
        }
        Node::Symlink { target } => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            tar::Builder::new(&mut head).append_link(&mut header, &path, &target)?;
            head.truncate(head.len() - 1024);
            return Ok(Box::new(Cursor::new(head)));
        }
        Node::Text { bytes, mode } => {
            header.set_mode(mode);
            let size = bytes.len() as u64;
            (Box::new(Cursor::new(bytes)), size)
        }
        Node::File { path, stat } => {
            header.set_mode(stat.st_mode & 0o7777);
            header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            (Box::new(Exact::new(File::open(&path)?, size)), size)
        }
    };
    let (content, size) = content;
    tar::Builder::new(&mut head).append_data(&mut header, &path, io::empty())?;
    head.truncate(head.len() - 1024);
    // The last block is the entry's own header, written for no content: it gets the real size.
    if let Some(block) = head.last_chunk_mut::<512>() {
        let mut header = Header::from_byte_slice(block).clone();
        header.set_size(size);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
    let padding = vec![0; (size.wrapping_neg() % 512) as usize];
    Ok(Box::new(Cursor::new(head).chain(content).chain(Cursor::new(padding))))
}
