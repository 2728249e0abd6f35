use super::*;

fn resources(change: impl FnOnce(&mut Resources)) -> Value {
    made(&with(|spec| change(&mut spec.resources)))["linux"]["resources"].clone()
}

#[test]
fn only_what_is_asked_for() {
    let plain = resources(|_| {});
    assert_eq!(plain["pids"]["limit"], 4096);
    assert!(plain.get("memory").is_none() && plain.get("cpu").is_none());
    for none in [profile(Profile::Docker), privileged()] {
        assert!(made(&none)["linux"]["resources"].get("pids").is_none());
    }
}

#[test]
fn memory_processors_and_processes() {
    let memory = |change: fn(&mut Resources)| resources(change)["memory"].clone();
    assert_eq!(memory(|r| r.memory = Some(8 << 20)), json!({ "limit": 8 << 20, "swap": 16 << 20 }));
    let unlimited = memory(|r| (r.memory, r.memory_swap) = (Some(8 << 20), Some(-1)));
    assert_eq!(unlimited, json!({ "limit": 8 << 20, "swap": -1 }));
    assert_eq!(memory(|r| r.memory_reservation = Some(7)), json!({ "reservation": 7 }));
    assert_eq!(memory(|r| r.memory = Some(u64::MAX / 2))["swap"], -1);
    let cpu = |change: fn(&mut Resources)| resources(change)["cpu"].clone();
    assert_eq!(cpu(|r| r.nano_cpus = Some(500_000_000)), json!({ "period": 100_000, "quota": 50_000 }));
    assert_eq!(cpu(|r| r.cpu_period = Some(5000)), json!({ "period": 5000 }));
    assert_eq!(cpu(|r| r.cpu_quota = Some(-1)), json!({ "quota": -1 }));
    assert_eq!(cpu(|r| r.cpu_shares = Some(0)), Value::Null);
    assert_eq!(cpu(|r| r.cpu_shares = Some(7)), json!({ "shares": 7 }));
    let sets = cpu(|r| (r.cpuset_cpus, r.cpuset_mems) = (Some("0-1,3".into()), Some("0".into())));
    assert_eq!(sets, json!({ "cpus": "0-1,3", "mems": "0" }));
    for (limit, wanted) in [(5, json!({ "limit": 5 })), (0, Value::Null), (-1, Value::Null)] {
        assert_eq!(resources(|r| r.pids_limit = Some(limit))["pids"], wanted);
    }
}

