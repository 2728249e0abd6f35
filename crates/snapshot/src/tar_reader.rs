//! Tar entries from a stream: ustar, GNU long names and old GNU sparse files, PAX.
//!
//! Header fields are parsed by the `tar` crate; the walk over the stream is ours, so that every extension header has
//! a budget and every ambiguity (two sizes, a key twice, a name with NUL) is an error and not a choice.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use tar::{EntryType, Header};

use crate::stream::Stream;
use crate::{Budget, Error, Result};

const BLOCK: usize = 512;
/// Bytes of one PAX header (attributes such as xattrs included) or GNU long name.
const MAX_EXTENSION: u64 = 1 << 20;
/// Pieces of one sparse file.
const MAX_PIECES: usize = 100_000;

/// One entry's header, extensions applied.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) path: OsString,
    pub(crate) link: OsString,
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since the epoch and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u32, u32),
    /// Bytes of the file as it will be.
    pub(crate) size: u64,
    /// For a sparse file: where its pieces go (offset, length).
    pub(crate) pieces: Option<Vec<(u64, u64)>>,
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
}

#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(OsString, Vec<u8>)>,
    pax: bool,
}

/// Reads entry after entry.
pub(crate) struct TarReader<R: Read> {
    stream: Stream<R>,
    budget: Budget,
    number: u64,
    /// Bytes of the current entry's data not yet read, and of the padding after it.
    left: u64,
    padding: u64,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(stream: Stream<R>, budget: &Budget) -> Self {
        Self { stream, budget: budget.clone(), number: 0, left: 0, padding: 0 }
    }

    pub(crate) fn into_stream(self) -> Stream<R> {
        self.stream
    }

    pub(crate) fn stream(&self) -> &Stream<R> {
        &self.stream
    }

