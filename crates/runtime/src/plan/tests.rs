use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use super::*;

fn base() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}
    })
}

fn plan(value: &Value) -> Result<Plan> {
    Plan::new(&serde_json::from_value::<Spec>(value.clone()).unwrap())
}

/// A list of `count` mappings with long numbers.
fn map(count: u32) -> Value {
    (0..count).map(|i| json!({"containerID": i, "hostID": 4_000_000_000u32 + 2 * i, "size": 1})).collect()
}

/// Sets `pointer` to `value` in the base configuration and returns the field that the error names.
fn refused(pointer: &str, value: Value) -> String {
    let mut spec = base();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = if parent.is_empty() { &mut spec } else { spec.pointer_mut(parent).unwrap() };
    parent[key] = value.clone();
    match plan(&spec) {
        Err(Error::Spec { field, .. }) => field,
        other => panic!("{pointer} = {value}: {other:?}"),
    }
}

#[test]
fn the_smallest_configuration_is_a_plan() {
    let plan = plan(&base()).unwrap();
    assert_eq!(plan.devices.len(), 6);
    assert!(plan.setup_dev && plan.warnings.is_empty());
    assert_eq!(plan.process.caps, CapPlan::default());
}

#[test]
fn each_error_names_its_field() {
    let spaces = |more: Value| {
        let mut list = json!([{"type": "mount"}]);
        list.as_array_mut().unwrap().push(more);
        list
    };
    let table = [
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/ociVersion", json!("1.4.0"), "ociVersion"),
        ("/ociVersion", json!("one"), "ociVersion"),
        ("/linux/intelRdt", json!({"closID": "x"}), "linux.intelRdt"),
        ("/linux/netDevices", json!({"eth0": {}}), "linux.netDevices"),
        ("/hostname", json!("h"), "hostname"),
        ("/domainname", json!("d"), "domainname"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!([""]), "process.args"),
        ("/process/args", json!(["a\0b"]), "process.args"),
        ("/process/env", json!(["A"]), "process.env[0]"),
        ("/process/env", json!(["A=b", "=x"]), "process.env[1]"),
        ("/process/cwd", json!("relative"), "process.cwd"),
        ("/process/terminal", json!(true), "process.terminal"),
        ("/process/oomScoreAdj", json!(1001), "process.oomScoreAdj"),
        ("/process/rlimits", json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]), "process.rlimits[0]"),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}, {"type": "RLIMIT_CPU", "soft": 1, "hard": 1}]),
            "process.rlimits[1]",
        ),
        (
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
            "process.ioPriority.priority",
        ),
        ("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 20}), "process.scheduler.nice"),
        ("/process/apparmorProfile", json!("a\nb"), "process.apparmorProfile"),
        ("/linux/namespaces", json!([{"type": "pid"}]), "linux.namespaces"),
        ("/linux/namespaces", spaces(json!({"type": "mount"})), "linux.namespaces[1]"),
        ("/linux/namespaces", spaces(json!({"type": "network", "path": "x"})), "linux.namespaces[1].path"),
        ("/linux/namespaces", spaces(json!({"type": "user"})), "linux.uidMappings"),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 0, "size": 1}]), "linux.gidMappings"),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 4294967295u32, "size": 2}]),
            "linux.uidMappings[0]",
        ),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 0, "size": 0}]), "linux.uidMappings[0]"),
        (
            "/linux/uidMappings",
            json!(vec![json!({"containerID": 0, "hostID": 0, "size": 1}); 65_536]),
            "linux.uidMappings",
        ),
        ("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}), "linux.timeOffsets"),
        ("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}), "linux.sysctl[\"net.ipv4.ip_forward\"]"),
        ("/linux/sysctl", json!({"kernel.msgmax": "1"}), "linux.sysctl[\"kernel.msgmax\"]"),
        ("/linux/sysctl", json!({"vm.swappiness": "1"}), "linux.sysctl[\"vm.swappiness\"]"),
        ("/linux/sysctl", json!({"kernel.hostname": "x"}), "linux.sysctl[\"kernel.hostname\"]"),
        ("/linux/rootfsPropagation", json!("rivate"), "linux.rootfsPropagation"),
        ("/linux/maskedPaths", json!(["/a", "b"]), "linux.maskedPaths[1]"),
        ("/linux/readonlyPaths", json!(["b"]), "linux.readonlyPaths[0]"),
        (
            "/linux/devices",
            json!([{"path": "x", "type": "c", "major": 1, "minor": 1}]),
            "linux.devices[0].path",
        ),
        (
            "/linux/devices",
            json!([{"path": "/x", "type": "c", "major": 5000, "minor": 1}]),
            "linux.devices[0].major",
        ),
        (
            "/linux/devices",
            json!([{"path": "/x", "type": "c", "major": 1, "minor": -1}]),
            "linux.devices[0].minor",
        ),
        (
            "/linux/devices",
            json!([{"path": "/x", "type": "a", "major": 1, "minor": 1}]),
            "linux.devices[0].type",
        ),
        (
            "/linux/resources",
            json!({"devices": [{"allow": true, "access": "x"}]}),
            "linux.resources.devices[0].access",
        ),
        ("/mounts", json!([{"destination": "/", "type": "tmpfs"}]), "mounts[0].destination"),
        ("/mounts", json!([{"destination": "/a/..", "type": "tmpfs"}]), "mounts[0].destination"),
        ("/mounts", json!([{"destination": "/a"}]), "mounts[0].type"),
        ("/mounts", json!([{"destination": "/a", "options": ["bind"]}]), "mounts[0].source"),
        (
            "/mounts",
            json!([{"destination": "/a", "type": "tmpfs", "options": ["remount"]}]),
            "mounts[0].options",
        ),
        (
            "/mounts",
            json!([{"destination": "/a", "source": "/x", "options": ["bind", "idmap"]}]),
            "mounts[0].options",
        ),
        (
            "/mounts",
            json!([{"destination": "/a", "type": "tmpfs", "options": ["idmap"], "uidMappings": map(1), "gidMappings": map(1)}]),
            "mounts[0].options",
        ),
        (
            "/mounts",
            json!([{"destination": "/a", "source": "/x", "options": ["bind", "idmap"], "uidMappings": map(1)}]),
            "mounts[0].gidMappings",
        ),
        (
            "/mounts",
            json!([{"destination": "/a", "source": "/x", "options": ["bind"], "uidMappings": map(1), "gidMappings": map(341)}]),
            "mounts[0].gidMappings",
        ),
        ("/linux/uidMappings", map(340), "linux.uidMappings"),
        (
            "/linux/uidMappings",
            json!([{"containerID": 5, "hostID": 0, "size": 2}, {"containerID": 6, "hostID": 9, "size": 1}]),
            "linux.uidMappings[1]",
        ),
        (
            "/linux/uidMappings",
            json!([{"containerID": 5, "hostID": 7, "size": 2}, {"containerID": 7, "hostID": 8, "size": 1}]),
            "linux.uidMappings[1]",
        ),
    ];
    for (pointer, value, field) in table {
        assert_eq!(refused(pointer, value), field);
    }
}

