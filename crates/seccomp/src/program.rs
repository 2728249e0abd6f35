//! A compiled filter: its checks, its stored form, and loading it.
//!
//! Stored form, little-endian: `SMPNBPF\n`, format version (u32, 1), filter flags (u32), instruction count (u32), the instructions as
//! `struct sock_filter` (code u16, jt u8, jf u8, k u32), and the SHA-256 of everything before it.

use std::os::fd::OwnedFd;

use linux::seccomp::{self as sys, Insn};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::emit::{ALU_AND, JA, JEQ, JGE, JGT, JSET, LD_ABS, RET};

/// `BPF_MAXINSNS` (linux/bpf_common.h).
pub(crate) const MAX_INSNS: usize = 4096;
const MAGIC: &[u8; 8] = b"SMPNBPF\n";
const FORMAT: u32 = 1;
const HEADER: usize = 20;
const CHECKSUM: usize = 32;
/// The longest stored form, in bytes.
pub(crate) const MAX_STORED: usize = HEADER + 8 * MAX_INSNS + CHECKSUM;
/// `sizeof(struct seccomp_data)`.
const DATA: u32 = 64;

/// A filter ready to load: its instructions have passed the checks that the kernel makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    insns: Vec<Insn>,
    flags: u32,
}

impl Program {
    /// # Errors
    /// [`Error::TooLarge`] past 4096 instructions, [`Error::Corrupt`] for what the kernel would refuse.
    pub(crate) fn new(insns: Vec<Insn>, flags: u32) -> Result<Self, Error> {
        if insns.len() > MAX_INSNS {
            return Err(Error::TooLarge { len: insns.len(), limit: MAX_INSNS });
        }
        check(&insns)?;
        Ok(Self { insns, flags })
    }

    /// The instructions.
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }

    /// The `SECCOMP_FILTER_FLAG_*` bits it is loaded with.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Whether loading it returns a listener.
    pub fn notify(&self) -> bool {
        self.flags & sys::FLAG_NEW_LISTENER != 0
    }

    /// Its stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + 8 * self.insns.len() + CHECKSUM);
        out.extend(MAGIC);
        out.extend(FORMAT.to_le_bytes());
        out.extend(self.flags.to_le_bytes());
        // At most 4096.
        out.extend((self.insns.len() as u32).to_le_bytes());
        for insn in &self.insns {
            out.extend(insn.code.to_le_bytes());
            out.extend([insn.jt, insn.jf]);
            out.extend(insn.k.to_le_bytes());
        }
        let sum = Sha256::digest(&out);
        out.extend(sum);
        out
    }

    /// From its stored form.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for anything that [`Program::to_bytes`] did not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let word = |at: usize| {
            bytes
                .get(at..at + 4)
                .and_then(|b| b.try_into().ok())
                .map(u32::from_le_bytes)
                .ok_or(Error::Corrupt("it is too short"))
        };
        if bytes.get(..8) != Some(MAGIC) {
            return Err(Error::Corrupt("it does not start as one"));
        }
        if word(8)? != FORMAT {
            return Err(Error::Corrupt("it has another format version"));
        }
        let (flags, count) = (word(12)?, word(16)? as usize);
        let end = HEADER + 8 * count.min(MAX_INSNS + 1);
        if count > MAX_INSNS || bytes.len() != end + CHECKSUM {
            return Err(Error::Corrupt("its length is wrong"));
        }
        if Sha256::digest(&bytes[..end])[..] != bytes[end..] {
            return Err(Error::Corrupt("its checksum is wrong"));
        }
        let decode = |b: &[u8]| Insn {
            code: u16::from_le_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        };
        Self::new(bytes[HEADER..end].chunks_exact(8).map(decode).collect(), flags)
    }

    /// Loads the filter into the calling thread, for good; it applies from the next system call on and is inherited. Returns the
    /// listener of `SCMP_ACT_NOTIFY`. Needs no_new_privs or CAP_SYS_ADMIN. One system call, no allocation.
    ///
    /// # Errors
    /// [`Error::Kernel`]: see [`linux::seccomp::set_filter`].
    pub fn load(&self) -> Result<Option<OwnedFd>, Error> {
        Ok(sys::set_filter(&self.insns, self.flags)?)
    }
}

/// The kernel's checks (`bpf_check_classic`, `seccomp_check_filter`) for the instructions that this compiler writes: every other one
/// is refused.
fn check(insns: &[Insn]) -> Result<(), Error> {
    if insns.last().is_none_or(|last| last.code != RET) {
        return Err(Error::Corrupt("it does not end in a return"));
    }
    for (at, insn) in insns.iter().enumerate() {
        let after = insns.len() - at - 1;
        let good = match insn.code {
            RET | ALU_AND => true,
            LD_ABS => insn.k % 4 == 0 && insn.k < DATA,
            JA => (insn.k as usize) < after,
            JEQ | JGT | JGE | JSET => usize::from(insn.jt.max(insn.jf)) < after,
            _ => return Err(Error::Corrupt("it has an unknown instruction")),
        };
        if !good {
            return Err(Error::Corrupt("an instruction points outside"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }

    #[test]
    fn stored_form_round_trips_and_notices_damage() {
        let program =
            Program::new(vec![insn(LD_ABS, 0, 0, 4), insn(JEQ, 0, 0, 7), insn(RET, 0, 0, 0)], 4).unwrap();
        let bytes = program.to_bytes();
        assert_eq!(Program::from_bytes(&bytes).unwrap(), program);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Program::from_bytes(&damaged).is_err(), "byte {at}");
            assert!(Program::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn programs_the_kernel_would_refuse() {
        let ret = insn(RET, 0, 0, 0);
        for bad in [
            vec![],
            vec![insn(LD_ABS, 0, 0, 0)],
            vec![insn(LD_ABS, 0, 0, 64), ret],
            vec![insn(LD_ABS, 0, 0, 2), ret],
            vec![insn(JEQ, 1, 0, 0), ret],
            vec![insn(JA, 0, 0, 1), ret],
            vec![insn(0x16, 0, 0, 0), ret],
        ] {
            assert!(Program::new(bad.clone(), 0).is_err(), "{bad:?}");
        }
        assert!(matches!(Program::new(vec![ret; 4097], 0), Err(Error::TooLarge { .. })));
    }
}