    /// The next entry; none at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let mut block = [0; BLOCK];
            if !self.stream.read_exact(&mut block)? || block == [0; BLOCK] {
                return Ok(None);
            }
            self.number += 1;
            if self.number > self.budget.entries {
                return Err(Error::Budget { what: "entries", limit: self.budget.entries });
            }
            let header = Header::from_byte_slice(&block);
            self.check_sum(header, &block)?;
            let size = header.entry_size().map_err(|_| self.bad(header, "its size is not a number"))?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let data = self.extension(header, size)?;
                    if std::mem::replace(&mut extensions.pax, true) {
                        return Err(self.bad(header, "two PAX headers for one entry"));
                    }
                    pax(&data, &mut extensions).map_err(|why| self.bad(header, why))?;
                }
                // Global headers set defaults that no layer needs; archives of git begin with one.
                EntryType::XGlobalHeader => drop(self.extension(header, size)?),
                EntryType::GNULongName => {
                    let name = self.extension(header, size)?;
                    extensions.path = Some(without_nul(name));
                }
                EntryType::GNULongLink => {
                    let name = self.extension(header, size)?;
                    extensions.link = Some(without_nul(name));
                }
                _ => return self.entry(header, size, extensions).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, size: u64, extensions: Extensions) -> Result<Entry> {
        let bad = |why| self.bad(header, why);
        let mut stored = size;
        if let Some(pax) = extensions.size {
            // A size that does not fit ustar's 11 octal digits is given as 0 or as the largest number there.
            if size != pax && size != 0 && pax < 0o77777777777 {
                return Err(bad("the PAX and ustar sizes differ"));
            }
            stored = pax;
        }
        let mut kind = header.entry_type();
        let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = match extensions.link {
            Some(link) => link,
            None => header.link_name_bytes().map(|l| l.into_owned()).unwrap_or_default(),
        };
        if path.contains(&0) || link.contains(&0) {
            return Err(bad("a name contains NUL"));
        }
        if path.len() > self.budget.path || link.len() > self.budget.path {
            return Err(Error::Budget { what: "bytes of path", limit: self.budget.path as u64 });
        }
        if kind == EntryType::Regular && path.ends_with(b"/") {
            kind = EntryType::Directory;
        }
        let has_data = matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse);
        if !has_data {
            // Hard links and directories may state a size (POSIX pax, "typeflag"), but have no data here.
            stored = if matches!(kind, EntryType::Link | EntryType::Directory) { 0 } else { stored };
            if stored != 0 {
                return Err(bad("an entry that is no file has data"));
            }
        }
        let number = |value: std::io::Result<u64>, why| value.map_err(|_| bad(why));
        let id =
            |value: u64, why| u32::try_from(value).ok().filter(|&v| v != u32::MAX).ok_or_else(|| bad(why));
        let uid = match extensions.uid {
            Some(uid) => uid,
            None => number(header.uid(), "its uid is not a number")?,
        };
        let gid = match extensions.gid {
            Some(gid) => gid,
            None => number(header.gid(), "its gid is not a number")?,
        };
        let mtime = match extensions.mtime {
            Some(mtime) => mtime,
            None => (header.mtime().ok().and_then(|t| i64::try_from(t).ok()).unwrap_or(0), 0),
        };
        let is_device = matches!(kind, EntryType::Char | EntryType::Block);
        let device = match is_device {
            true => {
                let part = |v: std::io::Result<Option<u32>>| {
                    v.ok().flatten().ok_or_else(|| bad("it has no device number"))
                };
                (part(header.device_major())?, part(header.device_minor())?)
            }
            false => (0, 0),
        };
        let mut entry = Entry {
            number: self.number,
            path: OsString::from_vec(path),
            link: OsString::from_vec(link),
            kind,
            mode: header.mode().map_err(|_| bad("its mode is not a number"))? & 0o7777,
            uid: id(uid, "its uid is out of range")?,
            gid: id(gid, "its gid is out of range")?,
            mtime,
            device,
            size: stored,
            pieces: None,
            xattrs: extensions.xattrs,
        };
        self.left = stored;
        self.padding = padding(stored);
        if kind == EntryType::GNUSparse {
            self.sparse(header, &mut entry)?;
        }
        if entry.size > self.budget.bytes {
            return Err(Error::Budget { what: "bytes", limit: self.budget.bytes });
        }
        Ok(entry)
    }

    /// Old GNU sparse files: the map in the header and in the blocks after it (tar's `struct sparse_header`).
    fn sparse(&mut self, header: &Header, entry: &mut Entry) -> Result<()> {
        let bad = |why| Error::Tar { entry: entry.number, path: shown(header), why };
        let gnu = header.as_gnu().ok_or_else(|| bad("a sparse entry without a GNU header"))?;
        let mut pieces = Vec::new();
        let mut add = |sparse: &tar::GnuSparseHeader| {
            if !sparse.is_empty() {
                let offset = sparse.offset().map_err(|_| bad("a sparse offset is not a number"))?;
                let length = sparse.length().map_err(|_| bad("a sparse length is not a number"))?;
                pieces.push((offset, length));
            }
            if pieces.len() > MAX_PIECES {
                return Err(Error::Budget { what: "sparse pieces", limit: MAX_PIECES as u64 });
            }
            Ok(())
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut more = gnu.is_extended();
        while more {
            let mut extended = tar::GnuExtSparseHeader::new();
            if !self.stream.read_exact(extended.as_mut_bytes())? {
                return Err(bad("the sparse map is cut off"));
            }
            extended.sparse().iter().try_for_each(&mut add)?;
            more = extended.is_extended();
        }
        let size = gnu.real_size().map_err(|_| bad("a sparse file's size is not a number"))?;
        let mut end = 0u64;
        let mut sum = 0u64;
        for &(offset, length) in &pieces {
            if offset < end {
                return Err(bad("sparse pieces overlap"));
            }
            end = offset.checked_add(length).ok_or_else(|| bad("a sparse piece ends beyond all numbers"))?;
            sum += length;
        }
        if end > size || sum != entry.size {
            return Err(bad("the sparse map does not match the sizes"));
        }
        (entry.size, entry.pieces) = (size, Some(pieces));
        Ok(())
    }

    /// Reads the current entry's stored data; 0 at its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let n = self.stream.read(&mut buffer[..want])?;
        if n == 0 {
            return Err(Error::Stream(std::io::ErrorKind::UnexpectedEof.into()));
        }
        self.left -= n as u64;
        Ok(n)
    }

    fn skip(&mut self) -> Result<()> {
        let mut rest = std::mem::take(&mut self.left) + std::mem::take(&mut self.padding);
        let mut buffer = [0; 8192];
        while rest > 0 {
            let want = rest.min(buffer.len() as u64) as usize;
            if !self.stream.read_exact(&mut buffer[..want])? {
                return Err(Error::Stream(std::io::ErrorKind::UnexpectedEof.into()));
            }
            rest -= want as u64;
        }
        Ok(())
    }

    fn extension(&mut self, header: &Header, size: u64) -> Result<Vec<u8>> {
        if size > MAX_EXTENSION {
            return Err(Error::Budget { what: "bytes of one extension header", limit: MAX_EXTENSION });
        }
        let mut data = vec![0; size as usize];
        if size > 0 && !self.stream.read_exact(&mut data)? {
            return Err(self.bad(header, "the extension header is cut off"));
        }
        self.padding = padding(size);
        Ok(data)
    }

    fn check_sum(&self, header: &Header, block: &[u8; BLOCK]) -> Result<()> {
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|&b| u32::from(b)).sum::<u32>() + 8 * 32;
        match header.cksum() {
            Ok(stated) if stated == sum => Ok(()),
            _ => Err(self.bad(header, "this is no tar header (its checksum is wrong)")),
        }
    }

    fn bad(&self, header: &Header, why: &'static str) -> Error {
        Error::Tar { entry: self.number, path: shown(header), why }
    }
}

