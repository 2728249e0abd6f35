//! Our own terminal: its size, raw mode, and the keys that detach from a container.

use std::os::fd::{AsFd, BorrowedFd};

use linux::Error;
use rustix::termios::{OptionalActions, Termios};

/// Lines and columns of the terminal behind a descriptor; none when it is no terminal or does not say.
pub(crate) fn size(fd: impl AsFd) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// A terminal in raw mode: every key goes to the container, none makes a signal here. Dropping it restores the terminal.
#[derive(Debug)]
pub(crate) struct Raw<'a> {
    fd: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    /// Makes the terminal behind `fd` raw; none when it is no terminal.
    ///
    /// # Errors
    /// The errno of `tcsetattr`.
    pub(crate) fn enter(fd: BorrowedFd<'a>) -> linux::Result<Option<Self>> {
        let Ok(before) = rustix::termios::tcgetattr(fd) else {
            return Ok(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        Self::set(fd, before, &raw)
    }

    /// Only keeps the terminal behind `fd` from showing what is typed; none when it is no terminal.
    ///
    /// # Errors
    /// The errno of `tcsetattr`.
    pub(crate) fn hide(fd: BorrowedFd<'a>) -> linux::Result<Option<Self>> {
        let Ok(before) = rustix::termios::tcgetattr(fd) else {
            return Ok(None);
        };
        let mut silent = before.clone();
        silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
        Self::set(fd, before, &silent)
    }

    fn set(fd: BorrowedFd<'a>, before: Termios, wanted: &Termios) -> linux::Result<Option<Self>> {
        // At once: what was typed before is not lost, and output that nobody reads does not stop us.
        rustix::termios::tcsetattr(fd, OptionalActions::Now, wanted)
            .map_err(|errno| Error::new("tcsetattr", errno))?;
        Ok(Some(Self { fd, before }))
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing.
        let _ = rustix::termios::tcsetattr(self.fd, OptionalActions::Now, &self.before);
    }
}

/// Finds the keys that detach in what is typed. Keys that may be their beginning are held back until they cannot be it
/// any more, so that the container sees all of what was typed or nothing of the sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were just typed.
    matched: usize,
}

impl Default for DetachKeys {
    /// docker's: ctrl-p, ctrl-q.
    fn default() -> Self {
        Self { keys: vec![16, 17], matched: 0 }
    }
}

