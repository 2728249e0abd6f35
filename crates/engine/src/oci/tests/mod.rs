//! Tables of the translation: what is asked for, and what the runtime is told.

mod limits;
mod mounting;
mod process;
mod security;
mod spaces;

use image::Config;
use linux::CapSet;
use proptest::prelude::*;
use runtime::Plan;
use serde_json::{Value, json};

use super::*;
use crate::spec::{
    DeviceSpec, MountSource, MountSpec, NamespaceModes, Propagation, Resources, SeccompSpec, Security,
};

/// An id, whose range of users is the one behind the first.
fn id() -> ContainerId {
    "00000001".repeat(8).parse().unwrap()
}

/// Every capability there is, `CAP_CHECKPOINT_RESTORE` (40) the last.
fn all_caps() -> CapSet {
    CapSet::from_bits((1 << 41) - 1)
}

/// As if by a host where root has every capability.
fn facts() -> Facts {
    Facts {
        hostname: Some("box".into()),
        files: Some("/data/containers/x".into()),
        possible: all_caps(),
        default_limits: vec![ulimit("nofile", 1024, 524_288), ulimit("core", 0, 0)],
        ..Facts::default()
    }
}

fn ulimit(name: &str, soft: i64, hard: i64) -> Ulimit {
    Ulimit { name: name.into(), soft, hard }
}

fn image() -> Config {
    Config { cmd: Some(vec!["image-command".into()]), ..Config::default() }
}

fn spec() -> ContainerSpec {
    ContainerSpec { image: "image".into(), ..ContainerSpec::default() }
}

fn with(change: impl FnOnce(&mut ContainerSpec)) -> ContainerSpec {
    let mut spec = spec();
    change(&mut spec);
    spec
}

fn profile(profile: Profile) -> ContainerSpec {
    with(|spec| spec.security.profile = profile)
}

fn privileged() -> ContainerSpec {
    with(|spec| spec.security.privileged = true)
}

fn merged(spec: &ContainerSpec) -> Merged {
    merge(&id(), spec, &image(), Some("box")).unwrap()
}

fn made_with(spec: &ContainerSpec, facts: &Facts) -> Result<Value> {
    config(&id(), spec, &merged(spec), facts, "/sampan/x")
}

fn made(spec: &ContainerSpec) -> Value {
    made_with(spec, &facts()).unwrap()
}

fn planned(config: &Value) -> Plan {
    Plan::new(&serde_json::from_value(config.clone()).unwrap()).unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|entry| entry.as_str().unwrap()).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn the_runtime_takes_every_profile() {
    let tty = with(|spec| spec.tty = true);
    let own_users = with(|spec| spec.namespaces.user = UserNamespace::Auto);
    for spec in [spec(), profile(Profile::Docker), profile(Profile::Hardened), privileged(), tty, own_users] {
        let plan = planned(&made(&spec));
        assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
        assert!(plan.process.caps.inheritable.is_empty() && plan.process.caps.ambient.is_empty());
    }
    let plan = planned(&made(&spec()));
    assert_eq!(plan.masked.len(), 23);
    assert_eq!(plan.limits.pids, Some(4096));
}

fn any_mode() -> impl Strategy<Value = NamespaceMode> {
    prop_oneof![
        Just(NamespaceMode::Private),
        Just(NamespaceMode::Host),
        ".{0,8}".prop_map(NamespaceMode::Container)
    ]
}

prop_compose! {
    fn any_security()(
        profile in prop_oneof![Just(Profile::Default), Just(Profile::Docker), Just(Profile::Hardened)],
        privileged: bool,
        cap_add in prop::collection::vec("(CAP_)?(ALL|CHOWN|sys_admin|.{0,8})", 0..4),
        cap_drop in prop::collection::vec("(CAP_)?(all|CHOWN|NET_RAW|.{0,8})", 0..4),
        seccomp in prop_oneof![
            Just(SeccompSpec::Default), Just(SeccompSpec::Unconfined), ".{0,40}".prop_map(SeccompSpec::Custom)
        ],
        label in prop::collection::vec("(user:|type:|disable)?.{0,8}", 0..3),
        apparmor in prop::option::of(".{0,8}"),
    ) -> Security {
        Security { profile, privileged, cap_add, cap_drop, seccomp, label, apparmor, ..Security::default() }
    }
}

prop_compose! {
    fn any_resources()(
        memory: Option<u64>,
        memory_swap: Option<i64>,
        nano_cpus: Option<u64>,
        cpu_period: Option<u64>,
        cpu_quota: Option<i64>,
        pids_limit: Option<i64>,
        cpuset_cpus in prop::option::of("[0-9,-]{0,12}"),
        limits in prop::collection::vec(("(nofile|core|.{0,6})", any::<i64>(), any::<i64>()), 0..3),
        sysctls in prop::collection::btree_map("(net[./]|kernel.shm|.{0,4})[a-z./]{0,12}", ".{0,6}", 0..3),
        host in ".{0,8}",
    ) -> Resources {
        let ulimits = limits.iter().map(|(name, soft, hard)| ulimit(name, *soft, *hard)).collect();
        let devices = vec![DeviceSpec { host: host.clone().into(), container: host.into(), access: "r".into() }];
        Resources {
            memory, memory_swap, nano_cpus, cpu_period, cpu_quota, pids_limit, cpuset_cpus, ulimits, sysctls, devices,
            ..Resources::default()
        }
    }
}

proptest! {
    /// Whatever is asked for is translated or refused, and what is translated is what the runtime can plan or refuse.
    #[test]
    fn any_request_is_answered(
        security in any_security(),
        resources in any_resources(),
        modes in (any_mode(), any_mode(), any_mode(), any_mode()),
        texts in prop::collection::vec(".{0,12}", 4),
        options in prop::collection::vec(".{0,12}", 0..3),
        env in prop::collection::vec(".{0,12}", 0..4),
    ) {
        let spec = ContainerSpec {
            security, resources, env,
            namespaces: NamespaceModes { pid: modes.0, ipc: modes.1, uts: modes.2, cgroup: modes.3, ..Default::default() },
            working_dir: Some(texts[0].clone()), user: Some(texts[1].clone()), domainname: Some(texts[2].clone()),
            ..spec()
        };
        let image = Config {
            entrypoint: Some(vec![texts[3].clone()]), stop_signal: Some(texts[2].clone()), env: texts.clone(),
            working_dir: texts[0].clone(), ..image()
        };
        let facts = Facts {
            mounts: vec![ReadyMount {
                target: format!("/{}", texts[1]),
                source: ReadySource::Tmpfs { size: None, mode: None, options },
                read_only: false,
            }],
            ..facts()
        };
        let _ = check(&spec);
        if let Ok(merged) = merge(&id(), &spec, &image, Some(&texts[0]))
            && let Ok(config) = config(&id(), &spec, &merged, &facts, "/sampan/x")
            && let Ok(spec) = serde_json::from_value(config)
        {
            let _ = Plan::new(&spec);
        }
    }
}
