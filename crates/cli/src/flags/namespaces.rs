//! Whose network, processes, IPC, host name, cgroups and users the container sees.

use engine::spec::{NamespaceMode, NetworkMode, UserNamespace};

use super::Parsed;

/// `--network`. docker's default is a network of its own; as long as there are none, a container that asks for none has
/// nothing but the loopback interface.
pub(super) fn network(text: &str) -> Parsed<NetworkMode> {
    match text {
        "" | "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        _ => match text.strip_prefix("container:") {
            Some("") => Err("invalid container format container:<name|id>".into()),
            Some(other) => Ok(NetworkMode::Container(other.to_owned())),
            None => Err("networks are not built yet; use none, host or container:NAME".into()),
        },
    }
}

/// `--pid`.
pub(super) fn pid(text: &str) -> Parsed<NamespaceMode> {
    match text {
        "" | "private" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        _ => container(text).ok_or_else(|| "--pid: invalid PID mode".into()),
    }
}

/// `--ipc`. Every private one can be joined here, so `shareable` says nothing more.
pub(super) fn ipc(text: &str) -> Parsed<NamespaceMode> {
    match text {
        "" | "private" | "shareable" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        "none" => Err("--ipc: none is not supported; use private".into()),
        _ => container(text).ok_or_else(|| "--ipc: invalid IPC mode".into()),
    }
}

/// `--uts`.
pub(super) fn uts(text: &str) -> Parsed<NamespaceMode> {
    match text {
        "" | "private" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        _ => Err("--uts: invalid UTS mode".into()),
    }
}

/// `--cgroupns`.
pub(super) fn cgroup(text: &str) -> Parsed<NamespaceMode> {
    match text {
        "" | "private" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        _ => Err("--cgroupns: invalid CGROUP mode".into()),
    }
}

/// `--userns`.
pub(super) fn user(text: &str) -> Parsed<UserNamespace> {
    match text {
        "" => Ok(UserNamespace::Profile),
        "host" => Ok(UserNamespace::Host),
        "auto" | "private" => Ok(UserNamespace::Auto),
        _ => Err("--userns: invalid USER mode".into()),
    }
}

fn container(text: &str) -> Option<NamespaceMode> {
    let other = text.strip_prefix("container:").filter(|other| !other.is_empty())?;
    Some(NamespaceMode::Container(other.to_owned()))
}

/// Most bytes of a host or domain name (`__NEW_UTS_LEN`).
const MAX_NAME: usize = 64;

/// `--hostname`, `--domainname`: what can be a word of /etc/hosts and fits the kernel.
pub(super) fn host_name(text: &str) -> Parsed<String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(fine) && !text.starts_with(['-', '.']) {
        return Ok(text.to_owned());
    }
    Err("a name has 1 to 64 letters, digits, hyphens, underscores and dots, and begins with none of - and ."
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn networks() {
        assert_eq!(network(""), Ok(NetworkMode::None));
        assert_eq!(network("none"), Ok(NetworkMode::None));
        assert_eq!(network("host"), Ok(NetworkMode::Host));
        assert_eq!(network("container:web"), Ok(NetworkMode::Container("web".into())));
        for name in ["bridge", "default", "my-net", "Host", "name=my-net,alias=x"] {
            let error = network(name).unwrap_err();
            assert_eq!(error, "networks are not built yet; use none, host or container:NAME", "{name}");
        }
        assert!(network("container:").is_err());
    }

    #[test]
    fn modes() {
        type Read = fn(&str) -> Parsed<NamespaceMode>;
        let all: [(&str, Read); 4] = [("pid", pid), ("ipc", ipc), ("uts", uts), ("cgroup", cgroup)];
        for (kind, read) in all {
            assert_eq!(read(""), Ok(NamespaceMode::Private), "{kind}");
            assert_eq!(read("private"), Ok(NamespaceMode::Private), "{kind}");
            assert_eq!(read("host"), Ok(NamespaceMode::Host), "{kind}");
            assert!(read("container:").is_err() && read("HOST").is_err() && read("x").is_err(), "{kind}");
            let joined = read("container:web").ok();
            let can_join = matches!(kind, "pid" | "ipc");
            assert_eq!(joined, can_join.then(|| NamespaceMode::Container("web".into())), "{kind}");
        }
        assert_eq!(ipc("shareable"), Ok(NamespaceMode::Private));
        assert!(ipc("none").is_err());
    }

    #[test]
    fn users() {
        assert_eq!(user(""), Ok(UserNamespace::Profile));
        assert_eq!(user("host"), Ok(UserNamespace::Host));
        assert_eq!(user("auto"), Ok(UserNamespace::Auto));
        assert_eq!(user("private"), Ok(UserNamespace::Auto));
        assert!(user("container:x").is_err());
    }

    #[test]
    fn host_names() {
        for good in ["a", "web-1", "a.b.c", "123", &"a".repeat(64)] {
            assert!(host_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\nb", "é", "-a", ".a", "a/b", &"a".repeat(65)] {
            assert!(host_name(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = (network(&text), pid(&text), ipc(&text), uts(&text), cgroup(&text), user(&text), host_name(&text));
        }
    }
}
