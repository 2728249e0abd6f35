//! The device filter: a list of rules, as lines of v1 or as an eBPF program of v2.

use linux::bpf::{Insn, Program};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which special files a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// Block and character devices.
    All,
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// What may be done with a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Open for reading.
    pub read: bool,
    /// Open for writing.
    pub write: bool,
    /// Make a node of it.
    pub mknod: bool,
}

/// One rule; of several the last that fits decides, and what none fits is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// Which files.
    pub kind: DeviceKind,
    /// Major number; `None` is any.
    pub major: Option<u32>,
    /// Minor number; `None` is any.
    pub minor: Option<u32>,
    /// What it allows or denies.
    pub access: Access,
}

impl Access {
    /// Everything.
    pub const ALL: Access = Access { read: true, write: true, mknod: true };

    /// `BPF_DEVCG_ACC_*` of `linux/bpf.h`.
    fn bits(self) -> i32 {
        i32::from(self.mknod) | i32::from(self.read) << 1 | i32::from(self.write) << 2
    }

    fn with(self, other: Access) -> Access {
        Access {
            read: self.read || other.read,
            write: self.write || other.write,
            mknod: self.mknod || other.mknod,
        }
    }

    fn without(self, other: Access) -> Access {
        Access {
            read: self.read && !other.read,
            write: self.write && !other.write,
            mknod: self.mknod && !other.mknod,
        }
    }
}

impl DeviceRule {
    /// The rule that a list usually begins with.
    pub const DENY_ALL: DeviceRule =
        DeviceRule { allow: false, kind: DeviceKind::All, major: None, minor: None, access: Access::ALL };

    /// Whether it speaks of every device and every access: the only thing that `a` means to the v1 controller.
    fn is_everything(&self) -> bool {
        self.kind == DeviceKind::All
            && self.major.is_none()
            && self.minor.is_none()
            && self.access == Access::ALL
    }

    /// The same rule for one kind of device at a time.
    fn by_kind(self) -> impl Iterator<Item = DeviceRule> {
        [DeviceKind::Block, DeviceKind::Char]
            .into_iter()
            .filter(move |kind| self.kind == DeviceKind::All || self.kind == *kind)
            .map(move |kind| DeviceRule { kind, ..self })
    }

