//! Our programs against a reading of the profile, on every machine with tables, and the parsers against anything.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{AUDIT_AARCH64, AUDIT_ARM, AUDIT_X86, AUDIT_X86_64, Call, matching, ret, run};
use std::collections::BTreeSet;

use proptest::prelude::*;
use seccomp::{
    Action, Arch, Condition, DockerProfile, Error, KernelSupport, Op, Profile, ProfileSet, Program, Rule,
    compile, default_profile,
};

const NAMES: [&str; 7] = ["read", "write", "openat", "ioctl", "clone", "personality", "getrandom"];

fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..6, Just(0xffff_ffff), 0x1_0000_0000u64..0x1_0000_0004, Just(u64::MAX), any::<u64>()]
}

prop_compose! {
    fn any_condition()(
        index in 0u8..6,
        op in proptest::sample::select(vec![Op::Ne, Op::Lt, Op::Le, Op::Eq, Op::Ge, Op::Gt, Op::MaskedEq]),
        value in any_value(),
        value_two in any_value(),
    ) -> Condition {
        Condition { index, op, value, value_two }
    }
}

prop_compose! {
    fn any_rule()(
        names in proptest::sample::subsequence(NAMES.to_vec(), 1..4),
        conditions in proptest::collection::vec(any_condition(), 0..5),
    ) -> Rule {
        let names = names.into_iter().map(str::to_owned).collect();
        Rule { names, action: Action::Allow, conditions }
    }
}

fn profile(default_action: Action, architectures: Vec<Arch>, rules: Vec<Rule>) -> Profile {
    Profile {
        default_action,
        architectures,
        flags: None,
        listener_path: None,
        listener_metadata: None,
        rules,
    }
}

fn arguments(profile: &Profile) -> Vec<[u64; 6]> {
    let conditions = profile.rules.iter().flat_map(|rule| &rule.conditions);
    let near = |c: &Condition| {
        let near = |v: u64| [v, v.wrapping_add(1), v.wrapping_sub(1), v ^ 0x1_0000_0000];
        near(c.value).into_iter().chain(near(c.value_two))
    };
    let values: Vec<u64> = conditions.flat_map(near).chain([0, u64::MAX]).collect();
    (0..values.len() * 2)
        .map(|i| std::array::from_fn(|j| values[(i * 5 + j * (i % 3)) % values.len()]))
        .collect()
}

proptest! {
    #[test]
    fn programs_do_what_the_profile_says(rules in proptest::collection::vec(any_rule(), 0..10)) {
        for (native, arches) in [
            (Arch::X86_64, [(Arch::X86_64, AUDIT_X86_64), (Arch::X86, AUDIT_X86), (Arch::X32, AUDIT_X86_64)]),
            (Arch::Aarch64, [(Arch::Aarch64, AUDIT_AARCH64), (Arch::Arm, AUDIT_ARM), (Arch::Arm, AUDIT_ARM)]),
        ] {
            let listed = arches.iter().map(|(arch, _)| *arch).collect();
            let profile = profile(Action::Errno(13), listed, rules.clone());
            let program = compile(&profile, &KernelSupport::full(native)).unwrap();
            let arguments = arguments(&profile);
            for (arch, audit) in arches {
                for name in NAMES.iter().filter(|name| profile.rules.iter().any(|r| r.names.iter().any(|n| n == *name))) {
                    let Some(nr) = arch.number(name) else { continue };
                    for args in &arguments {
                        let want = matching(&profile, name, arch, args).first().copied().unwrap_or(ret(Action::Errno(13)));
                        let got = run(program.insns(), &Call::new(audit, nr, *args));
                        prop_assert_eq!(got, want, "{} on {:?} with {:x?}", name, arch, args);
                    }
                }
            }
        }
    }

    #[test]
    fn parsers_take_anything(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Profile::parse(&bytes);
        let _ = DockerProfile::parse(&bytes);
        let _ = Program::from_bytes(&bytes);
    }

    #[test]
    fn json_round_trips(rules in proptest::collection::vec(any_rule(), 0..6)) {
        let mut profile = profile(Action::Errno(38), vec![Arch::X86_64, Arch::Arm], rules);
        for condition in profile.rules.iter_mut().flat_map(|rule| &mut rule.conditions) {
            if condition.op != Op::MaskedEq {
                condition.value_two = 0;
            }
        }
        prop_assert_eq!(&Profile::parse(&profile.to_json().unwrap()).unwrap(), &profile);
        let oci = oci_spec::runtime::LinuxSeccomp::try_from(&profile).unwrap();
        prop_assert_eq!(&Profile::try_from(&oci).unwrap(), &profile);
        let through: oci_spec::runtime::LinuxSeccomp =
            serde_json::from_slice(&profile.to_json().unwrap()).unwrap();
        prop_assert_eq!(Profile::try_from(&through).unwrap(), profile);
    }
}

