//! The compiler: a profile to one classic BPF program.
//!
//! The program looks at the architecture, searches the system call number by halves over the runs of numbers that are treated
//! alike, and only for calls with conditions looks at arguments. The meaning is libseccomp's as runc drives it:
//!
//! - rules whose action is the default action are dropped; names that an architecture lacks are dropped there;
//! - the first rule without conditions wins over every rule with conditions of the same call;
//! - rules with conditions are tried in libseccomp's order ([`Compiled::before`]), the first that holds decides;
//! - conditions of one rule on the same argument are alternatives;
//! - 32-bit ABIs, x32 among them, compare the low halves of the arguments;
//! - on x86 a rule of a socket or System V IPC call also applies to socketcall(2) and ipc(2) with that sub-call. Its
//!   condition on the first argument is lost there, because socketcall's arguments are in memory, which no filter sees;
//! - an architecture that is not listed kills the thread;
//! - where the default action refuses, a number above every number that the profile names fails with ENOSYS (runc's
//!   `patchbpf`), so that a libc that tries a newer call falls back.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use linux::seccomp as sys;

use crate::arch::X32_BIT;
use crate::emit::{Assembler, JEQ, JGE, JGT, JSET, Label};
use crate::profile::{Condition, Flags, Op, Profile, Rule};
use crate::{Arch, Error, KernelSupport, Program};

/// Changes whenever the same profile may compile to a program of another meaning; part of the cache's keys.
pub const COMPILER_VERSION: u32 = 1;

/// `SECCOMP_RET_ERRNO` with ENOSYS.
const RET_ENOSYS: u32 = 0x0005_0026;
/// What libseccomp answers to an architecture that the filter does not list: kill the thread.
const RET_BAD_ARCH: u32 = 0;
/// Offsets in `struct seccomp_data`.
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

/// A condition after the ABI's width has been taken into account: values are masked, tautologies are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Test {
    index: u8,
    op: Op,
    mask: u64,
    datum: u64,
}

impl Test {
    /// `None` where every argument passes (a mask of nothing).
    fn new(condition: &Condition, narrow: bool) -> Option<Self> {
        let width = if narrow { 0xffff_ffff } else { u64::MAX };
        let (mask, datum) = match condition.op {
            Op::MaskedEq => (condition.value & width, condition.value_two),
            _ => (width, condition.value),
        };
        let test = Self { index: condition.index, op: condition.op, mask, datum: datum & mask };
        (mask != 0).then_some(test)
    }

    /// libseccomp's `__db_chain_op_priority`.
    fn class(&self) -> u8 {
        match self.op {
            Op::MaskedEq | Op::Eq | Op::Ne => 3,
            Op::Le | Op::Lt => 2,
            Op::Ge | Op::Gt => 1,
        }
    }

    /// libseccomp's order of nodes on one level of its tree: higher arguments first, equalities before inequalities, larger
    /// values first but for `<` and `<=`. Ties keep the order of the rules.
    fn before(&self, other: &Test) -> Ordering {
        let by_value = match self.class() {
            2 => self.datum.cmp(&other.datum),
            _ => other.datum.cmp(&self.datum),
        };
        other.index.cmp(&self.index).then(other.class().cmp(&self.class())).then(by_value)
    }
}

/// What to do when all tests hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Compiled {
    tests: Vec<Test>,
    ret: u32,
}

impl Compiled {
    /// The order in which rules of one call are tried; a rule goes before the rules that it is a beginning of.
    fn before(&self, other: &Compiled) -> Ordering {
        let pairs = self.tests.iter().zip(&other.tests);
        let mut unequal = pairs.map(|(a, b)| if a == b { Ordering::Equal } else { a.before(b) });
        unequal.find(|order| order.is_ne()).unwrap_or_else(|| self.tests.len().cmp(&other.tests.len()))
    }
}

/// What happens to one number, or to a run of numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Verdict {
    Return(u32),
    /// The first rule that holds, or the return value at the end.
    Rules(Vec<Compiled>, u32),
}

