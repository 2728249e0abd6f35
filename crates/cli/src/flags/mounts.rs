//! `--volume`, `--mount` and `--tmpfs`.

use std::path::PathBuf;

use engine::Name;
use engine::spec::{MountSource, MountSpec, Propagation};

use super::csv;
use super::{FlagError, Parsed, boolean, size};

/// Every mount of the command line, in docker's order; no two in one place.
pub(super) fn mounts(
    volumes: &[String],
    mounts: &[String],
    tmpfs: &[String],
) -> Result<Vec<MountSpec>, FlagError> {
    type Read = fn(&str) -> Parsed<MountSpec>;
    let kinds: [(&'static str, &[String], Read); 3] =
        [("volume", volumes, volume), ("mount", mounts, mount), ("tmpfs", tmpfs, tmpfs_mount)];
    let mut list: Vec<MountSpec> = Vec::new();
    for (flag, texts, read) in kinds {
        for text in texts {
            let mount = read(text).map_err(FlagError::of(flag, text))?;
            if list.iter().any(|other| other.target == mount.target) {
                return Err(FlagError::Conflict(format!("duplicate mount point: {}", mount.target)));
            }
            list.push(mount);
        }
    }
    Ok(list)
}

/// `[SOURCE:]TARGET[:OPTION,...]`: a source with a slash or dot first is a path of the host, any other a volume's name.
fn volume(text: &str) -> Parsed<MountSpec> {
    let parts: Vec<&str> = text.split(':').collect();
    let wrong = |why: &str| Err(format!("invalid spec: {text}: {why}"));
    if parts.contains(&"") {
        return wrong("empty section between colons");
    }
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return wrong("too many colons"),
    };
    let bind = source.is_some_and(|source| source.starts_with(['/', '.', '~']));
    let options = volume_options(options, bind)?;
    let source = match source {
        Some(path) if bind => MountSource::Bind {
            source: host_path(path)?,
            create: true,
            non_recursive: false,
            propagation: options.propagation,
        },
        name => MountSource::Volume { name: name.map(volume_name).transpose()?, no_copy: options.no_copy },
    };
    Ok(MountSpec { target: container_path(target)?, source, read_only: options.read_only })
}

#[derive(Default)]
struct VolumeOptions {
    read_only: bool,
    no_copy: bool,
    propagation: Option<Propagation>,
}

/// The third field of `-v`. What SELinux (`z`, `Z`) and Docker Desktop (`consistent` and the like) need is accepted and
/// means nothing here.
fn volume_options(text: &str, bind: bool) -> Parsed<VolumeOptions> {
    let invalid = || format!("invalid mode: {text}");
    let mut options = VolumeOptions::default();
    let (mut access, mut label, mut consistency) = (false, false, false);
    for word in text.split(',').filter(|_| !text.is_empty()) {
        let again = match word {
            "ro" | "rw" => {
                options.read_only = word == "ro";
                std::mem::replace(&mut access, true)
            }
            "z" | "Z" => std::mem::replace(&mut label, true),
            "consistent" | "cached" | "delegated" | "default" => std::mem::replace(&mut consistency, true),
            "nocopy" if !bind => std::mem::replace(&mut options.no_copy, true),
            _ if bind => options.propagation.replace(propagation(word).ok_or_else(invalid)?).is_some(),
            _ => return Err(invalid()),
        };
        if again {
            return Err(invalid());
        }
    }
    Ok(options)
}

fn propagation(word: &str) -> Option<Propagation> {
    Some(match word {
        "private" => Propagation::Private,
        "rprivate" => Propagation::RPrivate,
        "shared" => Propagation::Shared,
        "rshared" => Propagation::RShared,
        "slave" => Propagation::Slave,
        "rslave" => Propagation::RSlave,
        _ => return None,
    })
}

/// `--mount`'s keys as they were given.
#[derive(Default)]
struct Keys {
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    create: bool,
    non_recursive: bool,
    propagation: Option<Propagation>,
    no_copy: bool,
    size: Option<u64>,
    mode: Option<u32>,
    /// The first key of each family: `bind`, `volume`, `tmpfs`.
    families: Vec<&'static str>,
}

/// `type=bind|volume|tmpfs,KEY=VALUE,...`.
fn mount(text: &str) -> Parsed<MountSpec> {
    let text = text.trim();
    if text.is_empty() {
        return Err("value is empty".into());
    }
    let mut kind = "volume".to_owned();
    let mut keys = Keys::default();
    for field in csv::fields(text)? {
        let (key, value) = field.split_once('=').map_or((&*field, None), |(key, value)| (key, Some(value)));
        if key.trim() != key {
            return Err(format!(
                "invalid option '{}' in '{field}': option should not have whitespace",
                key.trim()
            ));
        }
        match value {
            Some(value) if value.trim().is_empty() => {
                return Err(format!("invalid value for '{key}': value is empty"));
            }
            Some(value) if value.trim() != value => {
                return Err(format!(
                    "invalid value for '{key}' in '{field}': value should not have whitespace"
                ));
            }
            _ => {}
        }
        let key = key.to_ascii_lowercase();
        if key == "type" {
            kind = value.ok_or_else(|| pair(&field))?.to_ascii_lowercase();
        } else {
            keys.take(&key, value, &field)?;
        }
    }
    keys.finish(&kind)
}

fn pair(field: &str) -> String {
    format!("invalid field '{field}' must be a key=value pair")
}

impl Keys {
    fn take(&mut self, key: &str, value: Option<&str>, field: &str) -> Parsed<()> {
        let switch =
            || value.map_or(Ok(true), boolean).map_err(|why| format!("invalid value for '{key}': {why}"));
        let text = || value.ok_or_else(|| pair(field));
        let invalid = |value: &str| format!("invalid value for {key}: {value}");
        match key {
            "source" | "src" => self.source = Some(text()?.to_owned()),
            "target" | "dst" | "destination" => self.target = Some(text()?.to_owned()),
            "readonly" | "ro" => self.read_only = switch()?,
            "consistency" => drop(text()?),
            "bind-propagation" => {
                let word = text()?.to_ascii_lowercase();
                self.propagation = Some(propagation(&word).ok_or_else(|| invalid(&word))?);
            }
            "bind-nonrecursive" => self.non_recursive = switch()?,
            "bind-recursive" => match text()? {
                "enabled" => self.non_recursive = false,
                "disabled" => self.non_recursive = true,
                word @ ("writable" | "readonly") => {
                    return Err(format!("{key}={word} is not supported; use enabled or disabled"));
                }
                word => return Err(invalid(word)),
            },
            "bind-create-src" => self.create = switch()?,
            "volume-nocopy" => self.no_copy = switch()?,
            "volume-driver" if text()? == "local" => {}
            "tmpfs-size" => self.size = Some(size::parse(text()?).map_err(|_| invalid(value.unwrap_or("")))?),
            "tmpfs-mode" => self.mode = Some(octal(text()?).ok_or_else(|| invalid(value.unwrap_or("")))?),
            "volume-driver" | "volume-opt" | "volume-label" | "volume-subpath" | "image-subpath" => {
                return Err(format!("option '{key}' is not supported"));
            }
            _ if value.is_none() => return Err(pair(field)),
            _ => return Err(format!("unknown option '{key}' in '{field}'")),
        }
        self.families.extend(
            ["bind", "volume", "tmpfs"]
                .iter()
                .filter(|family| key.strip_prefix(*family).is_some_and(|rest| rest.starts_with('-'))),
        );
        Ok(())
    }

    fn finish(self, kind: &str) -> Parsed<MountSpec> {
        if !matches!(kind, "bind" | "volume" | "tmpfs") {
            return Err(format!("mount type '{kind}' is not supported; use bind, volume or tmpfs"));
        }
        if let Some(family) = self.families.iter().find(|family| **family != kind) {
            return Err(format!("cannot mix '{family}-*' options with mount type '{kind}'"));
        }
        let wrong = |why: &str| format!("invalid mount config for type {kind:?}: {why}");
        let target = self.target.ok_or_else(|| wrong("field Target must not be empty"))?;
        let source = match (kind, self.source) {
            ("bind", None) => return Err(wrong("field Source must not be empty")),
            ("bind", Some(path)) => MountSource::Bind {
                source: host_path(&path)?,
                create: self.create,
                non_recursive: self.non_recursive,
                propagation: self.propagation,
            },
            ("volume", name) => MountSource::Volume {
                name: name.as_deref().map(volume_name).transpose()?,
                no_copy: self.no_copy,
            },
            (_, Some(_)) => return Err(wrong("field Source must not be specified")),
            (_, None) => MountSource::Tmpfs { size: self.size, mode: self.mode, options: Vec::new() },
        };
        Ok(MountSpec { target: container_path(&target)?, source, read_only: self.read_only })
    }
}

/// Options of `--tmpfs` that are words; those with a value are below.
const TMPFS_WORDS: [&str; 22] = [
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    // Not `mand`: kernels since 5.15 take it and do nothing.
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "huge=never",
    "huge=always",
    "huge=within_size",
    "huge=advise",
];

/// `PATH[:OPTION,...]`.
fn tmpfs_mount(text: &str) -> Parsed<MountSpec> {
    let (target, list) = text.split_once(':').unwrap_or((text, ""));
    let target = container_path(target)?;
    let (mut bytes, mut permissions, mut read_only, mut options) = (None, None, false, Vec::new());
    for option in list.split(',').filter(|option| !option.is_empty()) {
        let invalid = || format!("invalid tmpfs option {option:?}");
        match option.split_once('=') {
            None if matches!(option, "ro" | "rw") => read_only = option == "ro",
            // The kernel's own form: a percentage of the memory.
            Some(("size", share)) if share.ends_with('%') => {
                let digits = &share[..share.len() - 1];
                let fine =
                    digits.bytes().all(|byte| byte.is_ascii_digit()) && (1..=3).contains(&digits.len());
                options.push(fine.then(|| option.to_owned()).ok_or_else(invalid)?);
            }
            Some(("size", text)) => bytes = Some(size::parse(text).map_err(|_| invalid())?),
            Some(("mode", text)) => permissions = Some(octal(text).ok_or_else(invalid)?),
            Some(("uid" | "gid", number)) if number.parse::<u32>().is_ok() => options.push(option.to_owned()),
            Some(("nr_inodes" | "nr_blocks", number)) if size::parse(number).is_ok() => {
                options.push(option.to_owned());
            }
            _ if TMPFS_WORDS.contains(&option) => options.push(option.to_owned()),
            _ => return Err(invalid()),
        }
    }
    let source = MountSource::Tmpfs { size: bytes, mode: permissions, options };
    Ok(MountSpec { target, source, read_only })
}

fn octal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o7777)
}