#[test]
fn errors_name_the_position() {
    let cases = [
        (r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#, "defaultAction: `SCMP_ACT_MAYBE`"),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "defaultAction"),
        (r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":65536}"#, "defaultAction"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_Z80"]}"#,
            "architectures[0]: `SCMP_ARCH_Z80`",
        ),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["LOUD"]}"#, "flags[0]: `LOUD`"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG"},
               {"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":1,"op":"SCMP_CMP_ALMOST"}]}]}"#,
            "syscalls[1].args[0].op: `SCMP_CMP_ALMOST`",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG",
               "args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
            "syscalls[0].args[0].index",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["write"],"action":"SCMP_ACT_NOTIFY"}]}"#,
            "syscalls[0]",
        ),
    ];
    for (json, at) in cases {
        let error = Profile::parse(json.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(at), "{error} should name {at}");
    }
    let long = vec![b' '; (1 << 20) + 1];
    assert!(matches!(Profile::parse(&long), Err(Error::TooLong { .. })));
}

#[test]
fn rules_that_contradict_each_other_are_refused() {
    let rule = |action, conditions| Rule { names: vec!["read".to_owned()], action, conditions };
    let condition = Condition { index: 0, op: Op::Eq, value: 1, value_two: 0 };
    let rules = vec![rule(Action::Allow, vec![condition]), rule(Action::Log, vec![condition])];
    let kernel = KernelSupport::full(Arch::X86_64);
    let error = compile(&profile(Action::Errno(1), vec![], rules), &kernel).unwrap_err();
    assert!(matches!(error, Error::Conflict { ref name } if name == "read"), "{error}");
}

#[test]
fn a_long_profile_jumps_far_and_a_longer_one_is_refused() {
    // 4 instructions for each EQ of 64 bits: 700 of them are far beyond an 8-bit jump.
    let rules = |count: u64| {
        let condition = |value| Condition { index: 0, op: Op::Eq, value, value_two: 0 };
        let rule = |value| Rule {
            names: vec!["ioctl".to_owned()],
            action: Action::Allow,
            conditions: vec![condition(value)],
        };
        profile(Action::Errno(1), vec![], (0..count).map(rule).collect())
    };
    let kernel = KernelSupport::full(Arch::X86_64);
    let program = compile(&rules(700), &kernel).unwrap();
    for (value, want) in
        [(0, common::ALLOW), (350, common::ALLOW), (699, common::ALLOW), (700, common::EPERM)]
    {
        assert_eq!(run(program.insns(), &Call::new(AUDIT_X86_64, 16, [value; 6])), want);
    }
    assert!(matches!(compile(&rules(1500), &kernel), Err(Error::TooLarge { .. })));
}

#[test]
fn flags_and_notification() {
    let kernel = KernelSupport::full(Arch::X86_64);
    let compiled = |json: &str| compile(&Profile::parse(json.as_bytes()).unwrap(), &kernel).unwrap();
    let plain = compiled(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
    assert_eq!(plain.flags(), 4, "SPEC_ALLOW where no flags are given");
    assert_eq!(compiled(r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":[]}"#).flags(), 0);
    let killable = r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV","SECCOMP_FILTER_FLAG_LOG"],
        "syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#;
    let notify = compiled(killable);
    assert!(notify.notify());
    assert_eq!(notify.flags(), 2 | 8 | 32);
    assert!(!plain.notify());
}

/// The programs of both defaults for the same container.
fn defaults(caps: &[&str]) -> (Program, Program) {
    let caps: BTreeSet<String> = caps.iter().map(|cap| (*cap).to_owned()).collect();
    let program = |set| {
        let profile = default_profile(&caps, set, Arch::X86_64);
        compile(&profile, &KernelSupport::full(Arch::X86_64)).unwrap()
    };
    (program(ProfileSet::Sampan), program(ProfileSet::Docker))
}

#[test]
fn ours_allows_nothing_that_docker_refuses() {
    let values = [
        0,
        1,
        2,
        8,
        16,
        37,
        38,
        39,
        40,
        41,
        45,
        46,
        0x2_0000,
        0x2_0008,
        0x7e02_0000,
        0x1000_0011,
        0xffff_ffff,
    ];
    let high = values.iter().map(|v| v | 1 << 32);
    let values: Vec<u64> = values.iter().copied().chain(high).chain([u64::MAX]).collect();
    for caps in [&[][..], &["CAP_SYS_ADMIN"], &["CAP_BPF", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]] {
        let (ours, docker) = defaults(caps);
        for arch in [AUDIT_X86_64, AUDIT_X86] {
            for nr in (0..600).flat_map(|nr| [nr, nr | common::X32_BIT]) {
                for value in &values {
                    let call = Call::new(arch, nr, [*value; 6]);
                    let (ours, docker) = (run(ours.insns(), &call), run(docker.insns(), &call));
                    assert!(
                        ours != common::ALLOW || docker == common::ALLOW,
                        "{caps:?} {call:x?}: {docker:#x}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_family_beyond_32_bits_opens_af_alg_under_docker_and_not_under_ours() {
    let (ours, docker) = defaults(&[]);
    let socket = Arch::X86_64.number("socket").unwrap();
    // The kernel's `int family` is 38, AF_ALG.
    let call = Call::new(AUDIT_X86_64, socket, [0x1_0000_0026, 5, 0, 0, 0, 0]);
    assert_eq!(run(ours.insns(), &call), common::EPERM);
    assert_eq!(run(docker.insns(), &call), common::ALLOW, "as in docker; see the table in default.rs");
}