impl DetachKeys {
    /// `--detach-keys`: single characters, `ctrl-` with one of `a`-`z @ [ \ ] ^ _`, or `DEL`, with commas between. The
    /// empty text stands for the default.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let key = |key: &str| match key.as_bytes() {
            [byte] => Ok(*byte),
            b"DEL" => Ok(127),
            [b'c', b't', b'r', b'l', b'-', letter @ b'a'..=b'z'] => Ok(letter - b'a' + 1),
            [b'c', b't', b'r', b'l', b'-', sign @ (b'@' | b'['..=b'_')] => Ok(sign - b'@'),
            _ => Err(format!("unknown character: '{key}'")),
        };
        Ok(Self { keys: text.split(',').map(key).collect::<Result<_, _>>()?, matched: 0 })
    }

    /// Takes what was typed, and appends to `passed` what goes to the container; `true` when the keys were typed. What
    /// was typed behind them is dropped.
    pub(crate) fn feed(&mut self, typed: &[u8], passed: &mut Vec<u8>) -> bool {
        for byte in typed {
            while self.matched > 0 && self.keys[self.matched] != *byte {
                // The longest beginning of the keys that the held ones end with, other than all of them, is held on.
                let held = &self.keys[..self.matched];
                let shorter = (0..held.len()).rev().find(|&n| held.ends_with(&self.keys[..n])).unwrap_or(0);
                passed.extend_from_slice(&held[..held.len() - shorter]);
                self.matched = shorter;
            }
            if self.keys[self.matched] == *byte {
                self.matched += 1;
            } else {
                passed.push(*byte);
            }
            if self.matched == self.keys.len() {
                self.matched = 0;
                return true;
            }
        }
        false
    }

    /// No more will be typed: what is held back goes to the container.
    pub(crate) fn finish(&mut self, passed: &mut Vec<u8>) {
        passed.extend_from_slice(&self.keys[..self.matched]);
        self.matched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::pty::OpenptFlags;

    #[test]
    fn sequences() {
        for (text, keys) in [
            ("", &[16, 17][..]),
            ("a", b"a"),
            ("a,b", b"ab"),
            ("ctrl-a", &[1]),
            ("ctrl-z,ctrl-@,ctrl-[", &[26, 0, 27]),
            ("ctrl-\\,ctrl-],ctrl-^,ctrl-_", &[28, 29, 30, 31]),
            ("DEL,~", &[127, b'~']),
        ] {
            assert_eq!(DetachKeys::parse(text).unwrap().keys, keys, "{text}");
        }
        for bad in [",", "a,", "ab", "ctrl-", "ctrl-A", "ctrl-1", "ctrl-`", "CTRL-a", "é", "a b", "del"] {
            assert!(DetachKeys::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_held_until_they_cannot_match() {
        // Per row: the keys, what is typed in pieces, and what has been passed after each piece; `None` once detached.
        type Row<'a> = (&'a str, &'a [&'a str], &'a [Option<&'a str>]);
        let rows: [Row<'_>; 7] = [
            ("x,y", &["a", "x", "y"], &[Some("a"), Some("a"), None]),
            ("x,y", &["x", "a"], &[Some(""), Some("xa")]),
            ("x,y", &["xx", "y"], &[Some("x"), None]),
            ("a,a,b", &["aaa", "b"], &[Some("a"), None]),
            ("a,b,a,c", &["abab", "ac"], &[Some("ab"), None]),
            ("x", &["abxc"], &[None]),
            ("x,y", &["hello xz", ""], &[Some("hello xz"), Some("hello xz")]),
        ];
        for (keys, pieces, wanted) in rows {
            let mut detach = DetachKeys::parse(keys).unwrap();
            let mut passed = Vec::new();
            for (piece, wanted) in pieces.iter().zip(wanted) {
                let detached = detach.feed(piece.as_bytes(), &mut passed);
                assert_eq!(detached, wanted.is_none(), "{keys}: {pieces:?}");
                if let Some(wanted) = wanted {
                    assert_eq!(passed, wanted.as_bytes(), "{keys}: {pieces:?}");
                }
            }
        }
        let mut passed = Vec::new();
        let mut detach = DetachKeys::parse("x,y").unwrap();
        assert!(detach.feed(b"abxy and more", &mut passed));
        assert_eq!(passed, b"ab");
        assert!(!detach.feed(b"x", &mut passed));
        detach.finish(&mut passed);
        assert_eq!(passed, b"abx");
    }

    #[test]
    fn a_terminal_is_raw_and_then_as_before() {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let modes = || rustix::termios::tcgetattr(&slave).unwrap().local_modes;
        let before = modes();
        let raw = Raw::enter(slave.as_fd()).unwrap().unwrap();
        assert!(!modes().contains(rustix::termios::LocalModes::ICANON));
        drop(raw);
        assert_eq!(modes(), before);
        assert_eq!(size(&slave), None);
        let wanted = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, wanted).unwrap();
        assert_eq!(size(&slave), Some((24, 80)));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Raw::enter(file.as_fd()).unwrap().is_none() && size(&file).is_none());
    }

    proptest! {
        #[test]
        fn nothing_typed_is_lost(keys in "[ab](,[ab]){0,4}", pieces in prop::collection::vec("[abc]{0,6}", 0..6)) {
            let mut detach = DetachKeys::parse(&keys).unwrap();
            let sequence = keys.replace(',', "");
            let typed = pieces.concat();
            let mut passed = Vec::new();
            let detached = pieces.iter().any(|piece| detach.feed(piece.as_bytes(), &mut passed));
            prop_assert_eq!(detached, typed.contains(&sequence));
            if !detached {
                detach.finish(&mut passed);
            }
            let end = typed.find(&sequence).unwrap_or(typed.len());
            prop_assert_eq!(passed, &typed.as_bytes()[..end]);
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = DetachKeys::parse(&text);
        }
    }
}
