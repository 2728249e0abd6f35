//! `bpf(2)`, as far as a device filter of cgroup v2 needs it.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::syscall::check;
use crate::{Error, Result};

/// One eBPF instruction (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LDX_W_MEM: u8 = 0x61;
const ALU32_AND_K: u8 = 0x54;
const ALU32_RSH_K: u8 = 0x74;
const ALU64_MOV_K: u8 = 0xb7;
const ALU32_MOV_X: u8 = 0xbc;
const JMP_JEQ_K: u8 = 0x15;
const JMP_JNE_K: u8 = 0x55;
const JMP_JNE_X: u8 = 0x5d;
const JMP_EXIT: u8 = 0x95;

impl Insn {
    const fn new(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Self {
        Self { code, registers: to | from << 4, offset, immediate }
    }

    /// `to = *(u32 *)(from + offset)`.
    pub fn load_word(to: u8, from: u8, offset: i16) -> Self {
        Self::new(LDX_W_MEM, to, from, offset, 0)
    }

    /// `to &= value` on 32 bits.
    pub fn and_imm(to: u8, value: i32) -> Self {
        Self::new(ALU32_AND_K, to, 0, 0, value)
    }

    /// `to >>= bits` on 32 bits.
    pub fn shift_right_imm(to: u8, bits: i32) -> Self {
        Self::new(ALU32_RSH_K, to, 0, 0, bits)
    }

    /// `to = value`.
    pub fn move_imm(to: u8, value: i32) -> Self {
        Self::new(ALU64_MOV_K, to, 0, 0, value)
    }

    /// `to = from` on 32 bits.
    pub fn move_reg(to: u8, from: u8) -> Self {
        Self::new(ALU32_MOV_X, to, from, 0, 0)
    }

    /// Jump when `left == value`; see [`Insn::with_offset`].
    pub fn jump_eq_imm(left: u8, value: i32) -> Self {
        Self::new(JMP_JEQ_K, left, 0, 0, value)
    }

    /// Jump when `left != value`.
    pub fn jump_ne_imm(left: u8, value: i32) -> Self {
        Self::new(JMP_JNE_K, left, 0, 0, value)
    }

    /// Jump when `left != right`.
    pub fn jump_ne_reg(left: u8, right: u8) -> Self {
        Self::new(JMP_JNE_X, left, right, 0, 0)
    }

    /// Return r0.
    pub fn exit() -> Self {
        Self::new(JMP_EXIT, 0, 0, 0, 0)
    }

    /// Whether it is a conditional jump.
    pub fn is_jump(self) -> bool {
        matches!(self.code, JMP_JEQ_K | JMP_JNE_K | JMP_JNE_X)
    }

    /// The same, jumping over `offset` instructions.
    pub fn with_offset(self, offset: i16) -> Self {
        Self { offset, ..self }
    }
}

/// An eBPF program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<Insn>);

impl Program {
    /// Takes the instructions.
    pub fn new(code: Vec<Insn>) -> Self {
        Self(code)
    }

    /// What the program returns for a context of 32-bit words; `None` when it reads or jumps beyond its bounds. It
    /// knows the instructions that [`Insn`] can make, and is there to test programs without the kernel.
    pub fn interpret(&self, context: &[u32]) -> Option<u64> {
        let mut registers = [0u64; 16];
        let mut at = 0usize;
        loop {
            let insn = *self.0.get(at)?;
            let (to, from) = (usize::from(insn.registers & 15), usize::from(insn.registers >> 4));
            let immediate = insn.immediate as i64 as u64;
            at += 1;
            let taken = match insn.code {
                LDX_W_MEM => {
                    registers[to] = u64::from(*context.get(usize::try_from(insn.offset).ok()? / 4)?);
                    false
                }
                ALU32_AND_K => {
                    registers[to] = u64::from(registers[to] as u32 & immediate as u32);
                    false
                }
                ALU32_RSH_K => {
                    registers[to] = u64::from((registers[to] as u32).checked_shr(immediate as u32)?);
                    false
                }
                ALU64_MOV_K => {
                    registers[to] = immediate;
                    false
                }
                ALU32_MOV_X => {
                    registers[to] = u64::from(registers[from] as u32);
                    false
                }
                JMP_JEQ_K => registers[to] == immediate,
                JMP_JNE_K => registers[to] != immediate,
                JMP_JNE_X => registers[to] != registers[from],
                JMP_EXIT => return Some(registers[0]),
                _ => return None,
            };
            if taken {
                at = at.checked_add_signed(isize::from(insn.offset))?;
            }
        }
    }
}

const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
/// Programs on one cgroup that a query lists; the kernel allows 64.
const MAX_ATTACHED: usize = 64;

/// Attributes of `BPF_PROG_LOAD`, up to the members we set.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// Attributes of `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Attributes of `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// Attributes of `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> Result<libc::c_long, Errno> {
    // SAFETY: the attributes are a prefix of union bpf_attr of exactly the size given, and every address in them (set
    // by the callers below) points to memory of theirs that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) })
}

/// Makes `program` the device filter of a cgroup v2 directory. A filter that was attached before is taken off after the
/// new one is in force, so that there is no moment without one.
///
/// # Errors
/// `EPERM` without `CAP_BPF` or `CAP_SYS_ADMIN`, `EINVAL` for a program that the verifier refuses.
pub fn replace_device_filter(cgroup: impl AsFd, program: &Program) -> Result<()> {
    let license = c"Apache-2.0";
    let mut load = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.0.len() as u32,
        insns: program.0.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Default::default()
    };
    let fd = bpf(BPF_PROG_LOAD, &mut load).map_err(|errno| Error::new("bpf(BPF_PROG_LOAD)", errno))?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    let loaded = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let target_fd = cgroup.as_fd().as_raw_fd() as u32;
    let before = attached(target_fd)?;
    let mut attach = AttachAttr {
        target_fd,
        attach_bpf_fd: loaded.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &mut attach).map_err(|errno| Error::new("bpf(BPF_PROG_ATTACH)", errno))?;
    for id in before {
        detach(target_fd, id)?;
    }
    Ok(())
}

fn attached(target_fd: u32) -> Result<Vec<u32>> {
    let mut ids = [0u32; MAX_ATTACHED];
    let mut query = QueryAttr {
        target_fd,
        attach_type: BPF_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_ATTACHED as u32,
        ..Default::default()
    };
    bpf(BPF_PROG_QUERY, &mut query).map_err(|errno| Error::new("bpf(BPF_PROG_QUERY)", errno))?;
    Ok(ids.into_iter().take(query.prog_cnt as usize).collect())
}

fn detach(target_fd: u32, id: u32) -> Result<()> {
    let mut by_id = IdAttr { id, ..Default::default() };
    let fd = match bpf(BPF_PROG_GET_FD_BY_ID, &mut by_id) {
        // Somebody else took it off meanwhile.
        Err(Errno::NOENT) => return Ok(()),
        other => other.map_err(|errno| Error::new("bpf(BPF_PROG_GET_FD_BY_ID)", errno))?,
    };
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    let program = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let mut attributes = AttachAttr {
        target_fd,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: 0,
    };
    bpf(BPF_PROG_DETACH, &mut attributes).map_err(|errno| Error::new("bpf(BPF_PROG_DETACH)", errno))?;
    Ok(())
}
