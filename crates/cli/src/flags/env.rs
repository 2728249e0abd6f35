//! Environment, labels and their files, and names of other hosts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::{FlagError, Parsed, read_file};

/// Most bytes of a file of variables or labels.
const FILE_BUDGET: u64 = 1 << 20;

/// Looks a variable up in the caller's environment.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables of `--env-file` and, over them, those of `--env`; each name once, its last value counts.
pub(super) fn environment(
    files: &[String],
    entries: &[String],
    env: Lookup<'_>,
) -> Result<Vec<String>, FlagError> {
    let mut all: Vec<String> = Vec::new();
    for file in files {
        all.extend(pairs(&read_text("env-file", file)?, env).map_err(FlagError::of("env-file", file))?);
    }
    for entry in entries {
        all.extend(variable(entry, env).map_err(FlagError::of("env", entry))?);
    }
    let mut list: Vec<String> = Vec::with_capacity(all.len());
    let mut places = std::collections::HashMap::new();
    for entry in all {
        let name = entry.split('=').next().unwrap_or_default().to_owned();
        match places.get(&name) {
            Some(&place) => list[place] = entry,
            None => {
                places.insert(name, list.len());
                list.push(entry);
            }
        }
    }
    Ok(list)
}

/// The labels of `--label-file` and, over them, those of `--label`.
pub(super) fn labels(files: &[String], entries: &[String]) -> Result<BTreeMap<String, String>, FlagError> {
    let mut labels = BTreeMap::new();
    let mut take = |entry: &str| {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        labels.insert(key.trim_start_matches([' ', '\t']).to_owned(), value.to_owned());
    };
    for file in files {
        let lines = pairs(&read_text("label-file", file)?, &|_| None);
        lines.map_err(FlagError::of("label-file", file))?.iter().for_each(|line| take(line));
    }
    for entry in entries {
        label(entry).map_err(FlagError::of("label", entry))?;
        take(entry);
    }
    Ok(labels)
}

/// `--add-host NAME:ADDRESS` or `NAME=ADDRESS`, an IPv6 address with or without brackets.
pub(super) fn extra_host(text: &str) -> Parsed<(String, String)> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    // The name becomes a word of /etc/hosts.
    let bad = |c: char| c == ':' || c == '#' || c.is_whitespace() || c.is_control();
    let (name, address) = split
        .filter(|(name, _)| !name.is_empty() && !name.contains(bad))
        .ok_or_else(|| format!("bad format for add-host: {text:?}"))?;
    if address == "host-gateway" {
        return Err("host-gateway needs a network, and networks are not built yet".into());
    }
    let plain = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    plain.parse::<IpAddr>().map_err(|_| format!("invalid IP address in add-host: {address:?}"))?;
    Ok((name.to_owned(), plain.to_owned()))
}

/// One `--env`: `NAME=VALUE`, or `NAME` for the caller's own value; nothing when the caller has none.
fn variable(entry: &str, env: Lookup<'_>) -> Parsed<Option<String>> {
    match entry.split_once('=') {
        Some(("", _)) => Err(format!("invalid environment variable: {entry}")),
        None if entry.is_empty() => Err("invalid environment variable: it is empty".into()),
        Some(_) => Ok(Some(entry.to_owned())),
        None => Ok(env(entry).map(|value| format!("{entry}={value}"))),
    }
}

fn label(entry: &str) -> Parsed<()> {
    let key = entry.split('=').next().unwrap_or_default().trim_start_matches([' ', '\t']);
    if key.is_empty() {
        return Err(format!("invalid label '{entry}': empty name"));
    }
    if key.contains([' ', '\t']) {
        return Err(format!("label '{key}' contains whitespaces"));
    }
    Ok(())
}

fn read_text(flag: &'static str, path: &str) -> Result<Vec<u8>, FlagError> {
    read_file(Path::new(path), FILE_BUDGET).map_err(|source| FlagError::File {
        flag,
        path: path.into(),
        source,
    })
}

