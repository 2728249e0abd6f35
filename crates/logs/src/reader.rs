use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::inotify;

use crate::line::{Entry, MAX_LINE, decode};
use crate::{CURRENT, Error, MAX_FILES, Result, Timestamp, rotated};

/// Bytes read at a time.
const BLOCK: usize = 16 * 1024;

/// What to read of a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// Only the last so many entries of what is there now; none is all.
    pub tail: Option<u64>,
    /// Nothing before this.
    pub since: Option<Timestamp>,
    /// Nothing after this.
    pub until: Option<Timestamp>,
    /// Go on with what is written later.
    pub follow: bool,
}

/// Reads a json-file log across its rotated files, oldest entry first, with a bounded amount of memory.
///
/// With `follow`: poll [`LogReader::watch_fd`] for reading, then call [`LogReader::try_next`] until it answers none. The
/// last line of a file without its end is left alone until it is whole; lines that are no entries are skipped and counted.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    options: ReadOptions,
    watch: Option<OwnedFd>,
    current: Option<Source>,
    next: VecDeque<Source>,
    skipped: u64,
    finished: bool,
}

/// One open log file.
#[derive(Debug)]
struct Source {
    file: File,
    id: (u64, u64),
    /// Of the first byte that is not in `buffer`.
    offset: u64,
    buffer: Vec<u8>,
    /// Where in `buffer` the next line begins.
    at: usize,
    /// Up to where `buffer` was searched for a line's end.
    searched: usize,
    /// Inside a line that is too long to be an entry.
    discarding: bool,
}

impl LogReader {
    /// Opens the log in the directory `dir`. A directory that has no log yet, or does not exist, is an empty log.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Watch`].
    pub fn open(dir: &Path, options: ReadOptions) -> Result<Self> {
        // Before the first look, so that nothing written between the two is missed.
        let watch = if options.follow { Some(watch(dir)?) } else { None };
        let mut sources = open_all(dir)?;
        if let Some(tail) = options.tail {
            seek_to_tail(dir, &mut sources, tail)?;
        }
        let current = sources.pop_front();
        let finished = current.is_none() && !options.follow;
        Ok(Self { dir: dir.into(), options, watch, current, next: sources, skipped: 0, finished })
    }

    /// The next entry. None: nothing more, or with `follow` nothing more yet; see [`LogReader::is_finished`].
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn try_next(&mut self) -> Result<Option<Entry>> {
        let mut woken = false;
        while !self.finished {
            if let Some(entry) = self.next_entry()? {
                if self.options.until.is_some_and(|until| entry.time > until) {
                    self.finished = true;
                } else if self.options.since.is_none_or(|since| entry.time >= since) {
                    return Ok(Some(entry));
                }
            } else if !self.options.follow {
                self.finished = true;
            } else if !self.advance()? {
                // Events are taken before the last look, so that none that matters is lost.
                if woken || !self.drain_events() {
                    return Ok(None);
                }
                woken = true;
            }
        }
        Ok(None)
    }

    /// Nothing will ever follow: the end was reached without `follow`, or an entry after `until` was seen.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// With `follow`: readable when there may be something new.
    pub fn watch_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Lines that were no entries.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn next_entry(&mut self) -> Result<Option<Entry>> {
        while let Some(source) = &mut self.current {
            match source.line().map_err(Error::file("read", &self.dir))? {
                Line::Whole(line) => match decode(line) {
                    Ok(entry) => return Ok(Some(entry)),
                    Err(_) => self.skipped += 1,
                },
                Line::TooLong => self.skipped += 1,
                Line::None => match self.next.pop_front() {
                    Some(next) => self.current = Some(next),
                    None => return Ok(None),
                },
            }
        }
        Ok(None)
    }