fn shown(header: &Header) -> String {
    String::from_utf8_lossy(&header.path_bytes()).chars().take(120).collect()
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

/// Records of `LENGTH KEY=VALUE\n` (POSIX pax, "pax Extended Header").
fn pax(mut data: &[u8], extensions: &mut Extensions) -> Result<(), &'static str> {
    const SHAPE: &str = "its PAX header is malformed";
    let mut seen: Vec<&[u8]> = Vec::new();
    while !data.is_empty() {
        let space = data.iter().take(8).position(|&b| b == b' ').ok_or(SHAPE)?;
        let length = decimal(&data[..space]).and_then(|n| usize::try_from(n).ok()).ok_or(SHAPE)?;
        if length <= space + 2 || length > data.len() || data[length - 1] != b'\n' {
            return Err(SHAPE);
        }
        let record = &data[space + 1..length - 1];
        data = &data[length..];
        let equals = record.iter().position(|&b| b == b'=').ok_or(SHAPE)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if seen.contains(&key) {
            return Err("a PAX key appears twice");
        }
        seen.push(key);
        if seen.len() > 1000 {
            return Err("more than 1000 PAX records");
        }
        let number = || decimal(value).ok_or("a PAX number is malformed");
        match key {
            b"path" => extensions.path = Some(value.to_vec()),
            b"linkpath" => extensions.link = Some(value.to_vec()),
            b"size" => extensions.size = Some(number()?),
            b"uid" => extensions.uid = Some(number()?),
            b"gid" => extensions.gid = Some(number()?),
            b"mtime" => extensions.mtime = Some(time(value).ok_or("a PAX time is malformed")?),
            _ if key.starts_with(b"GNU.sparse.") => return Err("PAX sparse files are not supported"),
            _ => {
                let name =
                    key.strip_prefix(b"SCHILY.xattr.").or_else(|| key.strip_prefix(b"LIBARCHIVE.xattr."));
                if let Some(name) = name.filter(|_| key.starts_with(b"SCHILY")) {
                    if name.is_empty() || name.contains(&0) || name.len() > 255 {
                        return Err("an extended attribute's name is malformed");
                    }
                    extensions.xattrs.push((OsString::from_vec(name.to_vec()), value.to_vec()));
                }
            }
        }
    }
    Ok(())
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// `[-]SECONDS[.FRACTION]`
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut parts = text.splitn(2, |&b| b == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanos = 0;
    if let Some(fraction) = parts.next().filter(|f| !f.is_empty()) {
        decimal(&fraction[..fraction.len().min(18)])?;
        let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
        nanos = digits.fold(0, |n, d| n * 10 + u32::from(d - b'0'));
    }
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_have_sign_and_fraction() {
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"7."), Some((7, 0)));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_entries_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2048), gz in any::<bool>()) {
            let mut bytes = bytes;
            if gz {
                bytes.splice(0..0, [0x1f, 0x8b, 8, 0]);
            }
            let budget = Budget::default();
            if let Ok(stream) = Stream::new(&bytes[..], &budget) {
                let mut reader = TarReader::new(stream, &budget);
                while let Ok(Some(_)) = reader.next() {}
            }
        }

        #[test]
        fn any_pax_header_is_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = pax(&bytes, &mut Extensions::default());
        }

        #[test]
        fn a_flipped_byte_in_a_header_is_noticed(at in 0usize..512, flip in 1u8..=255) {
            let mut header = Header::new_gnu();
            header.set_path("some/file").unwrap();
            header.set_size(0);
            header.set_mode(0o644);
            header.set_cksum();
            let mut bytes = header.as_bytes().to_vec();
            bytes[at] ^= flip;
            bytes.extend([0; 1024]);
            let budget = Budget::default();
            let mut reader = TarReader::new(Stream::new(&bytes[..], &budget).unwrap(), &budget);
            // The checksum's own unused bytes may differ; anything else is an error.
            prop_assert!((148..156).contains(&at) || reader.next().is_err());
        }
    }
}
