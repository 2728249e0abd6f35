//! What the integration tests share: a classic BPF interpreter for seccomp programs and a reference evaluator of profiles.
#![allow(dead_code, reason = "each test binary uses a part")]

use seccomp::{Action, Arch, Condition, Insn, Op, Profile};

/// `struct seccomp_data` without the instruction pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) nr: u32,
    pub(crate) arch: u32,
    pub(crate) args: [u64; 6],
}

pub(crate) const AUDIT_X86_64: u32 = 0xc000_003e;
pub(crate) const AUDIT_X86: u32 = 0x4000_0003;
pub(crate) const AUDIT_AARCH64: u32 = 0xc000_00b7;
pub(crate) const AUDIT_ARM: u32 = 0x4000_0028;
pub(crate) const X32_BIT: u32 = 0x4000_0000;

pub(crate) const KILL: u32 = 0;
pub(crate) const ALLOW: u32 = 0x7fff_0000;
pub(crate) const EPERM: u32 = 0x0005_0001;
pub(crate) const ENOSYS: u32 = 0x0005_0026;

impl Call {
    pub(crate) fn new(arch: u32, nr: u32, args: [u64; 6]) -> Self {
        Self { nr, arch, args }
    }

    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            16..64 => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
            }
            _ => panic!("load of seccomp_data[{offset}]"),
        }
    }
}

/// Runs a program as the kernel would; every instruction that seccomp allows and compilers of filters use.
pub(crate) fn run(program: &[Insn], call: &Call) -> u32 {
    let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; 16]);
    let mut pc = 0;
    loop {
        let insn = program[pc];
        pc += 1;
        let k = insn.k;
        let mut jump = |taken: bool| pc += usize::from(if taken { insn.jt } else { insn.jf });
        match insn.code {
            0x20 => a = call.word(k),
            0x00 => a = k,
            0x01 => x = k,
            0x60 => a = memory[k as usize],
            0x61 => x = memory[k as usize],
            0x02 => memory[k as usize] = a,
            0x03 => memory[k as usize] = x,
            0x54 => a &= k,
            0x07 => x = a,
            0x87 => a = x,
            0x05 => pc += k as usize,
            0x15 => jump(a == k),
            0x25 => jump(a > k),
            0x35 => jump(a >= k),
            0x45 => jump(a & k != 0),
            0x06 => return k,
            0x16 => return a,
            other => panic!("instruction {other:#x} at {}", pc - 1),
        }
    }
}

pub(crate) fn ret(action: Action) -> u32 {
    let (name, code) = action.oci();
    let base = match name {
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000,
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        other => panic!("{other}"),
    };
    base | code.unwrap_or(0)
}

pub(crate) fn holds(condition: &Condition, arg: u64, narrow: bool) -> bool {
    let width = if narrow { 0xffff_ffff } else { u64::MAX };
    let (arg, value) = (arg & width, condition.value & width);
    match condition.op {
        Op::Ne => arg != value,
        Op::Lt => arg < value,
        Op::Le => arg <= value,
        Op::Eq => arg == value,
        Op::Ge => arg >= value,
        Op::Gt => arg > value,
        Op::MaskedEq => arg & value == condition.value_two & value,
    }
}

/// Every return value that a matching rule of `name` asks for, by reading the profile; empty when none matches.
pub(crate) fn matching(profile: &Profile, name: &str, arch: Arch, args: &[u64; 6]) -> Vec<u32> {
    let narrow = matches!(arch, Arch::X86 | Arch::X32 | Arch::Arm);
    let mut found = Vec::new();
    for rule in &profile.rules {
        if rule.action == profile.default_action || !rule.names.iter().any(|n| n == name) {
            continue;
        }
        let of = |c: &Condition| holds(c, args[usize::from(c.index)], narrow);
        let mut indexes: Vec<_> = rule.conditions.iter().map(|c| c.index).collect();
        indexes.sort_unstable();
        let twice = indexes.windows(2).any(|w| w[0] == w[1]);
        let unconditional = rule.conditions.is_empty();
        if unconditional {
            return vec![ret(rule.action)];
        }
        let matches = if twice { rule.conditions.iter().any(of) } else { rule.conditions.iter().all(of) };
        if matches {
            found.push(ret(rule.action));
        }
    }
    // A rule without conditions later in the list wins all the same.
    found
}