#[test]
fn mappings_of_mounts_are_their_own_or_the_containers() {
    let mut spec = base();
    spec["mounts"] = json!([
        {"destination": "/a", "source": "/x", "options": ["rbind", "idmap"]},
        {"destination": "/b", "source": "/x", "options": ["bind", "ridmap"], "uidMappings": map(2), "gidMappings": map(1)},
        {"destination": "/c", "source": "/x", "options": ["rbind"]},
    ]);
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    spec["linux"]["uidMappings"] =
        json!([{"containerID": 10, "hostID": 1000, "size": 5}, {"containerID": 0, "hostID": 7, "size": 1}]);
    spec["linux"]["gidMappings"] = map(3);
    let plan = plan(&spec).unwrap();
    let mapped: Vec<_> =
        plan.mounts.iter().map(|m| m.idmap.as_ref().map(|i| (i.maps.uid.len(), i.recursive))).collect();
    assert_eq!(mapped, [Some((0, false)), Some((2, true)), None]);
    let maps = &plan.namespaces.maps;
    assert_eq!(maps.root(), Some((7, 4_000_000_000)));
    assert_eq!(maps.outside(14, 2), Some((1004, 4_000_000_004)));
    assert_eq!((maps.outside(15, 0), maps.outside(9, 0), maps.outside(0, 3)), (None, None, None));
}

