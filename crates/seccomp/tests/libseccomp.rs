//! Our programs against libseccomp's, call by call, in an interpreter.
//!
//! The C library is built into a small helper at test time (`tests/c/oracle.c`). Where it or a C compiler is missing the tests say
//! that they were skipped, and fail where `CI` is set: Debian's package is `libseccomp-dev`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking and says why it was skipped"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use common::{AUDIT_X86, AUDIT_X86_64, Call, ENOSYS, X32_BIT, run};
use proptest::prelude::*;
use seccomp::{
    Action, Arch, Condition, Insn, KernelSupport, Op, Profile, ProfileSet, Rule, compile, default_profile,
};

fn oracle() -> Option<&'static PathBuf> {
    static ORACLE: OnceLock<Option<PathBuf>> = OnceLock::new();
    ORACLE.get_or_init(build).as_ref()
}

fn build() -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/oracle.c");
    // Renamed when it is whole, because test processes may run side by side.
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (out, ready) = (dir.join(format!("oracle-{}", std::process::id())), dir.join("oracle"));
    let built = Command::new("cc").args(["-O1", "-o"]).arg(&out).args([source, "-lseccomp"]).output();
    let why = match built {
        Ok(output) if output.status.success() => {
            std::fs::rename(&out, &ready).unwrap();
            return Some(ready);
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os("CI").is_none(), "install libseccomp-dev and a C compiler: {why}");
    eprintln!("skipped: no libseccomp-dev or C compiler: {why}");
    None
}

struct Answer {
    /// The program, or why libseccomp refused the profile.
    program: Result<Vec<Insn>, String>,
    /// Numbers on x86_64, x86 and x32, negative where there is none.
    numbers: BTreeMap<String, [i32; 3]>,
}

