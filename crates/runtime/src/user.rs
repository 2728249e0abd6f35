//! Docker's `USER`: a name or number, resolved from the container's own `/etc/passwd` and `/etc/group`.
//!
//! The files are untrusted: they are opened inside the root only, must be regular, and have a budget (CVE-2024-9676,
//! CVE-2026-47262). What looks like a number is a number, and must be one of 31 bits (CVE-2024-40635).

use std::path::Path;

use linux::RootDir;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// The most bytes of one file; the largest real ones have some hundred kB.
const MAX_FILE: usize = 4 << 20;
/// Linux uses 32 bits, docker 31; what is above is refused rather than wrapped.
const MAX_ID: u32 = i32::MAX as u32;

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, the primary one among them.
    pub groups: Vec<u32>,
    /// Home directory of the entry, if there is one.
    pub home: Option<String>,
}

/// Resolves `name|uid[:group|gid]`; an empty string is root.
///
/// # Errors
/// A sentence: no such user or group, a number out of range, or a file beyond its budget.
pub fn resolve(root: &RootDir, text: &str) -> Result<Resolved, String> {
    let passwd = read(root, Path::new("/etc/passwd"))?;
    let group = read(root, Path::new("/etc/group"))?;
    parse(text, &passwd, &group)
}

/// [`resolve`] on the files' bytes.
///
/// # Errors
/// As [`resolve`].
pub fn parse(text: &str, passwd: &[u8], group: &[u8]) -> Result<Resolved, String> {
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (text, None),
    };
    let number = id(user)?;
    let entry = lines(passwd, 6).find(|fields| match number {
        Some(uid) => fields[2] == uid.to_string().as_bytes(),
        None => fields[0] == if user.is_empty() { b"root" } else { user.as_bytes() },
    });
    let uid = match (&entry, number) {
        (_, Some(uid)) => uid,
        (Some(fields), None) => field_id(fields[2])?,
        (None, None) if user.is_empty() => 0,
        (None, None) => return Err(format!("no user {user:?} in the container's /etc/passwd")),
    };
    let name = entry.as_ref().map(|fields| fields[0].to_vec());
    let home = entry
        .as_ref()
        .map(|fields| String::from_utf8_lossy(fields[5]).into_owned())
        .filter(|h| !h.is_empty());
    let own_gid = match &entry {
        Some(fields) => field_id(fields[3])?,
        None => 0,
    };
    if let Some(wanted) = wanted_group {
        let gid = match id(wanted)? {
            Some(gid) => gid,
            None => {
                let found = lines(group, 4).find(|fields| fields[0] == wanted.as_bytes());
                let fields =
                    found.ok_or_else(|| format!("no group {wanted:?} in the container's /etc/group"))?;
                field_id(fields[2])?
            }
        };
        return Ok(Resolved { uid, gid, groups: vec![gid], home });
    }
    let mut groups = vec![own_gid];
    if let Some(name) = name {
        for fields in lines(group, 4) {
            if fields[3].split(|b| *b == b',').any(|member| member == name) {
                let gid = field_id(fields[2])?;
                if !groups.contains(&gid) {
                    groups.push(gid);
                }
            }
        }
    }
    Ok(Resolved { uid, gid: own_gid, groups, home })
}

/// A number, when the text is made to look like one; `None` for a name.
fn id(text: &str) -> Result<Option<u32>, String> {
    let first = text.bytes().next().unwrap_or(b'a');
    if !first.is_ascii_digit() && first != b'-' && first != b'+' {
        return Ok(None);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{text:?} is neither a number nor a name"));
    }
    text.parse::<u32>()
        .ok()
        .filter(|n| *n <= MAX_ID)
        .map(Some)
        .ok_or_else(|| format!("{text:?} is above the largest id, {MAX_ID}"))
}

fn field_id(text: &[u8]) -> Result<u32, String> {
    let text = String::from_utf8_lossy(text);
    id(&text)?.ok_or_else(|| format!("{text:?} in the container's user files is no number"))
}

/// The lines with at least `fields` colon-separated fields.
fn lines(file: &[u8], fields: usize) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|b| *b == b'\n').filter(|line| !line.starts_with(b"#")).filter_map(move |line| {
        let parts: Vec<&[u8]> = line.trim_ascii().split(|b| *b == b':').collect();
        (parts.len() >= fields).then_some(parts)
    })
}

fn read(root: &RootDir, path: &Path) -> Result<Vec<u8>, String> {
    let said = |errno: Errno| format!("{}: {errno}", path.display());
    let file =
        match root.open_in_root(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()) {
            Ok(file) => file,
            Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(said(error.errno)),
        };
    let stat = rustix::fs::fstat(&file).map_err(said)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(format!("{} is no regular file", path.display()));
    }
    if usize::try_from(stat.st_size).map_or(true, |size| size > MAX_FILE) {
        return Err(format!("{} is larger than {MAX_FILE} bytes", path.display()));
    }
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 8192];
    loop {
        match rustix::io::read(&file, &mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(said(errno)),
        }
        if bytes.len() > MAX_FILE {
            return Err(format!("{} is larger than {MAX_FILE} bytes", path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\napp:x:100:101:App:/home/app:/bin/sh\n# c\nbad:x:4294967296:0::/:\n2000:x:0:0::/:\n";
    const GROUP: &[u8] = b"root:x:0:\napp:x:101:\nwheel:x:10:app,other\nadm:x:4:app\n";

    fn ids(text: &str) -> Result<(u32, u32, Vec<u32>), String> {
        parse(text, PASSWD, GROUP).map(|r| (r.uid, r.gid, r.groups))
    }

    #[test]
    fn names_numbers_and_groups() {
        assert_eq!(ids(""), Ok((0, 0, vec![0])));
        assert_eq!(ids("app"), Ok((100, 101, vec![101, 10, 4])));
        assert_eq!(ids("100"), Ok((100, 101, vec![101, 10, 4])));
        assert_eq!(ids("app:wheel"), Ok((100, 10, vec![10])));
        assert_eq!(ids("1"), Ok((1, 0, vec![0])));
        assert_eq!(ids("1:"), Ok((1, 0, vec![0])));
        assert_eq!(ids("1:2"), Ok((1, 2, vec![2])));
        assert_eq!(
            ids("2000"),
            Ok((2000, 0, vec![0])),
            "a name that is a number is never looked up as a name"
        );
        assert_eq!(parse("app", PASSWD, GROUP).unwrap().home.as_deref(), Some("/home/app"));
    }

    #[test]
    fn what_looks_like_a_number_is_one_or_an_error() {
        for text in [
            "0x1",
            "-1",
            "+1",
            "4294967296",
            "2147483648",
            "99999999999",
            "1 ",
            "1:-1",
            "nobody",
            "app:none",
            "bad",
        ] {
            assert!(ids(text).is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_answered(text in ".{0,12}", passwd: Vec<u8>, group: Vec<u8>) {
            let _ = parse(&text, &passwd, &group);
        }
    }
}