#[test]
fn lists_of_processors() {
    for good in ["0", "0-3", "0,2,4-8191"] {
        assert!(made_with(&with(|spec| spec.resources.cpuset_cpus = Some(good.into())), &facts()).is_ok());
    }
    for bad in ["", "a", "3-1", "0-8192", "1,,2", "0-99999999999", "-1", "1-", "0 1"] {
        let bad = with(|spec| spec.resources.cpuset_cpus = Some(bad.into()));
        assert!(matches!(made_with(&bad, &facts()), Err(Error::Invalid { .. })), "{bad:?}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    type Change = fn(&mut Resources);
    let table: [(Change, &str); 11] = [
        (|r| r.memory = Some(1 << 20), "6MB"),
        (|r| (r.memory, r.memory_swap) = (Some(8 << 20), Some(7 << 20)), "memoryswap"),
        (|r| r.memory_swap = Some(8 << 20), "Memory limit"),
        (|r| (r.memory, r.memory_reservation) = (Some(8 << 20), Some(9 << 20)), "reservation"),
        (|r| r.nano_cpus = Some(1), "Range of CPUs"),
        (|r| r.nano_cpus = Some(u64::MAX), "Range of CPUs"),
        (|r| r.cpu_shares = Some(1), "cpu-shares"),
        (|r| (r.nano_cpus, r.cpu_period) = (Some(1_000_000_000), Some(1000)), "Nano CPUs"),
        (|r| (r.nano_cpus, r.cpu_quota) = (Some(1_000_000_000), Some(1000)), "Nano CPUs"),
        (|r| r.cpu_period = Some(999), "period"),
        (|r| r.cpu_quota = Some(999), "quota"),
    ];
    for (change, why) in table {
        let error = check(&with(|spec| change(&mut spec.resources))).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let fine = with(|spec| {
        spec.resources.memory = Some(8 << 20);
        spec.resources.memory_swap = Some(-1);
        spec.resources.memory_reservation = Some(8 << 20);
    });
    assert!(check(&fine).is_ok());
}

#[test]
fn devices() {
    let device = Device {
        path: "/dev/x".into(),
        kind: 'b',
        major: 7,
        minor: 1,
        mode: 0o600,
        uid: 0,
        gid: 6,
        access: "r".into(),
    };
    let facts = Facts { devices: vec![device], ..facts() };
    let rules = |spec: &ContainerSpec| {
        let config = made_with(spec, &facts).unwrap();
        config["linux"]["resources"]["devices"].as_array().unwrap().clone()
    };
    let ours = rules(&spec());
    assert_eq!(ours[0], json!({ "allow": false, "access": "rwm" }));
    assert!(ours[1..].iter().all(|rule| rule["allow"] == true && rule.get("major").is_some()));
    assert_eq!(
        ours.last().unwrap(),
        &json!({ "allow": true, "type": "b", "access": "r", "major": 7, "minor": 1 })
    );
    let docker = rules(&profile(Profile::Docker));
    assert_eq!(docker.len(), ours.len() + 3);
    assert!(docker.contains(&json!({ "allow": true, "type": "b", "access": "m" })));
    assert_eq!(rules(&privileged()), [json!({ "allow": true, "access": "rwm" })]);
    let node = &made_with(&spec(), &facts).unwrap()["linux"]["devices"][0];
    assert_eq!(
        (&node["path"], &node["fileMode"], &node["gid"]),
        (&json!("/dev/x"), &json!(0o600), &json!(6))
    );
}

#[test]
fn kernel_parameters() {
    let sysctls =
        |spec: &ContainerSpec| made_with(spec, &facts()).map(|config| config["linux"]["sysctl"].clone());
    let ports = "net.ipv4.ip_unprivileged_port_start";
    let ping = "net.ipv4.ping_group_range";
    assert_eq!(sysctls(&spec()).unwrap(), json!({ ping: "0 2147483647", ports: "0" }));
    // The range must be mapped.
    let own_users = with(|spec| spec.namespaces.user = UserNamespace::Auto);
    assert_eq!(sysctls(&own_users).unwrap()[ping], "0 65535");
    for shared in [NetworkMode::Host, NetworkMode::Container("x".into())] {
        assert_eq!(sysctls(&with(|spec| spec.network = shared)).unwrap(), json!({}));
    }
    let set = |key: &str| with(|spec| drop(spec.resources.sysctls.insert(key.into(), "7".into())));
    assert_eq!(sysctls(&set("net/core/somaxconn")).unwrap()["net.core.somaxconn"], "7");
    assert_eq!(sysctls(&set(ports)).unwrap()[ports], "7");
    for good in ["kernel.msgmax", "kernel.sem", "kernel.shmall", "fs.mqueue.msg_max"] {
        assert_eq!(sysctls(&set(good)).unwrap()[good], "7", "{good}");
        let host = with(|spec| {
            *spec = set(good);
            spec.namespaces.ipc = NamespaceMode::Host;
        });
        assert!(sysctls(&host).is_err(), "{good}");
    }
    for bad in ["kernel.core_pattern", "vm.swappiness", "fs.file-max", "", "kernel.hostname"] {
        assert!(sysctls(&set(bad)).is_err(), "{bad}");
    }
    let host_network = with(|spec| {
        *spec = set("net.core.somaxconn");
        spec.network = NetworkMode::Host;
    });
    assert!(sysctls(&host_network).is_err());
}

#[test]
fn hierarchies() {
    let named = |spec: &ContainerSpec, has_v2| match controllers(spec, has_v2) {
        cgroup::Controllers::Only(names) => names.into_iter().collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    };
    assert!(!named(&spec(), true).contains("cpuset") && !named(&spec(), true).contains("freezer"));
    assert!(named(&spec(), false).contains("freezer"));
    assert!(named(&with(|spec| spec.resources.cpuset_mems = Some("0".into())), true).contains("cpuset"));
}