/// The rules of one call while they are collected.
#[derive(Default)]
struct Call<'a> {
    name: &'a str,
    multiplexer: bool,
    always: Option<u32>,
    rules: Vec<Compiled>,
}

impl Call<'_> {
    fn add(&mut self, conditions: &[Condition], ret: u32, narrow: bool) -> Result<(), Error> {
        let mut tests: Vec<Test> = conditions.iter().filter_map(|c| Test::new(c, narrow)).collect();
        tests.sort_by_key(|test| test.index);
        if tests.is_empty() {
            self.always.get_or_insert(ret);
            return Ok(());
        }
        if let Some(same) = self.rules.iter().find(|rule| rule.tests == tests) {
            // Once a call has a rule without conditions, the others do not count. Rules that only losing a condition to a
            // multiplexer made the same are not the profile's mistake: the first of them stays.
            if same.ret != ret && self.always.is_none() && !self.multiplexer {
                return Err(Error::Conflict { name: self.name.to_owned() });
            }
            return Ok(());
        }
        self.rules.push(Compiled { tests, ret });
        Ok(())
    }

    fn verdict(mut self, default: u32) -> Verdict {
        if let Some(ret) = self.always {
            return Verdict::Return(ret);
        }
        self.rules.sort_by(Compiled::before);
        Verdict::Rules(self.rules, default)
    }
}

/// The conditions of a rule as libseccomp gets them from runc: where two are on the same argument, each is a rule of its own.
fn alternatives(rule: &Rule) -> Vec<Vec<Condition>> {
    let mut seen = [false; 256];
    let twice = rule.conditions.iter().any(|c| std::mem::replace(&mut seen[usize::from(c.index)], true));
    match twice {
        true => rule.conditions.iter().map(|condition| vec![*condition]).collect(),
        false => vec![rule.conditions.clone()],
    }
}

/// Runs of numbers that are treated alike.
#[derive(Default)]
struct Runs {
    /// First number and what happens from there on, rising.
    list: Vec<(u32, Verdict)>,
    /// Whether the last run is that of numbers newer than the profile.
    newer: bool,
}

impl Runs {
    /// From `start` on this happens; what was said of `start` before no longer holds.
    fn push(&mut self, start: u32, verdict: Verdict) {
        if self.list.last().is_some_and(|(last, _)| *last == start) {
            self.list.pop();
        }
        if self.list.last().is_none_or(|(_, last)| *last != verdict) {
            self.list.push((start, verdict));
        }
    }
}

/// Collects the rules of every call of one architecture, and the largest number that the profile names.
fn calls<'a>(profile: &'a Profile, arch: Arch) -> Result<(BTreeMap<u32, Call<'a>>, Option<u32>), Error> {
    let mut calls: BTreeMap<u32, Call> = BTreeMap::new();
    let mut newest = None;
    for rule in &profile.rules {
        let alternatives = alternatives(rule);
        for name in &rule.names {
            let number = arch.number(name);
            let multiplexed = arch.multiplexed(name);
            newest = newest.max(number).max(multiplexed.map(|(multiplexer, _)| multiplexer));
            if rule.action == profile.default_action {
                continue;
            }
            for conditions in &alternatives {
                let ret = rule.action.ret();
                if let Some((multiplexer, subcall)) = multiplexed {
                    let first = Condition { index: 0, op: Op::Eq, value: subcall.into(), value_two: 0 };
                    let others = conditions.iter().filter(|c| c.index != 0).copied();
                    let conditions: Vec<_> = others.chain([first]).collect();
                    let call = calls.entry(multiplexer).or_default();
                    (call.name, call.multiplexer) = (name, true);
                    call.add(&conditions, ret, arch.narrow())?;
                }
                if let Some(number) = number {
                    let call = calls.entry(number).or_default();
                    call.name = name;
                    call.add(conditions, ret, arch.narrow())?;
                }
            }
        }
    }
    Ok((calls, newest))
}

