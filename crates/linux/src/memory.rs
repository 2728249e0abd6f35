//! Giving back memory that a waiting process does not need.

use rustix::mm::{Advice, madvise};

/// Returns freed heap memory to the kernel, and forgets the mapped pages of the program's text and constants, which come
/// back from the page cache when they are used again. For a process that is about to wait for long: it costs some tens of microseconds,
/// and some faults at the next use.
pub fn rest() {
    // SAFETY: malloc_trim only gives free memory back.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        return;
    };
    let ranges: Vec<_> = maps.lines().filter_map(clean_range).collect();
    drop(maps);
    for (start, end) in ranges {
        // SAFETY: the text and the first read-only segment of a file have no page of their own to lose (they are never
        // written, relocations included): what is dropped is mapped again from the same file. The call is an
        // instruction here, not a function elsewhere, which would bring its part of the text back at once.
        let _ = unsafe { madvise(start as *mut core::ffi::c_void, end - start, Advice::LinuxDontNeed) };
    }
}

/// The addresses of a mapping of a file that is only ever read: `55d0-55f0 r-xp 00001000 fd:00 1234  /path`.
fn clean_range(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, mode, offset) = (fields.next()?, fields.next()?, fields.next()?);
    // The relocated constants (RELRO) are read-only by now too, but lie in the writable segment, behind the others.
    let constants = mode == "r--p" && offset.bytes().all(|byte| byte == b'0');
    // Neither the vdso nor anonymous code.
    if !(constants || mode == "r-xp") || !fields.nth(2)?.starts_with('/') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_never_written() {
        assert_eq!(clean_range("1000-3000 r--p 00000000 00:00 1234 /usr/bin/x"), Some((0x1000, 0x3000)));
        assert_eq!(clean_range("1000-3000 r-xp 00001000 fd:00 1234    /usr/bin/x"), Some((0x1000, 0x3000)));
        for line in [
            "1000-3000 r--p 00001000 fd:00 1234 /usr/bin/x",
            "1000-3000 rw-p 00001000 fd:00 1234 /usr/bin/x",
            "7ffd-7fff r-xp 00000000 00:00 0 [vdso]",
            "1000-3000 r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(clean_range(line), None, "{line}");
        }
    }

    #[test]
    fn the_process_goes_on() {
        let before: Vec<u64> = (0..1000).collect();
        rest();
        assert_eq!(before.iter().sum::<u64>(), 499_500);
    }
}
