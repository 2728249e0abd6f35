//! One line of docker's json-file format:
//! `{"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}`.
//!
//! A line of output longer than [`PIECE`] bytes is several entries, of which only the last ends with `\n`.

use std::borrow::Cow;

use serde::Deserialize;

use crate::Timestamp;

/// Most bytes of output in one entry (docker's copier has a buffer of this size).
pub const PIECE: usize = 16 * 1024;

/// Most bytes of an encoded entry: each byte may become `\u0000`; the rest is the frame.
pub(crate) const MAX_LINE: usize = PIECE * 6 + 256;

/// Which output an entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, and everything from a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its name in a log line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One decoded log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When the monitor read it.
    pub time: Timestamp,
    /// Which output it came from.
    pub stream: Stream,
    /// The output; ends with `\n` unless it is a piece of a longer line. Bytes that were no UTF-8 are U+FFFD.
    pub log: Vec<u8>,
}

/// Appends an entry with its line end to `out`.
pub fn encode(out: &mut Vec<u8>, stream: Stream, text: &[u8], ends: bool, time: Timestamp) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, text);
    if ends {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.as_str().as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    time.write_to(out);
    out.extend_from_slice(b"\"}\n");
}

/// Reads an entry, without its line end; members we do not know (`attrs`) are skipped.
///
/// # Errors
/// What is wrong, for people.
pub fn decode(line: &[u8]) -> Result<Entry, &'static str> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        log: Cow<'a, str>,
        stream: Stream,
        #[serde(borrow)]
        time: Cow<'a, str>,
    }
    if line.len() > MAX_LINE {
        return Err("it is longer than any entry");
    }
    let wire: Wire<'_> = serde_json::from_slice(line).map_err(|_| "it is not an entry in JSON")?;
    let time = Timestamp::parse(&wire.time).ok_or("its time is not RFC 3339")?;
    Ok(Entry { time, stream: wire.stream, log: wire.log.into_owned().into_bytes() })
}

/// Writes bytes as the inside of a JSON string exactly as docker does: also `<`, `>`, `&`, U+2028 and U+2029 are escaped,
/// tabs are `\u0009`, and each byte that is no UTF-8 is `\ufffd`.
fn escape(out: &mut Vec<u8>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match std::str::from_utf8(bytes) {
            Ok(text) => return escape_text(out, text),
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                // Valid up to there, as the error says.
                escape_text(out, std::str::from_utf8(valid).unwrap_or_default());
                let bad = error.error_len().unwrap_or(rest.len());
                for _ in 0..bad {
                    out.extend_from_slice(b"\\ufffd");
                }
                bytes = &rest[bad..];
            }
        }
    }
}

fn escape_text(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let plain = SAFE[usize::from(byte)];
        // U+2028 and U+2029 are e2 80 a8 and e2 80 a9.
        let separator = byte == 0xe2 && bytes[at + 1] == 0x80 && matches!(bytes[at + 2], 0xa8 | 0xa9);
        if plain && !separator {
            at += 1;
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        if separator {
            out.extend_from_slice(b"\\u202");
            out.push(bytes[at + 2] - 0xa8 + b'8');
            at += 3;
        } else {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                _ => {
                    let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                }
            }
            at += 1;
        }
        start = at;
    }
    out.extend_from_slice(&bytes[start..]);
}

/// Which bytes of UTF-8 text stand for themselves.
const SAFE: [bool; 256] = {
    let mut safe = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        safe[byte] = false;
        byte += 1;
    }
    let mut i = 0;
    while i < 5 {
        safe[b"\"\\<>&"[i] as usize] = false;
        i += 1;
    }
    safe
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_docker_writes_it() {
        let mut out = Vec::new();
        let time = Timestamp::new(1_700_000_000, 120_000_000).unwrap();
        encode(&mut out, Stream::Stderr, b"a\tb", true, time);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"log\":\"a\\u0009b\\n\",\"stream\":\"stderr\",\"time\":\"2023-11-14T22:13:20.12Z\"}\n"
        );
        for (bytes, expected) in [
            (&b"plain"[..], "plain"),
            (b"\"\\", "\\\"\\\\"),
            (b"<&>", "\\u003c\\u0026\\u003e"),
            (b"\r\x1b[0m\x7f", "\\r\\u001b[0m\x7f"),
            ("é\u{2028}\u{2029}\u{202a}".as_bytes(), "é\\u2028\\u2029\u{202a}"),
            (b"\xff", "\\ufffd"),
            (b"\xe2\x82a", "\\ufffd\\ufffda"),
            (b"a\xe2\x82", "a\\ufffd\\ufffd"),
            (b"\xc0\x80", "\\ufffd\\ufffd"),
            (b"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"),
        ] {
            assert_eq!(escaped(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn dockers_own_lines_are_read() {
        let entry =
            decode(br#"{"log":"x\n","stream":"stdout","attrs":{"tag":"t"},"time":"2023-11-14T22:13:20Z"}"#);
        assert_eq!(entry.unwrap().log, b"x\n");
        for bad in [&b""[..], b"{", b"[]", br#"{"log":"x","stream":"std","time":"2023-11-14T22:13:20Z"}"#] {
            assert!(decode(bad).is_err());
        }
        assert!(decode(br#"{"log":"x","stream":"stdout","time":"now"}"#).is_err());
        assert!(decode(&vec![b' '; MAX_LINE + 1]).is_err());
    }

    proptest! {
        #[test]
        fn round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..300), seconds in 0i64..4_000_000_000, nanos in 0u32..1_000_000_000, ends: bool) {
            let time = Timestamp::new(seconds, nanos).unwrap();
            let mut out = Vec::new();
            encode(&mut out, Stream::Stdout, &bytes, ends, time);
            prop_assert_eq!(out.pop(), Some(b'\n'));
            prop_assert!(!out.contains(&b'\n'));
            let entry = decode(&out).unwrap();
            // Go replaces each bad byte by one U+FFFD, std a whole bad sequence.
            let mut expected = String::new();
            for chunk in bytes.utf8_chunks() {
                expected.push_str(chunk.valid());
                expected.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
            }
            if ends {
                expected.push('\n');
            }
            prop_assert_eq!(String::from_utf8(entry.log).unwrap(), expected);
            prop_assert_eq!(entry.time, time);
        }

        #[test]
        fn any_line(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