fn runs(profile: &Profile, arch: Arch) -> Result<Runs, Error> {
    let default = profile.default_action.ret();
    let (calls, newest) = calls(profile, arch)?;
    let mut runs = Runs::default();
    runs.push(if arch == Arch::X32 { X32_BIT } else { 0 }, Verdict::Return(default));
    for (number, call) in calls {
        runs.push(number, call.verdict(default));
        runs.push(number + 1, Verdict::Return(default));
    }
    // runc takes a largest number of 0 for `none found`.
    if let Some(newest) = newest.filter(|newest| *newest != 0 && !profile.default_action.permits()) {
        runs.push(newest + 1, Verdict::Return(RET_ENOSYS));
        runs.newer = true;
    }
    Ok(runs)
}

/// The assembler with the blocks of rules that were already written.
#[derive(Default)]
struct Writer {
    asm: Assembler,
    blocks: HashMap<Verdict, Label>,
}

impl Writer {
    /// `if the test holds goto yes else goto no`. 64-bit values are compared by halves; memory is little-endian on every
    /// machine with a table.
    fn test(&mut self, test: &Test, yes: Label, no: Label, narrow: bool) -> Label {
        let low_offset = OFFSET_ARGS + 8 * u32::from(test.index);
        let high_offset = low_offset + 4;
        let (low, high) = halves(test.datum);
        let compare = match test.op {
            Op::Eq | Op::MaskedEq => return self.equal(test, yes, no),
            Op::Ne => return self.equal(test, no, yes),
            Op::Gt | Op::Le => JGT,
            Op::Ge | Op::Lt => JGE,
        };
        let (yes, no) = if matches!(test.op, Op::Lt | Op::Le) { (no, yes) } else { (yes, no) };
        let asm = &mut self.asm;
        let label = asm.branch(compare, low, yes, no);
        let label = asm.load(low_offset, label);
        if narrow {
            return label;
        }
        let label = asm.branch(JEQ, high, label, no);
        let label = asm.branch(JGT, high, yes, label);
        asm.load(high_offset, label)
    }

    /// `if argument & mask == datum goto yes else goto no`; a half with an empty mask is not looked at.
    fn equal(&mut self, test: &Test, yes: Label, no: Label) -> Label {
        let offset = OFFSET_ARGS + 8 * u32::from(test.index);
        let ((low, high), (low_mask, high_mask)) = (halves(test.datum), halves(test.mask));
        let mut next = yes;
        for (offset, datum, mask) in [(offset, low, low_mask), (offset + 4, high, high_mask)] {
            if mask == 0 {
                continue;
            }
            next = self.asm.branch(JEQ, datum, next, no);
            if mask != u32::MAX {
                next = self.asm.and(mask, next);
            }
            next = self.asm.load(offset, next);
        }
        next
    }

    /// The place that carries out a verdict.
    fn verdict(&mut self, verdict: &Verdict, narrow: bool) -> Label {
        let (rules, default) = match verdict {
            Verdict::Return(value) => return self.asm.ret(*value),
            Verdict::Rules(rules, default) => (rules, *default),
        };
        if let Some(label) = self.blocks.get(verdict) {
            return *label;
        }
        let mut otherwise = self.asm.ret(default);
        for rule in rules.iter().rev() {
            let mut next = self.asm.ret(rule.ret);
            for test in rule.tests.iter().rev() {
                next = self.test(test, next, otherwise, narrow);
            }
            otherwise = next;
        }
        self.blocks.insert(verdict.clone(), otherwise);
        otherwise
    }

    /// The search over runs, with the number in the accumulator.
    fn search(&mut self, runs: &[(u32, Verdict)], narrow: bool) -> Label {
        match runs {
            [] => self.asm.ret(RET_BAD_ARCH),
            [(_, verdict)] => self.verdict(verdict, narrow),
            _ => {
                let (left, right) = runs.split_at(runs.len() / 2);
                let start = right[0].0;
                let right = self.search(right, narrow);
                let left = self.search(left, narrow);
                self.asm.branch(JGE, start, right, left)
            }
        }
    }