    /// At the end of the newest file known: goes on with newer ones if the log was rotated meanwhile.
    fn advance(&mut self) -> Result<bool> {
        let Some(current) = &mut self.current else {
            self.next = open_all(&self.dir)?;
            self.current = self.next.pop_front();
            return Ok(self.current.is_some());
        };
        let path = self.dir.join(CURRENT);
        match std::fs::metadata(&path) {
            Ok(found) if (found.dev(), found.ino()) == current.id => {
                // The same file but shorter: its torn end was cut off, or it was truncated by hand.
                if found.len() < current.offset {
                    current.rewind(found.len());
                }
                return Ok(false);
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::file("stat", path)(error)),
        }
        // The writer has left this file, so what it has now is all; it was at its end before we knew that.
        if current.file.metadata().map_err(Error::file("stat", &self.dir))?.len() > current.offset {
            return Ok(true);
        }
        let mut newer = open_all(&self.dir)?;
        if let Some(at) = newer.iter().position(|source| source.id == current.id) {
            newer.drain(..=at);
        }
        self.next = newer;
        if let Some(next) = self.next.pop_front() {
            self.current = Some(next);
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads and forgets the pending events; whether there were any.
    fn drain_events(&mut self) -> bool {
        let Some(watch) = &self.watch else {
            return false;
        };
        let mut buffer = [MaybeUninit::<u8>::uninit(); 1024];
        let mut any = false;
        while matches!(rustix::io::read(watch, &mut buffer), Ok((filled, _)) if !filled.is_empty()) {
            any = true;
        }
        any
    }
}

enum Line<'a> {
    Whole(&'a [u8]),
    TooLong,
    None,
}

impl Source {
    fn new(file: File, id: (u64, u64)) -> Self {
        Self { file, id, offset: 0, buffer: Vec::new(), at: 0, searched: 0, discarding: false }
    }

    /// The next whole line, without its end. At the end of the file the position stays before an unfinished line.
    fn line(&mut self) -> std::io::Result<Line<'_>> {
        loop {
            if let Some(found) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
                let (start, end) = (self.at, self.searched + found);
                self.at = end + 1;
                self.searched = self.at;
                if std::mem::take(&mut self.discarding) {
                    return Ok(Line::TooLong);
                }
                return Ok(Line::Whole(&self.buffer[start..end]));
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            if self.buffer.len() > MAX_LINE {
                self.discarding = true;
                self.buffer.clear();
            }
            self.searched = self.buffer.len();
            let filled = self.buffer.len();
            self.buffer.resize(filled + BLOCK, 0);
            let read = self.file.read_at(&mut self.buffer[filled..], self.offset);
            self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => {
                    if !self.discarding {
                        // Read again later: a torn end may be cut off and written anew.
                        self.offset -= self.buffer.len() as u64;
                        self.buffer.clear();
                        self.searched = 0;
                    }
                    return Ok(Line::None);
                }
                Ok(n) => self.offset += n as u64,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn rewind(&mut self, to: u64) {
        self.offset = to;
        self.buffer.clear();
        self.at = 0;
        self.searched = 0;
        self.discarding = false;
    }
}

/// Opens every file of the log, oldest first. From the newest to the oldest, because a rotation meanwhile then shows one
/// file twice, which is noticed, instead of hiding one.
fn open_all(dir: &Path) -> Result<VecDeque<Source>> {
    let mut sources: VecDeque<Source> = VecDeque::new();
    let mut missing = 0;
    for number in 0..MAX_FILES {
        let path = if number == 0 { dir.join(CURRENT) } else { rotated(dir, number) };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // A crash or a running rotation leaves a gap of one.
                missing += 1;
                if missing > 2 {
                    break;
                }
                continue;
            }
            Err(error) => return Err(Error::file("open", path)(error)),
        };
        let found = file.metadata().map_err(Error::file("stat", &path))?;
        let id = (found.dev(), found.ino());
        if found.is_file() && sources.iter().all(|source| source.id != id) {
            sources.push_front(Source::new(file, id));
        }
    }
    Ok(sources)
}

/// Drops and positions the files so that the last `tail` entries of them all remain.
fn seek_to_tail(dir: &Path, sources: &mut VecDeque<Source>, tail: u64) -> Result<()> {
    let mut left = tail;
    let mut first = sources.len();
    while first > 0 && left > 0 {
        first -= 1;
        let source = &mut sources[first];
        let (start, found) = start_of_last_lines(&mut source.file, left).map_err(Error::file("read", dir))?;
        source.offset = start;
        left -= found;
    }
    if tail == 0 {
        // Everything that is there is skipped, but the newest file stays, to be followed.
        first = sources.len().saturating_sub(1);
        if let Some(source) = sources.back_mut() {
            source.offset = start_of_last_lines(&mut source.file, 0).map_err(Error::file("read", dir))?.0;
        }
    }
    sources.drain(..first);
    Ok(())
}

/// Where the last `lines` whole lines begin, and how many there are; reads blocks backwards.
fn start_of_last_lines(file: &mut File, lines: u64) -> std::io::Result<(u64, u64)> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = vec![0; BLOCK];
    let mut ends_seen = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        for (at, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if ends_seen == lines {
                return Ok((start + at as u64 + 1, lines));
            }
            ends_seen += 1;
        }
        end = start;
    }
    Ok((0, ends_seen))
}

/// An inotify descriptor on the log's directory.
fn watch(dir: &Path) -> Result<OwnedFd> {
    let failed = |errno: rustix::io::Errno| Error::Watch { path: dir.into(), source: errno.into() };
    let watch =
        inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
    use inotify::WatchFlags as W;
    inotify::add_watch(&watch, dir, W::MODIFY | W::CREATE | W::MOVED_TO | W::ONLYDIR).map_err(failed)?;
    Ok(watch)
}