#[test]
fn mount_words_become_attributes_and_data() {
    use rustix::mount::MountAttrFlags as Attr;
    let mut spec = base();
    spec["mounts"] = json!([
        {"destination": "/a", "type": "tmpfs", "options": ["ro", "rw", "nosuid", "noatime", "strictatime", "size=1m", "sync"]},
        {"destination": "b/../c", "source": "/x", "options": ["rbind", "rro", "rslave", "suid"]},
    ]);
    let plan = plan(&spec).unwrap();
    let [first, second] = plan.mounts.as_slice() else { panic!("two mounts") };
    assert_eq!(first.set, Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_STRICTATIME);
    let data = vec![("size".to_owned(), Some("1m".to_owned())), ("sync".to_owned(), None)];
    assert!(matches!(&first.kind, MountKind::Filesystem { data: d, .. } if *d == data));
    assert_eq!(second.destination, Path::new("/c"));
    assert_eq!((second.set_recursive, second.clear), (Attr::MOUNT_ATTR_RDONLY, Attr::MOUNT_ATTR_NOSUID));
    assert_eq!(second.propagation, Some((Propagation::Slave, true)));
    assert_eq!(plan.warnings.len(), 1);
}

#[test]
fn inheritable_capabilities_are_only_what_ambient_needs() {
    let mut spec = base();
    let list = json!(["CAP_CHOWN", "CAP_KILL"]);
    spec["process"]["capabilities"] =
        json!({"bounding": list, "permitted": list, "effective": list, "inheritable": list});
    assert!(plan(&spec).unwrap().process.caps.inheritable.is_empty());
    spec["process"]["capabilities"]["ambient"] = json!(["CAP_KILL", "CAP_SYS_ADMIN"]);
    let caps = plan(&spec).unwrap().process.caps;
    assert_eq!(caps.inheritable.names(), ["CAP_KILL"]);
    assert_eq!(caps.ambient.names(), ["CAP_KILL"]);
}

#[test]
fn a_bind_mounted_dev_is_left_alone() {
    let mut spec = base();
    spec["mounts"] = json!([{"destination": "/dev/", "source": "/dev", "options": ["rbind"]}]);
    assert!(!plan(&spec).unwrap().setup_dev);
}

#[test]
fn sysctl_names_have_two_spellings() {
    let mut spec = base();
    spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "network"}]);
    spec["linux"]["sysctl"] = json!({"net/ipv4/conf/eth0.1/forwarding": "1", "net.core.somaxconn": "9"});
    let names: Vec<_> = plan(&spec).unwrap().sysctl.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["net/core/somaxconn", "net/ipv4/conf/eth0.1/forwarding"]);
    for bad in ["net..x", "net/../kernel/core_pattern", "/etc/passwd", "net.ipv4.ip_forward\n"] {
        spec["linux"]["sysctl"] = json!({bad: "1"});
        assert!(matches!(plan(&spec), Err(Error::Spec { .. })), "{bad:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_option_and_path_is_answered(option in ".{0,24}", path in ".{0,24}", key in ".{0,24}") {
        let mut spec = base();
        spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "network"}]);
        spec["mounts"] = json!([{"destination": path, "type": "tmpfs", "options": [option]}]);
        spec["linux"]["sysctl"] = json!({key: path});
        if let Ok(plan) = plan(&spec) {
            for mount in &plan.mounts {
                proptest::prop_assert!(mount.destination.is_absolute() && mount.destination != Path::new("/"));
            }
        }
    }
}