    /// x86_64's search, and x32's where it is listed: they share an architecture and differ in a bit of the number.
    fn x86_64(&mut self, profile: &Profile, x32: bool) -> Result<Label, Error> {
        let default = profile.default_action;
        if x32 {
            let x32 = self.search(&runs(profile, Arch::X32)?.list, true);
            let x86_64 = self.search(&runs(profile, Arch::X86_64)?.list, false);
            return Ok(self.asm.branch(JGE, X32_BIT, x32, x86_64));
        }
        let bad = self.asm.ret(RET_BAD_ARCH);
        // A tracer skips a call by setting its number to -1, which must not kill (Linux 4.8 filters again after tracing).
        let skipped = self.asm.ret(default.ret());
        let x32 = self.asm.branch(JEQ, u32::MAX, skipped, bad);
        let runs = runs(profile, Arch::X86_64)?;
        let x86_64 = self.search(&runs.list, false);
        // Numbers past x32's bit without it are `newer than all`, where that is told apart.
        let code = if runs.newer { JSET } else { JGE };
        Ok(self.asm.branch(code, X32_BIT, x32, x86_64))
    }
}

/// The low and high 32 bits.
fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}

/// The filter flags to load with: the profile's, or runc's default of SPEC_ALLOW where the kernel has it.
fn flags(profile: &Profile, kernel: &KernelSupport) -> Result<u32, Error> {
    let mut flags = match profile.flags {
        None => sys::FLAG_SPEC_ALLOW & kernel.flags,
        Some(flags) => flags.0,
    };
    if profile.notifies() {
        flags |= sys::FLAG_NEW_LISTENER;
    } else {
        // It is about notifications, and the kernel refuses it without a listener.
        flags &= !sys::FLAG_WAIT_KILLABLE_RECV;
    }
    let missing = flags & !kernel.flags;
    if missing & sys::FLAG_NEW_LISTENER != 0 {
        return Err(Error::FlagUnsupported("SECCOMP_FILTER_FLAG_NEW_LISTENER"));
    }
    match Flags(missing).names().next() {
        Some(name) => Err(Error::FlagUnsupported(name)),
        None => Ok(flags),
    }
}

/// Compiles a profile for the machine and kernel that `kernel` describes. Architectures that such a kernel never runs are left out.
///
/// # Errors
/// [`Error::ActionUnsupported`], [`Error::FlagUnsupported`] for what the kernel lacks, [`Error::Conflict`], [`Error::TooLarge`],
/// [`Error::Machine`] for a machine without tables.
pub fn compile(profile: &Profile, kernel: &KernelSupport) -> Result<Program, Error> {
    kernel.check_action(profile.default_action.ret())?;
    for rule in &profile.rules {
        kernel.check_action(rule.action.ret())?;
    }
    let flags = flags(profile, kernel)?;
    let native = kernel.native;
    if !native.compiled() {
        return Err(Error::Machine(native.docker_name().to_owned()));
    }
    let listed = |arch: Arch| profile.architectures.contains(&arch) && arch.runs_on(native);

    let mut writer = Writer::default();
    let mut entries = Vec::new();
    for arch in [Arch::X86, Arch::Arm, Arch::Aarch64, Arch::X86_64] {
        let Some(audit) = arch.audit().filter(|_| arch == native || listed(arch)) else { continue };
        let label = match arch {
            Arch::X86_64 => writer.x86_64(profile, listed(Arch::X32))?,
            _ => writer.search(&runs(profile, arch)?.list, arch.narrow()),
        };
        entries.push((audit, writer.asm.load(OFFSET_NR, label)));
    }
    let mut asm = writer.asm;
    let mut next = asm.ret(RET_BAD_ARCH);
    for (audit, entry) in entries {
        next = asm.branch(JEQ, audit, entry, next);
    }
    asm.load(OFFSET_ARCH, next);
    Program::new(asm.finish(), flags)
}
