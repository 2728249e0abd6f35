//! The typed profile: what of a `linux.seccomp` object matters, with every name understood.

use linux::seccomp as sys;

use crate::{Arch, Error, arch};

/// What happens to a system call (runtime-spec `linux.seccomp`, seccomp(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// `SCMP_ACT_KILL_PROCESS`: the process dies of SIGSYS.
    KillProcess,
    /// `SCMP_ACT_KILL_THREAD`, `SCMP_ACT_KILL`: the thread dies of SIGSYS.
    KillThread,
    /// `SCMP_ACT_TRAP`: SIGSYS is sent.
    Trap,
    /// `SCMP_ACT_ERRNO`: the call fails with this errno.
    Errno(u16),
    /// `SCMP_ACT_TRACE`: a tracer is told, with this message.
    Trace(u16),
    /// `SCMP_ACT_ALLOW`.
    Allow,
    /// `SCMP_ACT_LOG`: allowed and logged.
    Log,
    /// `SCMP_ACT_NOTIFY`: the holder of the listener descriptor decides.
    Notify,
}

impl Action {
    /// Every action name of the OCI specification, for `features`.
    pub const OCI_NAMES: [&'static str; 9] = [
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_TRAP",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
    ];

    /// The action of this OCI name; `code` is `errnoRet`, EPERM where it is absent, ignored (as runc does) by actions that have none.
    pub(crate) fn from_oci(name: &str, code: Option<u32>, at: &str) -> Result<Action, Error> {
        let data = || match code {
            None => Ok(1),
            Some(code) => u16::try_from(code)
                .map_err(|_| Error::value(at, format!("an errno of {code} does not fit 16 bits"))),
        };
        Ok(match name {
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
            "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
            "SCMP_ACT_TRAP" => Action::Trap,
            "SCMP_ACT_ERRNO" => Action::Errno(data()?),
            "SCMP_ACT_TRACE" => Action::Trace(data()?),
            "SCMP_ACT_ALLOW" => Action::Allow,
            "SCMP_ACT_LOG" => Action::Log,
            "SCMP_ACT_NOTIFY" => Action::Notify,
            _ => return Err(Error::Unknown { at: at.to_owned(), what: "action", value: name.to_owned() }),
        })
    }

    /// Its OCI name and its `errnoRet`.
    pub fn oci(self) -> (&'static str, Option<u32>) {
        match self {
            Action::KillProcess => ("SCMP_ACT_KILL_PROCESS", None),
            Action::KillThread => ("SCMP_ACT_KILL_THREAD", None),
            Action::Trap => ("SCMP_ACT_TRAP", None),
            Action::Errno(code) => ("SCMP_ACT_ERRNO", Some(code.into())),
            Action::Trace(code) => ("SCMP_ACT_TRACE", Some(code.into())),
            Action::Allow => ("SCMP_ACT_ALLOW", None),
            Action::Log => ("SCMP_ACT_LOG", None),
            Action::Notify => ("SCMP_ACT_NOTIFY", None),
        }
    }

    /// The filter's return value: `SECCOMP_RET_*` with its data.
    pub(crate) fn ret(self) -> u32 {
        match self {
            Action::KillProcess => 0x8000_0000,
            Action::KillThread => 0,
            Action::Trap => 0x0003_0000,
            Action::Errno(code) => 0x0005_0000 | u32::from(code),
            Action::Trace(code) => 0x7ff0_0000 | u32::from(code),
            Action::Allow => 0x7fff_0000,
            Action::Log => 0x7ffc_0000,
            Action::Notify => 0x7fc0_0000,
        }
    }

    /// Whether the call, or a tracer in its place, goes ahead.
    pub(crate) fn permits(self) -> bool {
        matches!(self, Action::Allow | Action::Log | Action::Trace(_))
    }
}

/// How an argument is compared (`SCMP_CMP_*`), as unsigned numbers of the ABI's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Equal.
    Eq,
    /// Greater or equal.
    Ge,
    /// Greater.
    Gt,
    /// `argument & value == value_two & value`.
    MaskedEq,
}

impl Op {
    const NAMES: [(Op, &'static str); 7] = [
        (Op::Ne, "SCMP_CMP_NE"),
        (Op::Lt, "SCMP_CMP_LT"),
        (Op::Le, "SCMP_CMP_LE"),
        (Op::Eq, "SCMP_CMP_EQ"),
        (Op::Ge, "SCMP_CMP_GE"),
        (Op::Gt, "SCMP_CMP_GT"),
        (Op::MaskedEq, "SCMP_CMP_MASKED_EQ"),
    ];

    /// The operator with this OCI name.
    pub fn from_oci(name: &str) -> Option<Op> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|(op, _)| *op)
    }

    /// Its OCI name.
    pub fn oci_name(self) -> &'static str {
        Self::NAMES.iter().find(|(op, _)| *op == self).map_or("", |(_, name)| name)
    }

    /// Every operator name, for `features`.
    pub fn all_oci_names() -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().map(|(_, name)| *name)
    }
}

