use super::*;

fn all(spec: &ContainerSpec, facts: &Facts) -> Vec<Value> {
    made_with(spec, facts).unwrap()["mounts"].as_array().unwrap().clone()
}

fn at<'a>(mounts: &'a [Value], target: &str) -> &'a Value {
    let mut found = mounts.iter().filter(|mount| mount["destination"] == target);
    let one = found.next().unwrap_or_else(|| panic!("nothing at {target}"));
    assert!(found.next().is_none(), "two mounts at {target}");
    one
}

fn bind(target: &str) -> ReadyMount {
    let source =
        ReadySource::Bind { source: "/s".into(), non_recursive: false, propagation: None, volume: false };
    ReadyMount { target: target.into(), source, read_only: false }
}

fn tmpfs(target: &str, options: &[&str]) -> ReadyMount {
    let source = ReadySource::Tmpfs { size: None, mode: None, options: words(options) };
    ReadyMount { target: target.into(), source, read_only: false }
}

fn options(mount: ReadyMount) -> Result<Vec<String>> {
    let target = mount.target.clone();
    let config = made_with(&spec(), &Facts { mounts: vec![mount], ..facts() })?;
    let mounts = config["mounts"].as_array().unwrap().clone();
    Ok(strings(&at(&mounts, &target)["options"]).into_iter().map(str::to_owned).collect())
}

#[test]
fn what_every_container_has() {
    let ours = all(&spec(), &facts());
    let targets: Vec<_> = ours.iter().map(|mount| mount["destination"].as_str().unwrap()).collect();
    assert_eq!(
        targets,
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/mqueue",
            "/dev/shm",
            "/etc/hosts",
            "/etc/resolv.conf",
            "/etc/hostname"
        ]
    );
    assert!(strings(&at(&ours, "/dev")["options"]).contains(&"noexec"));
    assert!(!strings(&at(&all(&profile(Profile::Docker), &facts()), "/dev")["options"]).contains(&"noexec"));
    for (spec, word) in [(spec(), "ro"), (privileged(), "rw")] {
        for target in ["/sys", "/sys/fs/cgroup"] {
            assert!(strings(&at(&all(&spec, &facts()), target)["options"]).contains(&word), "{target}");
        }
    }
    let shm = with(|spec| spec.shm_size = Some(7));
    assert!(strings(&at(&all(&shm, &facts()), "/dev/shm")["options"]).contains(&"size=7"));
    let host_ipc = with(|spec| spec.namespaces.ipc = NamespaceMode::Host);
    assert_eq!(at(&all(&host_ipc, &facts()), "/dev/shm")["source"], "/dev/shm");
    let nothing_of_its_own = Facts { files: None, ..facts() };
    assert_eq!(all(&spec(), &nothing_of_its_own).len(), 7);
}

#[test]
fn the_users_mounts_come_after_and_instead() {
    let mounts = ["/dev/shm", "/etc/hosts", "/a/b/c", "/a", "/a/b", "/x/y"].map(bind).to_vec();
    let all = all(&spec(), &Facts { mounts, ..facts() });
    at(&all, "/dev/shm");
    at(&all, "/etc/hosts");
    let place = |target: &str| all.iter().position(|mount| mount["destination"] == target).unwrap();
    assert!(place("/sys") < place("/a") && place("/a") < place("/a/b") && place("/a/b") < place("/a/b/c"));
    assert!(place("/etc/resolv.conf") < place("/a"));
    assert_eq!(at(&all, "/etc/hosts")["source"], "/s");
}

#[test]
fn binds() {
    assert_eq!(options(bind("/m")).unwrap(), ["rbind", "rw", "rprivate"]);
    let read_only = ReadyMount { read_only: true, ..bind("/m") };
    assert_eq!(options(read_only).unwrap(), ["rbind", "ro", "rprivate", "rro"]);
    for (propagation, word, root) in [
        (Propagation::Private, "private", "rprivate"),
        (Propagation::RPrivate, "rprivate", "rprivate"),
        (Propagation::Shared, "shared", "shared"),
        (Propagation::RShared, "rshared", "shared"),
        (Propagation::Slave, "slave", "rslave"),
        (Propagation::RSlave, "rslave", "rslave"),
    ] {
        let source = ReadySource::Bind {
            source: "/s".into(),
            non_recursive: true,
            propagation: Some(propagation),
            volume: false,
        };
        let mount = ReadyMount { target: "/m".into(), source, read_only: true };
        assert_eq!(options(mount).unwrap(), ["bind", "ro", word]);
        let asked = MountSpec {
            target: "/m".into(),
            source: MountSource::Bind {
                source: "/s".into(),
                create: false,
                non_recursive: false,
                propagation: Some(propagation),
            },
            read_only: false,
        };
        let spec = with(|spec| spec.mounts = vec![asked]);
        assert_eq!(made(&spec)["linux"]["rootfsPropagation"], root, "{word}");
    }
    assert_eq!(made(&spec())["linux"]["rootfsPropagation"], "rprivate");
}

#[test]
fn tmpfs_options() {
    assert_eq!(options(tmpfs("/m", &[])).unwrap(), ["rw", "nosuid", "nodev", "noexec", "mode=1777"]);
    let own = options(tmpfs("/m", &["exec", "mode=700", "uid=7", "huge=never"])).unwrap();
    assert_eq!(own, ["rw", "nosuid", "nodev", "exec", "mode=700", "uid=7", "huge=never"]);
    let source = ReadySource::Tmpfs { size: Some(4096), mode: Some(0o750), options: vec![] };
    let sized = ReadyMount { target: "/m".into(), source, read_only: true };
    assert_eq!(options(sized).unwrap(), ["ro", "nosuid", "nodev", "noexec", "size=4096", "mode=750"]);
    for bad in
        ["bind", "rbind", "shared", "remount", "tmpcopyup", "idmap", "lowerdir=/", "context=x", "", "mand"]
    {
        assert!(options(tmpfs("/m", &[bad])).is_err(), "{bad:?}");
    }
}

#[test]
fn what_is_shown_with_its_owners() {
    let volume = |volume| ReadyMount {
        source: ReadySource::Bind { source: "/s".into(), non_recursive: false, propagation: None, volume },
        ..bind("/m")
    };
    let own_users = with(|spec| spec.namespaces.user = UserNamespace::Auto);
    for (spec, is_volume, mapped) in
        [(spec(), true, false), (own_users.clone(), true, true), (own_users, false, false)]
    {
        let all = all(&spec, &Facts { mounts: vec![volume(is_volume)], ..facts() });
        assert_eq!(strings(&at(&all, "/m")["options"]).contains(&"idmap"), mapped);
        let users = spec.namespaces.user == UserNamespace::Auto;
        assert_eq!(strings(&at(&all, "/etc/hosts")["options"]).contains(&"idmap"), users);
    }
}
