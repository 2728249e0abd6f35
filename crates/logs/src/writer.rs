use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::line::{PIECE, Stream, encode};
use crate::{CURRENT, Error, Result, Timestamp, rotated};

/// Encoded bytes after which a batch is written, so that memory stays bounded.
const BATCH: usize = 32 * 1024;

/// Writes one container's json-file log: `json.log`, `json.log.1`, ... in a directory.
///
/// Nothing here ever blocks a container or fails a write: what the disk does not take is dropped and counted.
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    max_size: u64,
    max_file: u32,
    /// None after a failed rotation, until a later batch manages to open it.
    file: Option<File>,
    size: u64,
    dropped: u64,
    /// The beginning of a line whose end has not come yet, per stream.
    held: [Vec<u8>; 2],
    batch: Vec<u8>,
}

impl LogWriter {
    /// Opens the log in `dir` (made with mode 0700), after removing a torn last line that a crash left.
    ///
    /// `max_size` is in bytes, 0 is without limit; `max_file` counts the current file and is at least 1.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(dir: &Path, max_size: u64, max_file: u32) -> Result<Self> {
        // A program that writes nothing leaves nothing: directory and file are made for the first line.
        let (file, size) = match dir.join(CURRENT).exists() {
            true => open_current(dir).map(|(file, size)| (Some(file), size))?,
            false => (None, 0),
        };
        Ok(Self {
            dir: dir.into(),
            max_size: if max_size == 0 { u64::MAX } else { max_size },
            max_file: max_file.max(1),
            file,
            size,
            dropped: 0,
            held: [Vec::new(), Vec::new()],
            batch: Vec::new(),
        })
    }

    /// Takes what was read from a stream at `time`: whole lines are written now, with one write for all of them; the
    /// beginning of a line is held until its end comes, or until it is [`PIECE`] bytes long.
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8], time: Timestamp) {
        while !bytes.is_empty() {
            let held = self.held[stream as usize].len();
            let room = PIECE - held;
            let window = &bytes[..bytes.len().min(room)];
            let (take, ends) = match window.iter().position(|&byte| byte == b'\n') {
                Some(at) => (at, true),
                None if window.len() == room => (room, false),
                None => {
                    self.held[stream as usize].extend_from_slice(window);
                    break;
                }
            };
            self.entry(stream, &bytes[..take], ends, time);
            bytes = &bytes[take + usize::from(ends)..];
        }
        self.write_batch();
    }

    /// Writes what is held of unfinished lines: the stream has ended.
    pub fn finish(&mut self, stream: Stream, time: Timestamp) {
        if !self.held[stream as usize].is_empty() {
            self.entry(stream, &[], false, time);
            self.write_batch();
        }
        self.held[stream as usize] = Vec::new();
    }

    /// Encoded bytes that the disk did not take.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Gives back the memory that large output needed.
    pub fn shrink(&mut self) {
        self.batch = Vec::new();
        self.held.iter_mut().for_each(Vec::shrink_to_fit);
    }

    fn entry(&mut self, stream: Stream, text: &[u8], ends: bool, time: Timestamp) {
        let held = &mut self.held[stream as usize];
        if held.is_empty() {
            encode(&mut self.batch, stream, text, ends, time);
        } else {
            held.extend_from_slice(text);
            encode(&mut self.batch, stream, held, ends, time);
            held.clear();
        }
        let full = self.size.saturating_add(self.batch.len() as u64) >= self.max_size;
        if full || self.batch.len() >= BATCH {
            self.write_batch();
        }
        if full && self.size > 0 {
            self.rotate();
        }
    }

    /// Writes the batch whole or, when the disk does not take it, not at all: what was written of it is cut off again.
    fn write_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if self.file.is_none() {
            self.reopen();
        }
        let written = self.file.as_mut().map_or(Err(()), |file| {
            file.write_all(&self.batch).map_err(|_| {
                // If even this fails, the next writer's repair cuts the torn line off.
                let _ = file.set_len(self.size);
            })
        });
        match written {
            Ok(()) => self.size += self.batch.len() as u64,
            Err(()) => self.dropped += self.batch.len() as u64,
        }
        self.batch.clear();
    }

    /// Shifts the files by one and begins a new one. Each step is one rename, so a crash leaves at most a gap in the
    /// numbers, which readers skip.
    fn rotate(&mut self) {
        self.file = None;
        let current = self.dir.join(CURRENT);
        for number in (1..self.max_file.saturating_sub(1)).rev() {
            let _ = std::fs::rename(rotated(&self.dir, number), rotated(&self.dir, number + 1));
        }
        let moved = if self.max_file > 1 {
            std::fs::rename(&current, rotated(&self.dir, 1))
        } else {
            std::fs::remove_file(&current)
        };
        // Where it cannot be moved, the old file goes on being used: a log that grows is better than none.
        drop(moved);
        self.reopen();
    }

    fn reopen(&mut self) {
        // It exists nearly always; where it cannot be made, the file cannot either.
        let _ = std::fs::DirBuilder::new().mode(0o700).create(&self.dir);
        if let Ok((file, size)) = open_current(&self.dir) {
            self.file = Some(file);
            self.size = size;
        }
    }
}

/// Opens the current file for appending and cuts off a last line without its end.
fn open_current(dir: &Path) -> Result<(File, u64)> {
    let path = dir.join(CURRENT);
    let mut options = File::options();
    options.read(true).append(true).create(true).mode(0o600);
    let mut file = options.open(&path).map_err(Error::file("open", &path))?;
    let size = file.metadata().map_err(Error::file("stat", &path))?.len();
    let whole = end_of_last_line(&mut file, size).map_err(Error::file("read", &path))?;
    if whole != size {
        file.set_len(whole).map_err(Error::file("truncate", &path))?;
    }
    Ok((file, whole))
}

/// The offset behind the last `\n` before `size`.
fn end_of_last_line(file: &mut File, size: u64) -> std::io::Result<u64> {
    let mut end = size;
    // Almost always the very last byte.
    let mut block = [0u8; 512];
    while end > 0 {
        let start = end.saturating_sub(if end == size { 1 } else { block.len() as u64 });
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
