use super::*;

fn kinds(spec: &ContainerSpec) -> String {
    let list = made(spec)["linux"]["namespaces"].as_array().unwrap().clone();
    list.iter().map(|space| space["type"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn namespaces_that_it_has() {
    assert_eq!(kinds(&spec()), "mount pid ipc uts cgroup network time");
    assert_eq!(kinds(&profile(Profile::Docker)), "mount pid ipc uts cgroup network time");
    assert_eq!(kinds(&privileged()), "mount pid ipc uts cgroup network");
    assert_eq!(kinds(&profile(Profile::Hardened)), "mount pid ipc uts cgroup network time user");
    let host = with(|spec| {
        spec.network = NetworkMode::Host;
        let host = || NamespaceMode::Host;
        spec.namespaces = NamespaceModes {
            pid: host(),
            ipc: host(),
            uts: host(),
            cgroup: host(),
            ..NamespaceModes::default()
        };
    });
    assert_eq!(kinds(&host), "mount time");
    // Of another's namespace the path is filled in at each start.
    let joined = with(|spec| spec.namespaces.pid = NamespaceMode::Container("x".into()));
    assert!(kinds(&joined).contains("pid"));
}

#[test]
fn who_has_users_of_its_own() {
    type Change = fn(&mut ContainerSpec);
    let table: [(Change, bool); 11] = [
        (|_| {}, false),
        (|spec| spec.security.profile = Profile::Docker, false),
        (|spec| spec.namespaces.user = UserNamespace::Auto, true),
        (|spec| spec.security.profile = Profile::Hardened, true),
        (hardened(|spec| spec.namespaces.user = UserNamespace::Host), false),
        (hardened(|spec| spec.security.privileged = true), false),
        (hardened(|spec| spec.network = NetworkMode::Host), false),
        (hardened(|spec| spec.network = NetworkMode::Container("x".into())), false),
        (hardened(|spec| spec.namespaces.pid = NamespaceMode::Host), false),
        (hardened(|spec| spec.namespaces.ipc = NamespaceMode::Container("x".into())), false),
        (hardened(|spec| spec.namespaces.uts = NamespaceMode::Host), true),
    ];
    for (row, (change, own)) in table.into_iter().enumerate() {
        let hard = row >= 4;
        let spec = with(|spec| {
            if hard {
                spec.security.profile = Profile::Hardened;
            }
            change(spec);
        });
        assert_eq!(own_users(&spec), own, "row {row}");
        assert_eq!(made(&spec)["linux"].get("uidMappings").is_some(), own, "row {row}");
    }
}

/// Only says that the row is of the hardened profile.
fn hardened(change: fn(&mut ContainerSpec)) -> fn(&mut ContainerSpec) {
    change
}

#[test]
fn ranges_are_apart_and_below_31_bits() {
    let map = |text: &str| super::super::user_map(&text.repeat(8).parse().unwrap())[0].clone();
    assert_eq!(map("00000000"), json!({ "containerID": 0, "hostID": 1_500_000_000, "size": 65_536 }));
    assert_eq!(map("00000001")["hostID"], 1_500_065_536);
    let last = map("ffffffff")["hostID"].as_u64().unwrap();
    assert!(last + 65_536 < 1 << 31);
}

#[test]
fn names() {
    assert_eq!(made(&spec())["hostname"], "box");
    assert!(made_with(&spec(), &Facts { hostname: None, ..facts() }).unwrap().get("hostname").is_none());
    assert_eq!(made(&with(|spec| spec.domainname = Some("d".into())))["domainname"], "d");
}

#[test]
fn conflicts() {
    type Change = fn(&mut ContainerSpec);
    let named: Change = |spec| spec.hostname = Some("x".into());
    let table: [(&[Change], &str); 10] = [
        (&[named, |spec| spec.namespaces.uts = NamespaceMode::Host], "UTS mode"),
        (&[|s| s.domainname = Some("x".into()), |s| s.namespaces.uts = NamespaceMode::Host], "UTS mode"),
        (&[named, |spec| spec.network = NetworkMode::Container("x".into())], "network mode"),
        (&[|s| s.auto_remove = true, |s| s.restart.policy = monitor::RestartOn::Always], "AutoRemove"),
        (&[auto, |spec| spec.security.privileged = true], "privileged"),
        (&[auto, |spec| spec.network = NetworkMode::Host], "namespaces of others"),
        (&[auto, |spec| spec.namespaces.pid = NamespaceMode::Host], "namespaces of others"),
        (&[auto, |spec| spec.namespaces.ipc = NamespaceMode::Host], "namespaces of others"),
        (&[auto, |spec| spec.namespaces.ipc = NamespaceMode::Container("x".into())], "namespaces of others"),
        (
            &[|s| s.security.profile = Profile::Hardened, |s| s.security.seccomp = SeccompSpec::Unconfined],
            "hardened",
        ),
    ];
    for (changes, why) in table {
        let spec = with(|spec| changes.iter().for_each(|change| change(spec)));
        let error = check(&spec).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    for fine in [spec(), privileged(), profile(Profile::Hardened), with(named)] {
        assert!(check(&fine).is_ok());
    }
}

fn auto(spec: &mut ContainerSpec) {
    spec.namespaces.user = UserNamespace::Auto;
}
