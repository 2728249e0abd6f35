//! The bytes of a layer: decompressed, counted against a budget, and hashed as they pass.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::{DiffId, Error, Result};

/// What one layer may cost.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Uncompressed bytes of the stream, and bytes that its files may claim.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Bytes of one path.
    pub path: usize,
    /// Components of one path.
    pub depth: usize,
    /// Uncompressed bytes per compressed byte, looked at after the first 256 MiB.
    pub ratio: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: 128 << 30, entries: 10_000_000, path: 4095, depth: 256, ratio: 400 }
    }
}

/// Below this no ratio is looked at: small files of zeros are ordinary.
const RATIO_FROM: u64 = 256 << 20;

struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes += n as u64;
        Ok(n)
    }
}

/// The largest zstd window that is taken, as a power of two: what a decoder may have to remember (128 MiB, the limit of
/// zstd's own tools).
const ZSTD_WINDOW: u32 = 27;

enum Codec<R: Read> {
    Plain(BufReader<Counted<R>>),
    Gzip(Box<MultiGzDecoder<BufReader<Counted<R>>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Counted<R>>>>),
}

/// A layer's or archive's uncompressed stream.
pub(crate) struct Stream<R: Read> {
    codec: Codec<R>,
    /// None where nobody asks for the digest.
    hasher: Option<Sha256>,
    bytes: u64,
    budget: Budget,
}

impl<R: Read> Stream<R> {
    /// Looks at the first bytes to see the compression: gzip (RFC 1952) or zstd (RFC 8878) by their magic, anything
    /// else is taken as tar.
    pub(crate) fn new(inner: R, budget: &Budget) -> Result<Self> {
        Ok(Self { hasher: Some(Sha256::new()), ..Self::unhashed(inner, budget)? })
    }

    /// The same without a digest at its end.
    pub(crate) fn unhashed(inner: R, budget: &Budget) -> Result<Self> {
        let mut reader = BufReader::with_capacity(128 << 10, Counted { inner, bytes: 0 });
        let magic = reader.fill_buf().map_err(Error::Stream)?;
        let tar_error = |why| Error::Tar { entry: 0, path: String::new(), why };
        let codec = match magic {
            [0x1f, 0x8b, ..] => Codec::Gzip(Box::new(MultiGzDecoder::new(reader))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                let mut decoder = zstd::Decoder::with_buffer(reader).map_err(Error::Stream)?;
                decoder.window_log_max(ZSTD_WINDOW).map_err(Error::Stream)?;
                Codec::Zstd(Box::new(decoder))
            }
            [b'B', b'Z', b'h', ..] => {
                return Err(tar_error("bzip2 compression is not supported, use gzip or zstd"));
            }
            [0xfd, b'7', b'z', b'X', ..] => {
                return Err(tar_error("xz compression is not supported, use gzip or zstd"));
            }
            _ => Codec::Plain(reader),
        };
        Ok(Self { codec, hasher: None, bytes: 0, budget: budget.clone() })
    }

    /// Whether what is read is not what is stored.
    pub(crate) fn is_compressed(&self) -> bool {
        !matches!(self.codec, Codec::Plain(_))
    }

    /// Uncompressed bytes read so far.
    pub(crate) fn position(&self) -> u64 {
        self.bytes
    }

    /// Reads up to `buffer.len()` bytes; 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let n = loop {
            let read = match &mut self.codec {
                Codec::Plain(reader) => reader.read(buffer),
                Codec::Gzip(reader) => reader.read(buffer),
                Codec::Zstd(reader) => reader.read(buffer),
            };
            match read {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(Error::Stream)?,
            }
        };
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..n]);
        }
        self.bytes += n as u64;
        if self.bytes > self.budget.bytes {
            return Err(Error::Budget { what: "bytes", limit: self.budget.bytes });
        }
        let compressed = match &self.codec {
            Codec::Plain(_) => return Ok(n),
            Codec::Gzip(reader) => reader.get_ref().get_ref().bytes,
            Codec::Zstd(reader) => reader.get_ref().get_ref().bytes,
        };
        if self.bytes > RATIO_FROM && self.bytes / self.budget.ratio > compressed {
            return Err(Error::Budget { what: "times its compressed size", limit: self.budget.ratio });
        }
        Ok(n)
    }

    /// Fills `buffer` whole, or says that the stream is at its end (false) before the first byte.
    pub(crate) fn read_exact(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(Error::Stream(io::ErrorKind::UnexpectedEof.into())),
                n => filled += n,
            }
        }
        Ok(true)
    }

    /// Reads the rest.
    pub(crate) fn drain(&mut self) -> Result<()> {
        let mut buffer = vec![0; 64 << 10];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Reads the rest, which the diff id covers too, and gives that id.
    pub(crate) fn finish(mut self) -> Result<DiffId> {
        self.drain()?;
        Ok(DiffId::finish(self.hasher.unwrap_or_default()))
    }
}
