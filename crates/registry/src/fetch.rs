//! Reading: manifests and blobs.

use std::io::Read;
use std::time::{Duration, Instant};

use ureq::http::Method;

use crate::answer::{Answer, read_small};
use crate::endpoint::Endpoint;
use crate::error::clean;
use crate::{Cancel, Registry, Result, names};

/// What a manifest may have at most (distribution-spec, "Pushing manifests").
const MANIFEST: u64 = 4 << 20;
/// What a blob must bring in twice the time that a registry may be silent.
const SLOWEST: u64 = 16 << 10;

/// The media types that a registry is asked for: manifests and indexes, OCI's and docker's.
pub const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// A manifest as the registry gave it. It is outside text: the media type is what the registry says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `Content-Type` without parameters.
    pub media_type: String,
    /// The bytes; those that were asked for by digest have it.
    pub bytes: Vec<u8>,
    /// `Docker-Content-Digest`, which `bytes` have.
    pub digest: Option<String>,
}

/// What a registry says of a manifest without giving it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// `Content-Type` without parameters.
    pub media_type: String,
    /// `Content-Length`.
    pub size: Option<u64>,
    /// `Docker-Content-Digest`.
    pub digest: Option<String>,
}

/// A blob that is being read. Its bytes are not checked against its digest.
///
/// A read fails when the registry is silent or slow for too long, and when it ends before its size.
pub struct Blob {
    size: Option<u64>,
    from: u64,
    left: Option<u64>,
    reader: Box<dyn Read + Send>,
    pace: Pace,
    cancel: Cancel,
}

/// How fast bytes come, in the time that is spent waiting for them.
struct Pace {
    window: Duration,
    waited: Duration,
    came: u64,
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blob").field("size", &self.size).field("from", &self.from).finish_non_exhaustive()
    }
}

impl Blob {
    /// The size of the whole blob, where the registry says it.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Where the bytes begin: as asked, or 0 from a registry that gives whole blobs only.
    pub fn from(&self) -> u64 {
        self.from
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use std::io::{Error, ErrorKind};
        if self.cancel.is_cancelled() {
            return Err(Error::other("cancelled"));
        }
        if buffer.is_empty() || self.left == Some(0) {
            return Ok(0);
        }
        let begin = Instant::now();
        let most =
            buffer.len().min(self.left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX));
        let read = self.reader.read(&mut buffer[..most]).map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
            match inner {
                Some(ureq::Error::Timeout(_)) => {
                    Error::new(ErrorKind::TimedOut, "the registry is silent for too long")
                }
                _ => error,
            }
        })?;
        self.pace.waited += begin.elapsed();
        self.pace.came += read as u64;
        if self.pace.waited > self.pace.window {
            if self.pace.came < SLOWEST && self.left != Some(read as u64) {
                return Err(Error::new(ErrorKind::TimedOut, "the registry is too slow"));
            }
            (self.pace.waited, self.pace.came) = (Duration::ZERO, 0);
        }
        if let Some(left) = &mut self.left {
            if read == 0 {
                return Err(Error::new(
                    ErrorKind::UnexpectedEof,
                    format!("the blob was cut off {left} bytes before its end"),
                ));
            }
            *left = left.saturating_sub(read as u64);
        }
        Ok(read)
    }
}

impl Registry {
    /// The manifest of a tag or digest, at most 4 MiB.
    pub fn manifest(&self, reference: &str) -> Result<Manifest> {
        names::reference(reference)?;
        let by_digest = reference.contains(':');
        let what = self.manifest_name(reference);
        self.first(
            |host| if by_digest { host.pull } else { host.resolve },
            |endpoint| {
                let read = || -> Result<(String, Option<String>, Vec<u8>)> {
                    let mut answer = self.ask_manifest(endpoint, Method::GET, reference, &what)?;
                    let media_type = media_type(endpoint, &answer, &what)?;
                    let digest = digest(endpoint, &answer, &what)?;
                    Ok((
                        media_type,
                        digest,
                        read_small(endpoint, answer.response.body_mut(), MANIFEST, &what)?,
                    ))
                };
                // One that is cut off is as good as one that did not come.
                let (media_type, digest, bytes) = match read() {
                    Err(error) if error.is_passing() => read()?,
                    other => other?,
                };
                let found = names::digest_of(&bytes);
                if by_digest && found != reference {
                    return Err(endpoint.protocol(&what, format!("the manifest is {found}")));
                }
                if let Some(said) = digest.as_ref().filter(|said| **said != found) {
                    return Err(endpoint
                        .protocol(&what, format!("the manifest is {found}, but was said to be {said}")));
                }
                Ok(Manifest { media_type, bytes, digest })
            },
        )
    }

    /// What the registry says of the manifest of a tag or digest. A call that a rate limit does not count.
    pub fn head_manifest(&self, reference: &str) -> Result<ManifestHead> {
        names::reference(reference)?;
        let what = self.manifest_name(reference);
        self.first(
            |host| host.resolve,
            |endpoint| {
                let answer = self.ask_manifest(endpoint, Method::HEAD, reference, &what)?;
                let size = answer.header("content-length").and_then(number);
                Ok(ManifestHead {
                    media_type: media_type(endpoint, &answer, &what)?,
                    size,
                    digest: digest(endpoint, &answer, &what)?,
                })
            },
        )
    }