/// What libseccomp makes of `profile`, driven as runc drives it.
fn ask(oracle: &PathBuf, profile: &Profile) -> Answer {
    let mut lines = format!("default {:#x}\n", libseccomp_action(profile.default_action));
    for arch in &profile.architectures {
        lines += &format!("arch {}\n", arch.oci_name().trim_start_matches("SCMP_ARCH_").to_lowercase());
    }
    for rule in &profile.rules {
        for name in &rule.names {
            lines += &format!("resolve {name}\n");
            if rule.action == profile.default_action {
                continue;
            }
            let head = format!("rule {:#x} {name}", libseccomp_action(rule.action));
            let args: Vec<String> = rule.conditions.iter().map(argument).collect();
            let indexes: BTreeSet<_> = rule.conditions.iter().map(|c| c.index).collect();
            if indexes.len() == rule.conditions.len() {
                lines += &format!("{head} {}\n", args.join(" "));
            } else {
                lines.extend(args.iter().map(|arg| format!("{head} {arg}\n")));
            }
        }
    }
    let mut child = Command::new(oracle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || drop(stdin.write_all(lines.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let mut numbers = BTreeMap::new();
    for line in said.lines() {
        let words: Vec<_> = line.split(' ').collect();
        if let [name, a, b, c] = words[..]
            && let (Ok(a), Ok(b), Ok(c)) = (a.parse(), b.parse(), c.parse())
        {
            numbers.insert(name.to_owned(), [a, b, c]);
        }
    }
    let insn = |b: &[u8]| Insn {
        code: u16::from_le_bytes([b[0], b[1]]),
        jt: b[2],
        jf: b[3],
        k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
    };
    let program = match output.status.success() {
        true => Ok(output.stdout.chunks_exact(8).map(insn).collect()),
        false => Err(said),
    };
    Answer { program, numbers }
}

/// seccomp.h: `SCMP_ACT_*` are the kernel's values but for KILL_PROCESS and NOTIFY, which are the same too.
fn libseccomp_action(action: Action) -> u32 {
    common::ret(action)
}

fn argument(c: &Condition) -> String {
    let op = match c.op {
        Op::Ne => 1,
        Op::Lt => 2,
        Op::Le => 3,
        Op::Eq => 4,
        Op::Ge => 5,
        Op::Gt => 6,
        Op::MaskedEq => 7,
    };
    format!("{} {op} {:#x} {:#x}", c.index, c.value, c.value_two)
}

/// The answers of libseccomp's program with runc's ENOSYS stub in front (patchbpf).
struct Expected<'a> {
    program: &'a [Insn],
    /// The largest numbers of x86_64, x86, x32, where the stub applies.
    newest: Option<[u32; 3]>,
    x86: bool,
    x32: bool,
}

impl<'a> Expected<'a> {
    fn new(profile: &Profile, program: &'a [Insn]) -> Self {
        let permits = matches!(profile.default_action, Action::Allow | Action::Log | Action::Trace(_));
        // The numbers themselves are compared in `numbers_are_libseccomps`.
        let newest = |arch: Arch| {
            let names = profile.rules.iter().flat_map(|rule| &rule.names);
            // We count socketcall and ipc where a rule names one of their sub-calls; runc does not, and so answers
            // ENOSYS to them when the profile names nothing newer.
            let multiplexer = |name: &str| if arch == Arch::X86 { multiplexer(name) } else { 0 };
            names.map(|name| arch.number(name).unwrap_or(0).max(multiplexer(name))).max().unwrap_or(0)
        };
        Self {
            program,
            newest: (!permits).then(|| [newest(Arch::X86_64), newest(Arch::X86), newest(Arch::X32)]),
            x86: profile.architectures.contains(&Arch::X86),
            x32: profile.architectures.contains(&Arch::X32),
        }
    }

    fn of(&self, call: &Call) -> u32 {
        if let Some([x86_64, x86, x32]) = self.newest {
            let bit = call.nr & X32_BIT != 0;
            let newest = match call.arch {
                AUDIT_X86 if self.x86 => x86,
                AUDIT_X86_64 if bit && self.x32 => x32,
                AUDIT_X86_64 if bit => 0,
                AUDIT_X86_64 => x86_64,
                _ => 0,
            };
            if newest != 0 && call.nr > newest {
                return ENOSYS;
            }
        }
        run(self.program, call)
    }
}

fn multiplexer(name: &str) -> u32 {
    const SOCKET: &str = " socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom \
        shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg ";
    const IPC: &str =
        " semop semget semctl semtimedop msgsnd msgrcv msgget msgctl shmat shmdt shmget shmctl ";
    let name = format!(" {name} ");
    if SOCKET.contains(&name) {
        102
    } else if IPC.contains(&name) {
        117
    } else {
        0
    }
}

/// Every number up to 600 and some beyond, with and without the x32 bit, of three architectures and an unknown one.
fn calls(arguments: &[[u64; 6]]) -> impl Iterator<Item = Call> {
    let numbers =
        (0..600).chain([0x1000, 0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xf_0005, 0xffff_fffe, u32::MAX]);
    let numbers: Vec<u32> = numbers.flat_map(|n| [n, n | X32_BIT]).collect();
    let arches = [AUDIT_X86_64, AUDIT_X86, common::AUDIT_AARCH64];
    let each = move |arch| {
        let numbers = numbers.clone();
        numbers.into_iter().map(move |nr| (arch, nr))
    };
    let arguments = arguments.to_vec();
    let all: Vec<_> = arches.into_iter().flat_map(each).collect();
    all.into_iter()
        .flat_map(move |(arch, nr)| arguments.clone().into_iter().map(move |args| Call::new(arch, nr, args)))
}

/// Values around every value of the profile's conditions, and the same with garbage in the high half.
fn arguments(profile: &Profile) -> Vec<[u64; 6]> {
    let mut values = BTreeSet::from([0, 1, u64::MAX, 0x1_0000_0000]);
    for condition in profile.rules.iter().flat_map(|rule| &rule.conditions) {
        for value in [condition.value, condition.value_two] {
            let near =
                [value, value.wrapping_add(1), value.wrapping_sub(1), value ^ 0x1_0000_0000, value << 32];
            values.extend(near);
        }
    }
    let mut out: Vec<[u64; 6]> = values.iter().map(|v| [*v; 6]).collect();
    // Mixed rows: conditions on several arguments at once.
    let values: Vec<u64> = values.into_iter().collect();
    for i in 0..values.len() {
        out.push(std::array::from_fn(|j| values[(i + j * 7 + j) % values.len()]));
    }
    out
}

fn compare(profile: &Profile, answer: &Answer) -> Result<usize, String> {
    let ours = compile(profile, &KernelSupport::full(Arch::X86_64)).map_err(|e| e.to_string())?;
    let theirs = answer.program.as_ref().map_err(Clone::clone)?;
    let expected = Expected::new(profile, theirs);
    let mut count = 0;
    for call in calls(&arguments(profile)) {
        let (got, want) = (run(ours.insns(), &call), expected.of(&call));
        if got != want {
            return Err(format!("{call:x?}: ours {got:#x}, libseccomp {want:#x}"));
        }
        count += 1;
    }
    Ok(count)
}

/// Leaves out names that this libseccomp does not know or does not know on all three ABIs that our tables have them on: it is older.
fn known_to_both(profile: &Profile, answer: &Answer) -> Profile {
    let mut profile = profile.clone();
    for rule in &mut profile.rules {
        rule.names.retain(|name| {
            let theirs = answer.numbers.get(name).copied().unwrap_or([-1; 3]);
            let ours = [Arch::X86_64, Arch::X86, Arch::X32].map(|arch| arch.number(name));
            // libseccomp has the multiplexed calls under numbers of its own, from -100 down.
            let known = |theirs: i32| theirs >= 0 || (-300..=-100).contains(&theirs);
            ours.iter().zip(theirs).all(|(ours, theirs)| ours.is_none() || known(theirs))
        });
    }
    profile
}

#[test]
fn numbers_are_libseccomps() {
    let Some(oracle) = oracle() else { return };
    let profile = default_profile(&BTreeSet::new(), ProfileSet::Sampan, Arch::X86_64);
    let answer = ask(oracle, &profile);
    let mut newer = Vec::new();
    for (name, theirs) in &answer.numbers {
        for (arch, theirs) in [Arch::X86_64, Arch::X86, Arch::X32].into_iter().zip(theirs) {
            match (arch.number(name), u32::try_from(*theirs).ok()) {
                (ours, Some(theirs)) => assert_eq!(ours, Some(theirs), "{name} on {arch:?}"),
                (Some(_), None) if arch == Arch::X86 && multiplexer(name) != 0 => {}
                (Some(_), None) => newer.push(name.as_str()),
                (None, None) => {}
            }
        }
    }
    newer.dedup();
    println!("unknown to this libseccomp: {}", newer.join(" "));
}

#[test]
fn the_default_profiles_mean_the_same() {
    let Some(oracle) = oracle() else { return };
    let capability = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
    let sets = [
        capability(&[]),
        capability(&["CAP_SYS_CHROOT", "CAP_MKNOD"]),
        capability(&["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYS_NICE"]),
        capability(&["CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG", "CAP_SYS_TIME"]),
    ];
    for caps in &sets {
        for set in [ProfileSet::Sampan, ProfileSet::Docker] {
            let profile = default_profile(caps, set, Arch::X86_64);
            let profile = known_to_both(&profile, &ask(oracle, &profile));
            let answer = ask(oracle, &profile);
            let count = compare(&profile, &answer).unwrap_or_else(|e| panic!("{set:?} {caps:?}: {e}"));
            let theirs = answer.program.as_ref().map_or(0, Vec::len);
            let ours = compile(&profile, &KernelSupport::full(Arch::X86_64)).unwrap().insns().len();
            println!("{set:?}: {count} calls agree; {ours} instructions, libseccomp {theirs}");
        }
    }
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Ne),
        Just(Op::Lt),
        Just(Op::Le),
        Just(Op::Eq),
        Just(Op::Ge),
        Just(Op::Gt),
        Just(Op::MaskedEq)
    ]
}

fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..8, Just(0xffff_ffff), 0x1_0000_0000u64..0x1_0000_0004, Just(u64::MAX), any::<u64>()]
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Allow),
        Just(Action::Errno(1)),
        Just(Action::Errno(38)),
        Just(Action::KillThread),
        Just(Action::KillProcess),
        Just(Action::Trap),
        Just(Action::Trace(7)),
        Just(Action::Log)
    ]
}

prop_compose! {
    fn any_condition()(index in 0u8..6, op in any_op(), value in any_value(), value_two in any_value()) -> Condition {
        let value_two = if op == Op::MaskedEq { value_two } else { 0 };
        Condition { index, op, value, value_two }
    }
}

const SOME_CALLS: [&str; 12] = [
    "read",
    "write",
    "ioctl",
    "socket",
    "accept",
    "shmget",
    "clone",
    "openat2",
    "chown32",
    "personality",
    "ptrace",
    "nosuchcall",
];

fn any_profile() -> impl Strategy<Value = Profile> {
    let names = proptest::collection::vec(proptest::sample::select(&SOME_CALLS[..]), 1..4);
    let conditions = prop_oneof![
        2 => proptest::collection::vec(any_condition(), 1..4),
        1 => Just(Vec::new()),
    ];
    let rule = (names, any_action(), conditions).prop_map(|(names, action, conditions)| Rule {
        names: names.into_iter().map(str::to_owned).collect(),
        action,
        conditions,
    });
    let architectures = proptest::sample::subsequence(vec![Arch::X86_64, Arch::X86, Arch::X32], 0..=3);
    (any_action(), architectures, proptest::collection::vec(rule, 0..8)).prop_map(
        |(default_action, architectures, rules)| Profile {
            default_action,
            architectures,
            flags: None,
            listener_path: None,
            listener_metadata: None,
            rules,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// One rule with conditions for each call, any action.
    #[test]
    fn random_single_rules_mean_the_same(profile in any_profile()) {
        let Some(oracle) = oracle() else { return Ok(()) };
        let profile = thinned(profile);
        let answer = ask(oracle, &profile);
        // It refuses rules of shmget that only ipc's lack of arguments makes the same; we take the first.
        prop_assume!(answer.program.is_ok());
        if let Err(difference) = compare(&profile, &answer) {
            return Err(TestCaseError::fail(difference));
        }
    }

    /// Several overlapping equalities with different actions, and an `otherwise`: the order is libseccomp's.
    #[test]
    fn random_equalities_are_tried_in_the_same_order(
        rules in proptest::collection::vec((0u8..2, 0u64..5, any_action()), 1..9),
        otherwise in any_action(),
    ) {
        let Some(oracle) = oracle() else { return Ok(()) };
        let rule = |index, op, value, action| Rule {
            names: vec!["personality".to_owned()],
            action,
            conditions: vec![Condition { index, op, value, value_two: 0 }],
        };
        let mut seen = BTreeSet::new();
        let rules = rules.into_iter().filter(|(index, value, _)| seen.insert((*index, *value)));
        let mut rules: Vec<_> = rules.map(|(index, value, action)| rule(index, Op::Eq, value, action)).collect();
        rules.push(rule(0, Op::Ge, 0, otherwise));
        let profile = Profile { default_action: Action::Errno(77), ..plain(rules) };
        let answer = ask(oracle, &profile);
        if let Err(difference) = compare(&profile, &answer) {
            return Err(TestCaseError::fail(difference));
        }
    }
}

fn plain(rules: Vec<Rule>) -> Profile {
    Profile {
        default_action: Action::Errno(1),
        architectures: vec![Arch::X86_64, Arch::X86, Arch::X32],
        flags: None,
        listener_path: None,
        listener_metadata: None,
        rules,
    }
}

/// At most one rule with conditions for each call, each condition on an argument of its own.
///
/// With more of them libseccomp 2.5 does not always mean what its manual says: with `a1 < 0` and `a1 < 2^64-1` it lets a1 = 2^32-1
/// fall to the default action, because a failed low half does not go on to the next rule. We follow the manual there
/// (`tests/reference.rs`).
fn thinned(mut profile: Profile) -> Profile {
    let mut seen = BTreeSet::new();
    for rule in &mut profile.rules {
        let mut indexes = BTreeSet::new();
        rule.conditions.retain(|condition| indexes.insert(condition.index));
        if !rule.conditions.is_empty() && rule.action != profile.default_action {
            // socket and accept share socketcall on x86.
            rule.names.retain(|name| {
                seen.insert(if name == "accept" { "socket".to_owned() } else { name.clone() })
            });
        }
    }
    // Two defects of libseccomp 2.5.4 show only without a plain rule at the start: it forgets the direct half of a multiplexed call's
    // rule when that is the first of several, and on x86 does not load the number when its first test is of a call with conditions.
    let first = Rule { names: vec!["getpid".to_owned()], action: Action::Errno(99), conditions: Vec::new() };
    profile.rules.insert(0, first);
    profile
}

/// The case above, so that a libseccomp that mends it is noticed and the sentence above corrected.
#[test]
fn where_libseccomp_differs_from_its_manual() {
    let Some(oracle) = oracle() else { return };
    let rule = |value| Rule {
        names: vec!["write".to_owned()],
        action: Action::Errno(9),
        conditions: vec![Condition { index: 1, op: Op::Lt, value, value_two: 0 }],
    };
    let profile = Profile { default_action: Action::Allow, ..plain(vec![rule(u64::MAX), rule(0)]) };
    let answer = ask(oracle, &profile);
    let ours = compile(&profile, &KernelSupport::full(Arch::X86_64)).unwrap();
    let call = Call::new(AUDIT_X86_64, 1, [0xffff_ffff; 6]);
    assert_eq!(run(ours.insns(), &call), 0x0005_0009);
    let theirs = run(&answer.program.unwrap(), &call);
    println!("libseccomp answers {theirs:#x}, its manual says 0x50009");
}