/// The entries of a file: one a line; lines of nothing and lines that begin with `#` do not count, white space before a
/// name neither. Quotes mean nothing. A name without `=` gets its value from `env`, or does not count.
fn pairs(bytes: &[u8], env: Lookup<'_>) -> Parsed<Vec<String>> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut list = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| format!("invalid utf8 bytes at line {number}"))?;
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
        if name.is_empty() {
            return Err(format!("line {number}: no variable name on line '{line}'"));
        }
        if name.contains([' ', '\t']) {
            return Err(format!("line {number}: variable '{name}' contains whitespaces"));
        }
        if line.contains('\0') {
            return Err(format!("line {number}: a NUL character"));
        }
        match value {
            Some(_) => list.push(line.to_owned()),
            None => list.extend(env(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn caller(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home/me".to_owned())
    }

    fn file(content: &[u8]) -> (tempfile::NamedTempFile, Vec<String>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let list = vec![file.path().to_str().unwrap().to_owned()];
        (file, list)
    }

    #[test]
    fn variables() {
        for (entry, value) in [
            ("A=b", Some("A=b")),
            ("A=", Some("A=")),
            ("A=b=c", Some("A=b=c")),
            ("with space=x", Some("with space=x")),
            ("HOME", Some("HOME=/home/me")),
            ("UNSET", None),
        ] {
            assert_eq!(variable(entry, &caller).unwrap().as_deref(), value, "{entry}");
        }
        assert!(variable("=x", &caller).is_err());
        assert!(variable("", &caller).is_err());
    }

    #[test]
    fn the_last_value_of_a_name_counts() {
        let (_file, files) = file(b"A=file\nB=file\n");
        let entries = ["A=flag".to_owned(), "C=1".to_owned(), "C=2".to_owned()];
        assert_eq!(environment(&files, &entries, &caller).unwrap(), ["A=flag", "B=file", "C=2"]);
        let missing = environment(&["/no/such/file".to_owned()], &[], &caller).unwrap_err();
        assert!(missing.to_string().contains("/no/such/file"));
    }

    #[test]
    fn files_as_docker_reads_them() {
        let good = "\u{feff}# comment\n\n  A=1\n\t# another\nB= x \nC='q'\r\nHOME\nUNSET\nD=\nE=#no";
        assert_eq!(
            pairs(good.as_bytes(), &caller).unwrap(),
            ["A=1", "B= x ", "C='q'", "HOME=/home/me", "D=", "E=#no"]
        );
        for (bad, why) in [
            (&b"A=1\nB B=2"[..], "line 2: variable 'B B' contains whitespaces"),
            (b"A =1", "line 1: variable 'A ' contains whitespaces"),
            (b"\n\n=x", "line 3: no variable name on line '=x'"),
            (b"A=1\n\xff=x", "invalid utf8 bytes at line 2"),
            (b"A=\0", "line 1"),
        ] {
            let error = pairs(bad, &caller).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let (_file, files) = file(&vec![b'a'; (1 << 20) + 1]);
        assert!(environment(&files, &[], &caller).is_err());
    }

    #[test]
    fn labels_and_their_files() {
        let (_file, files) = file(b"a=1\nb=2\nonly\n");
        let entries = ["b=3".to_owned(), "c".to_owned(), "d=x=y".to_owned()];
        let all = labels(&files, &entries).unwrap();
        let all: Vec<_> = all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(all, [("a", "1"), ("b", "3"), ("c", ""), ("d", "x=y")]);
        for bad in ["", "=x", "a b=c", " =x"] {
            assert!(labels(&[], &[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts() {
        for (text, name, address) in [
            ("db:10.0.0.1", "db", "10.0.0.1"),
            ("db=10.0.0.1", "db", "10.0.0.1"),
            ("db:::1", "db", "::1"),
            ("db=[2001:db8::1]", "db", "2001:db8::1"),
            ("db:[::1]", "db", "::1"),
        ] {
            assert_eq!(extra_host(text), Ok((name.into(), address.into())), "{text}");
        }
        for bad in [
            "",
            "db",
            "db:",
            ":1.2.3.4",
            "a:b=1.2.3.4",
            "a b:1.2.3.4",
            "a\nb:1.2.3.4",
            "db:1.2.3",
            "db:host-gateway",
        ] {
            assert!(extra_host(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            let _ = (variable(&text, &caller), label(&text), extra_host(&text));
            for entry in pairs(&bytes, &caller).unwrap_or_default() {
                prop_assert!(entry.find('=').is_some_and(|at| at > 0) && !entry.contains(['\n', '\0']));
            }
        }
    }
}