    /// A blob, from its byte `from` on where the registry can. Its size may be 0.
    pub fn blob(&self, digest: &str, from: u64) -> Result<Blob> {
        names::digest(digest)?;
        let what = format!("blob {digest} of {}", self.repository);
        self.first(|host| host.pull, |endpoint| self.ask_blob(endpoint, digest, from, &what))
    }

    /// Whether the registry has a blob in this repository.
    pub fn has_blob(&self, digest: &str) -> Result<bool> {
        names::digest(digest)?;
        let what = format!("blob {digest} of {}", self.repository);
        let endpoint = self.pusher().or_else(|_| self.server())?;
        let mut call = self.call(endpoint, Method::HEAD, &format!("blobs/{digest}"), &what)?;
        Ok(self.expect(endpoint, &mut call, &[200, 404])?.response.status() == 200)
    }

    pub(crate) fn manifest_name(&self, reference: &str) -> String {
        format!("manifest {reference} of {}", self.repository)
    }

    fn ask_manifest(
        &self,
        endpoint: &Endpoint,
        method: Method,
        reference: &str,
        what: &str,
    ) -> Result<Answer> {
        let call = self.call(endpoint, method, &format!("manifests/{reference}"), what)?;
        self.expect(endpoint, &mut call.header("accept", MANIFEST_TYPES.join(", ")), &[200])
    }

    fn ask_blob(&self, endpoint: &Endpoint, digest: &str, from: u64, what: &str) -> Result<Blob> {
        let mut call = self
            .call(endpoint, Method::GET, &format!("blobs/{digest}"), what)?
            .header("accept-encoding", "identity");
        let mut wanted = vec![200];
        if from > 0 {
            call = call.header("range", format!("bytes={from}-"));
            wanted.extend([206, 416]);
        }
        let answer = self.expect(endpoint, &mut call, &wanted)?;
        let wrong = |why: &str| endpoint.protocol(what, why);
        if answer
            .header("content-encoding")
            .is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity"))
        {
            return Err(wrong("the blob is encoded"));
        }
        let length = answer.length();
        let range = answer.header("content-range").map(content_range);
        let (size, begin, left) = match answer.response.status().as_u16() {
            200 => (length, 0, length),
            206 => match range {
                Some(Some(Range::Part { first, last, size }))
                    if first == from
                        && size.is_none_or(|size| last + 1 == size)
                        && length.is_none_or(|length| length == last - first + 1) =>
                {
                    (size, from, Some(last - first + 1))
                }
                _ => return Err(wrong("its Content-Range is not what was asked for")),
            },
            _ => match range {
                // All of it was there already.
                Some(Some(Range::Whole { size })) if size == from => (Some(size), from, Some(0)),
                _ => return Err(wrong("the blob is shorter than where it should begin")),
            },
        };
        let pace = Pace { window: 2 * endpoint.options.read_timeout, waited: Duration::ZERO, came: 0 };
        let reader = Box::new(answer.response.into_body().into_reader());
        Ok(Blob { size, from: begin, left, reader, pace, cancel: endpoint.options.cancel.clone() })
    }
}

/// `Content-Type` without parameters.
fn media_type(endpoint: &Endpoint, answer: &Answer, what: &str) -> Result<String> {
    let text =
        answer.header("content-type").and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+/".contains(&b);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(plain) {
        return Err(
            endpoint.protocol(what, format!("Content-Type {:?} is not a media type", clean(text, 100)))
        );
    }
    Ok(text.to_ascii_lowercase())
}

/// `Docker-Content-Digest`, if it is one that is known.
fn digest(endpoint: &Endpoint, answer: &Answer, what: &str) -> Result<Option<String>> {
    let Some(text) = answer.header("docker-content-digest") else { return Ok(None) };
    names::digest(text).map_err(|error| endpoint.protocol(what, error.to_string()))?;
    Ok(Some(text.to_owned()))
}

/// A number of digits alone.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Part { first: u64, last: u64, size: Option<u64> },
    Whole { size: u64 },
}

/// `bytes 1-2/3`, `bytes 1-2/*` or `bytes */3` (RFC 9110, 14.4).
fn content_range(text: &str) -> Option<Range> {
    let rest = text.trim().strip_prefix("bytes ")?;
    let (part, size) = rest.split_once('/')?;
    if part == "*" {
        return Some(Range::Whole { size: number(size)? });
    }
    let size = if size == "*" { None } else { Some(number(size)?) };
    let (first, last) = part.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    // The largest number would have no successor, which is what a size is.
    (first <= last && last < size.unwrap_or(u64::MAX)).then_some(Range::Part { first, last, size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn content_ranges() {
        for (text, expected) in [
            ("bytes 1-2/3", Some(Range::Part { first: 1, last: 2, size: Some(3) })),
            ("bytes 1-2/*", Some(Range::Part { first: 1, last: 2, size: None })),
            ("bytes */3", Some(Range::Whole { size: 3 })),
            ("bytes 2-1/3", None),
            ("bytes 1-3/3", None),
            ("bytes 1-2", None),
            ("bytes +1-2/3", None),
            ("bytes 0-18446744073709551615/*", None),
            ("items 1-2/3", None),
            ("", None),
        ] {
            assert_eq!(content_range(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_range_or_none(text in "(bytes )?[0-9*/ +-]{0,60}|\\PC{0,60}") {
            if let Some(Range::Part { first, last, size }) = content_range(&text) {
                prop_assert!(first <= last && size.is_none_or(|size| last < size));
            }
        }
    }
}
