//! To and from `oci-spec`'s types, which the runtime's configuration is read with.

use oci_spec::runtime as oci;

use crate::profile::{Action, Condition, Flags, Op, Profile, Rule};
use crate::{Arch, Error};

const ACTIONS: [(oci::LinuxSeccompAction, &str); 9] = [
    (oci::LinuxSeccompAction::ScmpActKill, "SCMP_ACT_KILL"),
    (oci::LinuxSeccompAction::ScmpActKillThread, "SCMP_ACT_KILL_THREAD"),
    (oci::LinuxSeccompAction::ScmpActKillProcess, "SCMP_ACT_KILL_PROCESS"),
    (oci::LinuxSeccompAction::ScmpActTrap, "SCMP_ACT_TRAP"),
    (oci::LinuxSeccompAction::ScmpActErrno, "SCMP_ACT_ERRNO"),
    (oci::LinuxSeccompAction::ScmpActNotify, "SCMP_ACT_NOTIFY"),
    (oci::LinuxSeccompAction::ScmpActTrace, "SCMP_ACT_TRACE"),
    (oci::LinuxSeccompAction::ScmpActLog, "SCMP_ACT_LOG"),
    (oci::LinuxSeccompAction::ScmpActAllow, "SCMP_ACT_ALLOW"),
];

const OPS: [(oci::LinuxSeccompOperator, Op); 7] = [
    (oci::LinuxSeccompOperator::ScmpCmpNe, Op::Ne),
    (oci::LinuxSeccompOperator::ScmpCmpLt, Op::Lt),
    (oci::LinuxSeccompOperator::ScmpCmpLe, Op::Le),
    (oci::LinuxSeccompOperator::ScmpCmpEq, Op::Eq),
    (oci::LinuxSeccompOperator::ScmpCmpGe, Op::Ge),
    (oci::LinuxSeccompOperator::ScmpCmpGt, Op::Gt),
    (oci::LinuxSeccompOperator::ScmpCmpMaskedEq, Op::MaskedEq),
];

