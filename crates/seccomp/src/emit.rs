//! An assembler for classic BPF that is written backwards: every jump target exists before the jump, so offsets are known at
//! once, and a target that is out of an 8-bit offset's reach gets a nearer copy or an unconditional jump in between.

use std::collections::HashMap;

use linux::seccomp::Insn;

pub(crate) const LD_ABS: u16 = 0x20;
pub(crate) const ALU_AND: u16 = 0x54;
pub(crate) const JA: u16 = 0x05;
pub(crate) const JEQ: u16 = 0x15;
pub(crate) const JGT: u16 = 0x25;
pub(crate) const JGE: u16 = 0x35;
pub(crate) const JSET: u16 = 0x45;
pub(crate) const RET: u16 = 0x06;

/// A place in the program, counted from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// The part of a program that is already written, last instruction first.
#[derive(Default)]
pub(crate) struct Assembler {
    reversed: Vec<Insn>,
    returns: HashMap<u32, Label>,
}

impl Assembler {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Insn { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }

    /// How many instructions one written next would have to skip to reach `target`.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - 1 - target.0
    }

    /// A place that returns `value`: an existing one within reach of a conditional jump, or a new one.
    pub(crate) fn ret(&mut self, value: u32) -> Label {
        // Some room is left for the instructions that come between this and the jump.
        if let Some(label) = self.returns.get(&value).copied().filter(|l| self.distance(*l) < 200) {
            return label;
        }
        let label = self.push(RET, 0, 0, value);
        self.returns.insert(value, label);
        label
    }

    /// Makes `target` the next instruction, by a jump where it is not.
    pub(crate) fn goto(&mut self, target: Label) -> Label {
        match self.distance(target) {
            0 => target,
            _ => self.far(target),
        }
    }

    /// A jump to `target`, or its copy where it is a return.
    fn far(&mut self, target: Label) -> Label {
        let insn = self.reversed[target.0];
        if insn.code == RET {
            let label = self.push(RET, 0, 0, insn.k);
            self.returns.insert(insn.k, label);
            return label;
        }
        // A program has fewer than 2^32 instructions: `compile` refuses one above 4096.
        let distance = self.distance(target) as u32;
        self.push(JA, 0, 0, distance)
    }

    /// `if accumulator <code> k goto yes else goto no`.
    pub(crate) fn branch(&mut self, code: u16, k: u32, mut yes: Label, mut no: Label) -> Label {
        // Bringing one target nearer moves the other one place away, so look again.
        loop {
            match (u8::try_from(self.distance(yes)), u8::try_from(self.distance(no))) {
                (Ok(jt), Ok(jf)) => return self.push(code, jt, jf, k),
                (Err(_), _) => yes = self.far(yes),
                (_, Err(_)) => no = self.far(no),
            }
        }
    }

    /// `accumulator = seccomp_data[offset]`, then goes on at `next`.
    pub(crate) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.goto(next);
        self.push(LD_ABS, 0, 0, offset)
    }

    /// `accumulator &= k`, then goes on at `next`.
    pub(crate) fn and(&mut self, k: u32, next: Label) -> Label {
        self.goto(next);
        self.push(ALU_AND, 0, 0, k)
    }

    /// The program, first instruction first. It starts with what was written last.
    pub(crate) fn finish(mut self) -> Vec<Insn> {
        self.reversed.reverse();
        self.reversed
    }
}