fn volume_name(text: &str) -> Parsed<Name> {
    // A name that begins with a slash would be read as one without.
    text.parse().ok().filter(|_| !text.starts_with('/')).ok_or_else(|| {
        format!(
            "{text:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        )
    })
}

/// An absolute path of the host; one that begins with a dot is counted from the working directory, as a shell would.
fn host_path(text: &str) -> Parsed<PathBuf> {
    if text.starts_with('/') {
        return Ok(clean(text).into());
    }
    if !text.starts_with('.') {
        return Err(format!("invalid mount path: '{text}' mount path must be absolute"));
    }
    let here =
        std::env::current_dir().map_err(|error| format!("the working directory is unknown: {error}"))?;
    let here = here.to_str().ok_or("the working directory's name is not UTF-8")?;
    Ok(clean(&format!("{here}/{text}")).into())
}

/// An absolute path in the container, other than its root.
fn container_path(text: &str) -> Parsed<String> {
    if !text.starts_with('/') {
        return Err(format!("invalid mount path: '{text}' mount path must be absolute"));
    }
    match clean(text) {
        path if path == "/" => Err("invalid specification: destination can't be '/'".into()),
        path => Ok(path),
    }
}

/// An absolute path without empty parts, `.` and `..`: by its text alone, as docker does, whatever symlinks there are.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bind(source: &str, target: &str) -> MountSpec {
        let source = MountSource::Bind {
            source: source.into(),
            create: true,
            non_recursive: false,
            propagation: None,
        };
        MountSpec { target: target.into(), source, read_only: false }
    }

    fn named(name: Option<&str>, target: &str) -> MountSpec {
        let name = name.map(|name| name.parse().unwrap());
        MountSpec {
            target: target.into(),
            source: MountSource::Volume { name, no_copy: false },
            read_only: false,
        }
    }

    fn read_only(mount: MountSpec) -> MountSpec {
        MountSpec { read_only: true, ..mount }
    }

    #[test]
    fn volumes() {
        let here = std::env::current_dir().unwrap();
        let below = |path: &str| here.join(path).to_str().unwrap().to_owned();
        let parent = here.parent().unwrap().join("x").to_str().unwrap().to_owned();
        for (text, wanted) in [
            ("/data", named(None, "/data")),
            ("vol:/data", named(Some("vol"), "/data")),
            ("vol:/data:ro", read_only(named(Some("vol"), "/data"))),
            ("/src:/dst", bind("/src", "/dst")),
            ("/src//a/../b/:/dst/", bind("/src/b", "/dst")),
            ("/src:/dst:rw,Z", bind("/src", "/dst")),
            ("/src:/dst:ro,z,cached", read_only(bind("/src", "/dst"))),
            ("/src:/dst:consistent", bind("/src", "/dst")),
            ("/src:/dst:delegated", bind("/src", "/dst")),
            ("./x:/dst", bind(&below("x"), "/dst")),
            (".:/dst", bind(here.to_str().unwrap(), "/dst")),
            ("../x:/dst", bind(&parent, "/dst")),
        ] {
            assert_eq!(volume(text), Ok(wanted), "{text}");
        }
        assert!(matches!(volume("v1:/d:nocopy").unwrap().source, MountSource::Volume { no_copy: true, .. }));
        assert!(matches!(
            volume("/s:/d:rslave").unwrap().source,
            MountSource::Bind { propagation: Some(Propagation::RSlave), .. }
        ));
        for (bad, why) in [
            ("", "empty section"),
            (":/dst", "empty section"),
            ("/src:", "empty section"),
            ("/src:/dst:", "empty section"),
            ("/a:/b:ro:x", "too many colons"),
            ("dst", "must be absolute"),
            ("/src:dst", "must be absolute"),
            ("~/src:/dst", "must be absolute"),
            ("/", "can't be '/'"),
            ("/src:/x/..", "can't be '/'"),
            ("a/b:/dst", "use absolute path"),
            ("v:/dst", "use absolute path"),
            ("/s:/d:ro,rw", "invalid mode: ro,rw"),
            ("/s:/d:Z,z", "invalid mode"),
            ("/s:/d:nocopy", "invalid mode"),
            ("/s:/d:shared,slave", "invalid mode"),
            ("/s:/d:ro,", "invalid mode"),
            ("/s:/d:readonly", "invalid mode"),
            ("vol:/d:shared", "invalid mode"),
        ] {
            let error = volume(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn mounts_of_every_kind() {
        let exact = |mut mount: MountSpec, change: fn(&mut MountSource)| {
            change(&mut mount.source);
            mount
        };
        let plain: fn(&mut MountSource) = |source| {
            if let MountSource::Bind { create, .. } = source {
                *create = false;
            }
        };
        for (text, wanted) in [
            ("type=bind,src=/s,dst=/d", exact(bind("/s", "/d"), plain)),
            ("type=BIND,Source=/s,Destination=/d", exact(bind("/s", "/d"), plain)),
            ("type=bind,source=/s,target=/d,readonly", read_only(exact(bind("/s", "/d"), plain))),
            ("type=bind,source=/s,target=/d,ro=1", read_only(exact(bind("/s", "/d"), plain))),
            ("type=bind,source=/s,target=/d,ro=false,consistency=cached", exact(bind("/s", "/d"), plain)),
            ("type=bind,src=/s,dst=/d,bind-create-src", bind("/s", "/d")),
            ("type=bind,\"src=/s,1\",dst=/d", exact(bind("/s,1", "/d"), plain)),
            ("dst=/d", named(None, "/d")),
            ("type=volume,src=vol,dst=/d,volume-driver=local", named(Some("vol"), "/d")),
        ] {
            assert_eq!(mount(text), Ok(wanted), "{text}");
        }
        let source = |text: &str| mount(text).unwrap().source;
        assert!(matches!(
            source("type=bind,src=/s,dst=/d,bind-propagation=RShared,bind-recursive=disabled"),
            MountSource::Bind { propagation: Some(Propagation::RShared), non_recursive: true, .. }
        ));
        assert!(matches!(
            source("type=bind,src=/s,dst=/d,bind-nonrecursive=true"),
            MountSource::Bind { non_recursive: true, .. }
        ));
        assert!(matches!(source("src=v1,dst=/d,volume-nocopy"), MountSource::Volume { no_copy: true, .. }));
        assert_eq!(
            source("type=tmpfs,dst=/d,tmpfs-size=1m,tmpfs-mode=1770"),
            MountSource::Tmpfs { size: Some(1 << 20), mode: Some(0o1770), options: Vec::new() }
        );
        assert!(
            matches!(source("type=bind,src=./x,dst=/d"), MountSource::Bind { source, .. } if source.is_absolute())
        );
    }

    #[test]
    fn bad_mounts() {
        for (bad, why) in [
            ("", "value is empty"),
            ("type=bind,src=/s", "Target must not be empty"),
            ("type=bind,dst=/d", "Source must not be empty"),
            ("type=bind,src=s,dst=/d", "must be absolute"),
            ("type=bind,src=/s,dst=d", "must be absolute"),
            ("type=tmpfs,src=/s,dst=/d", "Source must not be specified"),
            ("type=image,src=x,dst=/d", "mount type 'image' is not supported"),
            ("type=,dst=/d", "value is empty"),
            ("type,dst=/d", "must be a key=value pair"),
            ("src", "must be a key=value pair"),
            ("type=bind,src=/s,dst=/d,volume-nocopy", "cannot mix 'volume-*'"),
            ("src=vol,dst=/d,bind-propagation=shared", "cannot mix 'bind-*'"),
            ("src=vol,dst=/d,tmpfs-size=1m", "cannot mix 'tmpfs-*'"),
            ("type=bind,src=/s,dst=/d,ro=yes", "invalid value for 'ro'"),
            ("type=bind,src=/s,dst=/d,bind-propagation=x", "invalid value"),
            ("type=bind,src=/s,dst=/d,bind-recursive=writable", "not supported"),
            ("type=bind,src=/s,dst=/d,bind-recursive=x", "invalid value"),
            ("type=tmpfs,dst=/d,tmpfs-size=x", "invalid value for tmpfs-size: x"),
            ("type=tmpfs,dst=/d,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
            ("src=vol,dst=/d,volume-opt=a=b", "not supported"),
            ("src=vol,dst=/d,volume-driver=nfs", "not supported"),
            ("src=vol, dst=/d", "should not have whitespace"),
            ("src= vol,dst=/d", "should not have whitespace"),
            ("dst=/d,colour=red", "unknown option 'colour'"),
            ("dst=/d,", "must be a key=value pair"),
            ("dst=/", "can't be '/'"),
            ("src=/vol,dst=/d", "use absolute path"),
            ("\"dst=/d", "quote"),
        ] {
            let error = mount(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn tmpfs() {
        let memory = |size, mode, options: &[&str]| MountSource::Tmpfs {
            size,
            mode,
            options: options.iter().map(|&option| option.to_owned()).collect(),
        };
        for (text, wanted, ro) in [
            ("/tmp", memory(None, None, &[]), false),
            ("/tmp:", memory(None, None, &[]), false),
            ("/tmp:size=64m,mode=700,ro", memory(Some(64 << 20), Some(0o700), &[]), true),
            (
                "/tmp:rw,exec,uid=5,gid=6,size=50%",
                memory(None, None, &["exec", "uid=5", "gid=6", "size=50%"]),
                false,
            ),
            ("/tmp:nr_inodes=1k,noatime", memory(None, None, &["nr_inodes=1k", "noatime"]), false),
        ] {
            let got = tmpfs_mount(text).unwrap();
            assert_eq!((got.source, got.read_only), (wanted, ro), "{text}");
        }
        for bad in [
            "",
            "tmp",
            "/",
            "/tmp:size=x",
            "/tmp:size=%",
            "/tmp:mode=8",
            "/tmp:magic",
            "/tmp:uid=me",
            "/tmp:bind",
            "/tmp:context=x",
        ] {
            assert!(tmpfs_mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_mount_in_one_place() {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let error = mounts(&texts(&["/a:/d"]), &[], &texts(&["/x/../d/"])).unwrap_err();
        assert_eq!(error.to_string(), "duplicate mount point: /d");
        assert_eq!(mounts(&texts(&["/a:/d"]), &texts(&["dst=/e"]), &texts(&["/f"])).unwrap().len(), 3);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            text in any::<String>(),
            volume_text in "[./~a-z]{0,5}:?[./a-z]{0,5}:?[a-zZ,]{0,8}",
            mount_text in "(type=(bind|volume|tmpfs),)?((src|dst|ro|tmpfs-size|tmpfs-mode)=?[/a-z0-9\"]{0,5},?){0,5}",
        ) {
            for text in [text, volume_text, mount_text] {
                for got in [volume(&text), mount(&text), tmpfs_mount(&text)].into_iter().flatten() {
                    prop_assert!(got.target.starts_with('/') && got.target.len() > 1);
                    prop_assert!(!got.target.split('/').any(|part| part == ".."));
                    if let MountSource::Bind { source, .. } = got.source {
                        prop_assert!(source.is_absolute());
                    }
                }
            }
        }
    }
}