const FLAGS: [(oci::LinuxSeccompFilterFlag, &str); 4] = [
    (oci::LinuxSeccompFilterFlag::SeccompFilterFlagLog, "SECCOMP_FILTER_FLAG_LOG"),
    (oci::LinuxSeccompFilterFlag::SeccompFilterFlagTsync, "SECCOMP_FILTER_FLAG_TSYNC"),
    (oci::LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
    (
        oci::LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv,
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ),
];

const ARCHES: [(oci::Arch, Arch); 20] = [
    (oci::Arch::ScmpArchX86, Arch::X86),
    (oci::Arch::ScmpArchX86_64, Arch::X86_64),
    (oci::Arch::ScmpArchX32, Arch::X32),
    (oci::Arch::ScmpArchArm, Arch::Arm),
    (oci::Arch::ScmpArchAarch64, Arch::Aarch64),
    (oci::Arch::ScmpArchMips, Arch::Mips),
    (oci::Arch::ScmpArchMips64, Arch::Mips64),
    (oci::Arch::ScmpArchMips64n32, Arch::Mips64n32),
    (oci::Arch::ScmpArchMipsel, Arch::Mipsel),
    (oci::Arch::ScmpArchMipsel64, Arch::Mipsel64),
    (oci::Arch::ScmpArchMipsel64n32, Arch::Mipsel64n32),
    (oci::Arch::ScmpArchPpc, Arch::Ppc),
    (oci::Arch::ScmpArchPpc64, Arch::Ppc64),
    (oci::Arch::ScmpArchPpc64le, Arch::Ppc64le),
    (oci::Arch::ScmpArchRiscv64, Arch::Riscv64),
    (oci::Arch::ScmpArchS390, Arch::S390),
    (oci::Arch::ScmpArchS390x, Arch::S390x),
    (oci::Arch::ScmpArchParisc, Arch::Parisc),
    (oci::Arch::ScmpArchParisc64, Arch::Parisc64),
    (oci::Arch::ScmpArchLoongarch64, Arch::Loongarch64),
];

/// The right of the pair whose left is `left`.
fn forth<A: PartialEq, B: Copy>(pairs: &[(A, B)], left: &A) -> Option<B> {
    pairs.iter().find(|(a, _)| a == left).map(|(_, b)| *b)
}

/// The left of the pair whose right is `right`.
fn back<A: Clone, B: PartialEq>(pairs: &[(A, B)], right: &B) -> Option<A> {
    pairs.iter().find(|(_, b)| b == right).map(|(a, _)| a.clone())
}

impl TryFrom<&oci::LinuxSeccomp> for Profile {
    type Error = Error;

    /// The typed profile of a parsed configuration.
    fn try_from(from: &oci::LinuxSeccomp) -> Result<Self, Error> {
        let unknown = |at: &str, what, value: String| Error::Unknown { at: at.to_owned(), what, value };
        let action = |action: oci::LinuxSeccompAction, code, at: &str| {
            Action::from_oci(forth(&ACTIONS, &action).unwrap_or_default(), code, at)
        };
        let mut architectures = Vec::new();
        for arch in from.architectures().iter().flatten() {
            match (arch, Arch::NATIVE) {
                (oci::Arch::ScmpArchNative, Some(native)) => architectures.push(native),
                _ => architectures.push(
                    forth(&ARCHES, arch)
                        .ok_or_else(|| unknown("architectures", "architecture", format!("{arch:?}")))?,
                ),
            }
        }
        let mut rules = Vec::new();
        for (i, call) in from.syscalls().iter().flatten().enumerate() {
            let mut conditions = Vec::new();
            for arg in call.args().iter().flatten() {
                let op = forth(&OPS, &arg.op())
                    .ok_or_else(|| unknown("syscalls[].args[].op", "operator", format!("{:?}", arg.op())))?;
                let index = u8::try_from(arg.index()).unwrap_or(u8::MAX);
                let value_two = arg.value_two().unwrap_or(0);
                conditions.push(Condition { index, op, value: arg.value(), value_two });
            }
            let action = action(call.action(), call.errno_ret(), &format!("syscalls[{i}].action"))?;
            rules.push(Rule { names: call.names().clone(), action, conditions });
        }
        let flags = from.flags().as_ref().map(|list| {
            let mut flags = Flags::default();
            for flag in list {
                flags.add(forth(&FLAGS, flag).unwrap_or_default());
            }
            flags
        });
        let profile = Profile {
            default_action: action(from.default_action(), from.default_errno_ret(), "defaultAction")?,
            architectures,
            flags,
            listener_path: from.listener_path().as_ref().map(|path| path.to_string_lossy().into_owned()),
            listener_metadata: from.listener_metadata().clone(),
            rules,
        };
        profile.check()?;
        Ok(profile)
    }
}

impl TryFrom<&Profile> for oci::LinuxSeccomp {
    type Error = Error;

    /// The configuration's form of this profile.
    fn try_from(from: &Profile) -> Result<Self, Error> {
        let mut to = oci::LinuxSeccomp::default();
        let (default_action, default_errno_ret) = action(from.default_action)?;
        to.set_default_action(default_action);
        to.set_default_errno_ret(default_errno_ret);
        to.set_architectures(Some(
            from.architectures.iter().filter_map(|arch| back(&ARCHES, arch)).collect(),
        ));
        to.set_flags(from.flags.map(|flags| flags.names().filter_map(|name| back(&FLAGS, &name)).collect()));
        to.set_listener_path(from.listener_path.as_ref().map(Into::into));
        to.set_listener_metadata(from.listener_metadata.clone());
        let mut calls = Vec::with_capacity(from.rules.len());
        for rule in &from.rules {
            let mut call = oci::LinuxSyscall::default();
            let (name, errno_ret) = action(rule.action)?;
            call.set_names(rule.names.clone());
            call.set_action(name);
            call.set_errno_ret(errno_ret);
            let args = rule.conditions.iter().map(argument).collect::<Result<Vec<_>, _>>()?;
            call.set_args((!args.is_empty()).then_some(args));
            calls.push(call);
        }
        to.set_syscalls(Some(calls));
        Ok(to)
    }
}

fn action(action: Action) -> Result<(oci::LinuxSeccompAction, Option<u32>), Error> {
    let (name, code) = action.oci();
    let action = back(&ACTIONS, &name).ok_or_else(|| Error::value("action", format!("{name} is unknown")))?;
    Ok((action, code))
}

fn argument(condition: &Condition) -> Result<oci::LinuxSeccompArg, Error> {
    let op = back(&OPS, &condition.op).ok_or_else(|| Error::value("args", "the operator is unknown"))?;
    let builder = oci::LinuxSeccompArgBuilder::default()
        .index(usize::from(condition.index))
        .value(condition.value)
        .op(op);
    let builder = match condition.op {
        Op::MaskedEq => builder.value_two(condition.value_two),
        _ => builder,
    };
    builder.build().map_err(|error| Error::value("args", error.to_string()))
}