    /// The line of one kind of device on v1 (`c 1:3 rwm`).
    fn v1_line(&self) -> String {
        let kind = match self.kind {
            DeviceKind::All => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        let number = |number: Option<u32>| number.map_or("*".into(), |number| number.to_string());
        let letters = [(self.access.read, "r"), (self.access.write, "w"), (self.access.mknod, "m")];
        let access: String = letters.into_iter().filter(|(on, _)| *on).map(|(_, letter)| letter).collect();
        format!("{kind} {}:{} {access}", number(self.major), number(self.minor))
    }

    /// Whether its numbers include all of the other's.
    fn covers(&self, other: &DeviceRule) -> bool {
        (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }

    /// Whether a device can have the numbers of both.
    fn meets(&self, other: &DeviceRule) -> bool {
        let meet = |one: Option<u32>, two: Option<u32>| one.is_none() || two.is_none() || one == two;
        meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}

/// What the v1 controller holds: a default, and exceptions from it.
#[derive(Default)]
struct V1State {
    allow: bool,
    exceptions: Vec<DeviceRule>,
}

impl V1State {
    /// The state after a list of rules. The kernel takes an exception back only by the very numbers it was made with
    /// and ignores every other attempt (`dev_exception_rm`), so that a denial would silently be none: a rule that
    /// covers exceptions takes back each of them, and one that would cut a part out of one is refused.
    fn of(rules: &[DeviceRule]) -> Result<Self> {
        let mut state = V1State::default();
        for rule in rules {
            if rule.is_everything() {
                state = V1State { allow: rule.allow, exceptions: Vec::new() };
                continue;
            }
            for rule in rule.by_kind() {
                if rule.allow == state.allow { state.take_back(&rule)? } else { state.except(rule) }
            }
        }
        Ok(state)
    }

    fn except(&mut self, rule: DeviceRule) {
        let same = |other: &&mut DeviceRule| {
            (other.kind, other.major, other.minor) == (rule.kind, rule.major, rule.minor)
        };
        match self.exceptions.iter_mut().find(same) {
            Some(other) => other.access = other.access.with(rule.access),
            None if rule.access == Access::default() => {}
            None => self.exceptions.push(rule),
        }
    }

    fn take_back(&mut self, rule: &DeviceRule) -> Result<()> {
        for other in &mut self.exceptions {
            let common = other.access.bits() & rule.access.bits() != 0;
            if other.kind != rule.kind || !common || !rule.meets(other) {
                continue;
            }
            if !rule.covers(other) {
                let value = rule.v1_line();
                let reason = "cgroup v1 cannot cut a part out of a wider rule before it";
                return Err(Error::Value { limit: "resources.devices", value, reason });
            }
            other.access = other.access.without(rule.access);
        }
        self.exceptions.retain(|other| other.access != Access::default());
        Ok(())
    }
}

/// The files and lines that put a list of rules in force on v1, beginning with the default: what was in force before
/// is gone.
pub(crate) fn v1_lines(rules: &[DeviceRule]) -> Result<Vec<(&'static str, String)>> {
    let state = V1State::of(rules)?;
    let (default, exception) = match state.allow {
        true => ("devices.allow", "devices.deny"),
        false => ("devices.deny", "devices.allow"),
    };
    let exceptions = state.exceptions.iter().map(|rule| (exception, rule.v1_line()));
    Ok(std::iter::once((default, "a".into())).chain(exceptions).collect())
}

/// Offsets in `struct bpf_cgroup_dev_ctx`.
const CTX_ACCESS_TYPE: i16 = 0;
const CTX_MAJOR: i16 = 4;
const CTX_MINOR: i16 = 8;

/// The `BPF_PROG_TYPE_CGROUP_DEVICE` program of a list of rules: the last rule is asked first, and what none fits is
/// denied. Registers: r2 type, r3 access, r4 major, r5 minor.
pub(crate) fn program(rules: &[DeviceRule]) -> Program {
    let mut code = vec![
        Insn::load_word(2, 1, CTX_ACCESS_TYPE),
        Insn::and_imm(2, 0xffff),
        Insn::load_word(3, 1, CTX_ACCESS_TYPE),
        Insn::shift_right_imm(3, 16),
        Insn::load_word(4, 1, CTX_MAJOR),
        Insn::load_word(5, 1, CTX_MINOR),
    ];
    for rule in rules.iter().rev() {
        let tests = rule_tests(rule);
        // A failed test jumps over the other tests and over the two instructions of the verdict.
        let length = tests.iter().map(Vec::len).sum::<usize>() + 2;
        let mut at = 0;
        for test in tests {
            for insn in test {
                at += 1;
                code.push(if insn.is_jump() { insn.with_offset((length - at) as i16) } else { insn });
            }
        }
        code.extend([Insn::move_imm(0, i32::from(rule.allow)), Insn::exit()]);
        if length == 2 {
            // This rule fits everything, and the verifier refuses code that is never reached.
            return Program::new(code);
        }
    }
    code.extend([Insn::move_imm(0, 0), Insn::exit()]);
    Program::new(code)
}

/// The tests of one rule; each ends with a jump that is taken when the rule does not fit.
fn rule_tests(rule: &DeviceRule) -> Vec<Vec<Insn>> {
    let mut tests = Vec::new();
    // BPF_DEVCG_DEV_BLOCK is 1, BPF_DEVCG_DEV_CHAR is 2.
    match rule.kind {
        DeviceKind::All => {}
        DeviceKind::Block => tests.push(vec![Insn::jump_ne_imm(2, 1)]),
        DeviceKind::Char => tests.push(vec![Insn::jump_ne_imm(2, 2)]),
    }
    if rule.access != Access::ALL {
        let masked = [Insn::move_reg(1, 3), Insn::and_imm(1, rule.access.bits())];
        // An allowance fits what lies within it, a denial whatever touches it.
        let jump = if rule.allow { Insn::jump_ne_reg(1, 3) } else { Insn::jump_eq_imm(1, 0) };
        tests.push(masked.into_iter().chain([jump]).collect());
    }
    tests.extend(rule.major.map(|major| vec![Insn::jump_ne_imm(4, major as i32)]));
    tests.extend(rule.minor.map(|minor| vec![Insn::jump_ne_imm(5, minor as i32)]));
    tests
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the rules mean, straight from their definition.
    fn reference(rules: &[DeviceRule], block: bool, access: i32, major: u32, minor: u32) -> bool {
        let fits = |rule: &&DeviceRule| {
            let kind = match rule.kind {
                DeviceKind::All => true,
                DeviceKind::Block => block,
                DeviceKind::Char => !block,
            };
            let within = if rule.allow {
                access & rule.access.bits() == access
            } else {
                access & rule.access.bits() != 0
            };
            kind && within && rule.major.is_none_or(|m| m == major) && rule.minor.is_none_or(|m| m == minor)
        };
        rules.iter().rev().find(fits).is_some_and(|rule| rule.allow)
    }

    fn rule() -> impl Strategy<Value = DeviceRule> {
        let kind = prop_oneof![Just(DeviceKind::All), Just(DeviceKind::Block), Just(DeviceKind::Char)];
        let number = || prop_oneof![Just(None), (0u32..4).prop_map(Some)];
        (any::<bool>(), kind, number(), number(), 1u8..8).prop_map(|(allow, kind, major, minor, bits)| {
            let access = Access { mknod: bits & 1 != 0, read: bits & 2 != 0, write: bits & 4 != 0 };
            DeviceRule { allow, kind, major, minor, access }
        })
    }

    proptest! {
        #[test]
        fn the_program_says_what_the_rules_say(rules in prop::collection::vec(rule(), 0..8), block: bool,
                                               access in 1i32..8, major in 0u32..4, minor in 0u32..4) {
            let kind = if block { 1u32 } else { 2 };
            let context = [kind | (access as u32) << 16, major, minor];
            let verdict = program(&rules).interpret(&context);
            prop_assert_eq!(verdict, Some(u64::from(reference(&rules, block, access, major, minor))));
        }

        #[test]
        fn v1_says_what_the_rules_say(rules in prop::collection::vec(rule(), 0..8), block: bool,
                                      bit in 0u8..3, major in 0u32..4, minor in 0u32..4) {
            let access = 1 << bit;
            if let Ok(state) = V1State::of(&rules) {
                let kind = if block { DeviceKind::Block } else { DeviceKind::Char };
                let device = DeviceRule { kind, major: Some(major), minor: Some(minor), ..DeviceRule::DENY_ALL };
                let excepted = state.exceptions.iter().any(|rule| {
                    rule.kind == kind && rule.covers(&device) && rule.access.bits() & access != 0
                });
                prop_assert_eq!(state.allow != excepted, reference(&rules, block, access, major, minor));
            }
        }
    }

    fn shown(rules: &[DeviceRule]) -> Vec<String> {
        let lines = super::v1_lines(rules).unwrap();
        lines.into_iter().map(|(file, line)| format!("{file} {line}")).collect()
    }

    #[test]
    fn v1_lines() {
        let null = DeviceRule {
            allow: true,
            kind: DeviceKind::Char,
            major: Some(1),
            minor: Some(3),
            access: Access::ALL,
        };
        let mknod = Access { mknod: true, ..Default::default() };
        let read = Access { read: true, ..Default::default() };
        let all = DeviceRule { allow: true, ..DeviceRule::DENY_ALL };
        assert_eq!(shown(&[all]), ["devices.allow a"]);
        assert_eq!(shown(&[null]), ["devices.deny a", "devices.allow c 1:3 rwm"]);
        let any = DeviceRule { minor: None, access: mknod, kind: DeviceKind::Block, ..null };
        assert_eq!(shown(&[DeviceRule::DENY_ALL, any]), ["devices.deny a", "devices.allow b 1:* m"]);
        // `a` with less than every access is not the `a` of the kernel.
        assert_eq!(
            shown(&[DeviceRule { access: read, ..all }]),
            ["devices.deny a", "devices.allow b *:* r", "devices.allow c *:* r"]
        );
        // A wider denial takes back what it covers.
        let deny = DeviceRule { allow: false, minor: None, ..null };
        assert_eq!(shown(&[null, deny]), ["devices.deny a"]);
        assert_eq!(
            shown(&[null, DeviceRule { access: mknod, ..deny }]),
            ["devices.deny a", "devices.allow c 1:3 rw"]
        );
        // A narrower one would be ignored by the kernel.
        let wide = DeviceRule { allow: true, ..deny };
        let error = super::v1_lines(&[wide, DeviceRule { allow: false, ..null }]).unwrap_err();
        assert!(error.to_string().contains("c 1:3 rwm"), "{error}");
        assert_eq!(
            shown(&[all, DeviceRule { allow: false, ..null }]),
            ["devices.allow a", "devices.deny c 1:3 rwm"]
        );
    }
}