/// One comparison of one argument (runtime-spec `linux.seccomp.syscalls[].args[]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub op: Op,
    /// With what; the mask of [`Op::MaskedEq`].
    pub value: u64,
    /// The value under the mask of [`Op::MaskedEq`]; unused by the others.
    pub value_two: u64,
}

/// What happens to some system calls (runtime-spec `linux.seccomp.syscalls[]`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The calls; names that no architecture knows are ignored, as libseccomp and runc do.
    pub names: Vec<String>,
    /// What happens to them.
    pub action: Action,
    /// When: all must hold; none means always. Where two name the same argument, any one suffices (runc's reading).
    pub conditions: Vec<Condition>,
}

/// Filter flags (`SECCOMP_FILTER_FLAG_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub(crate) u32);

impl Flags {
    pub(crate) const NAMES: [(u32, &'static str); 4] = [
        (sys::FLAG_TSYNC, "SECCOMP_FILTER_FLAG_TSYNC"),
        (sys::FLAG_LOG, "SECCOMP_FILTER_FLAG_LOG"),
        (sys::FLAG_SPEC_ALLOW, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
        (sys::FLAG_WAIT_KILLABLE_RECV, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
    ];

    /// Every flag name, for `features`.
    pub fn all_oci_names() -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().map(|(_, name)| *name)
    }

    /// Adds the flag of this name; `false` when there is none.
    pub(crate) fn add(&mut self, name: &str) -> bool {
        let bit = Self::NAMES.iter().find(|(_, n)| *n == name).map(|(bit, _)| *bit);
        self.0 |= bit.unwrap_or(0);
        bit.is_some()
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, name)| *name)
    }
}

/// A seccomp profile: runtime-spec `linux.seccomp`, validated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// What happens to calls that no rule matches.
    pub default_action: Action,
    /// The ABIs that may be used; the machine's own is always among them.
    pub architectures: Vec<Arch>,
    /// Filter flags; `None` (not the empty set) means `SPEC_ALLOW` where the kernel has it, as runc does.
    pub flags: Option<Flags>,
    /// The unix socket of the agent that receives the listener of [`Action::Notify`].
    pub listener_path: Option<String>,
    /// Passed to that agent.
    pub listener_metadata: Option<String>,
    /// The rules, in the order of the document.
    pub rules: Vec<Rule>,
}

impl Profile {
    /// What a single value cannot show: rules about notifications and argument indexes.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.default_action == Action::Notify {
            return Err(Error::value("defaultAction", "SCMP_ACT_NOTIFY cannot be the default action"));
        }
        for (i, rule) in self.rules.iter().enumerate() {
            // The listener's number is written to the runtime after the filter is loaded; a notified write would wait for ever.
            if rule.action == Action::Notify && rule.names.iter().any(|name| name == "write") {
                return Err(Error::value(
                    format!("syscalls[{i}]"),
                    "SCMP_ACT_NOTIFY cannot be used for write",
                ));
            }
            if rule.names.iter().any(String::is_empty) {
                return Err(Error::value(format!("syscalls[{i}].names"), "a system call's name is empty"));
            }
            if let Some(j) = rule.conditions.iter().position(|condition| condition.index > 5) {
                let at = format!("syscalls[{i}].args[{j}].index");
                return Err(Error::value(at, "a system call has arguments 0 to 5"));
            }
        }
        Ok(())
    }

    /// Whether a listener descriptor comes out of loading this profile.
    pub fn notifies(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::Notify)
    }

    /// The names that no architecture knows: they are ignored, and worth a warning.
    pub fn unknown_syscalls(&self) -> Vec<&str> {
        let mut unknown: Vec<&str> = self
            .rules
            .iter()
            .flat_map(|rule| &rule.names)
            .map(String::as_str)
            .filter(|n| !arch::known(n))
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// One byte string per meaning: what a cache key is made of. Lengths precede lists, so no two profiles share one.
    pub(crate) fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8192);
        let length = |out: &mut Vec<u8>, n: usize| out.extend((n as u64).to_le_bytes());
        out.extend(self.default_action.ret().to_le_bytes());
        out.extend(self.flags.map_or(u32::MAX, |flags| flags.0).to_le_bytes());
        length(&mut out, self.architectures.len());
        out.extend(self.architectures.iter().map(|arch| *arch as u8));
        for rule in &self.rules {
            out.extend(rule.action.ret().to_le_bytes());
            length(&mut out, rule.names.len());
            for name in &rule.names {
                length(&mut out, name.len());
                out.extend(name.as_bytes());
            }
            length(&mut out, rule.conditions.len());
            for condition in &rule.conditions {
                out.extend([condition.index, condition.op as u8]);
                out.extend(condition.value.to_le_bytes());
                out.extend(condition.value_two.to_le_bytes());
            }
        }
        out
    }
}
