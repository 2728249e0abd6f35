//! What an ELF file asks the dynamic linker for (System V gABI, "Program Loading and Dynamic Linking").

use std::fs::File;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, ReadCache, ReadRef};

/// Bytes of one string: no path or library name is longer.
const MAX_STRING: u64 = 4096;
/// Entries of a dynamic section, and segments of a file, that are looked at.
const MAX_ENTRIES: usize = 4096;

/// The linker's view of a program or library.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Linkage {
    pub(super) is_64: bool,
    /// `e_machine` and the byte order: what must agree between a program and its libraries.
    pub(super) machine: (u16, bool),
    pub(super) interpreter: Option<String>,
    pub(super) needed: Vec<String>,
    pub(super) rpath: Option<String>,
    pub(super) runpath: Option<String>,
}

/// Reads the linkage of a file that begins with the ELF magic.
pub(super) fn read(file: &File) -> Result<Linkage, String> {
    let cache = ReadCache::new(file);
    parse(&cache)
}

fn parse<'data, R: ReadRef<'data>>(data: R) -> Result<Linkage, String> {
    let class = data.read_bytes_at(4, 1).map_err(|()| "the ELF header is cut off".to_owned())?[0];
    match class {
        1 => linkage::<FileHeader32<Endianness>, R>(data, false),
        2 => linkage::<FileHeader64<Endianness>, R>(data, true),
        _ => Err(format!("ELF class {class} is unknown")),
    }
}

fn linkage<'data, E: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(
    data: R,
    is_64: bool,
) -> Result<Linkage, String> {
    let failed = |e: object::Error| e.to_string();
    let header = E::parse(data).map_err(failed)?;
    let endian = header.endian().map_err(failed)?;
    let machine = (header.e_machine(endian).0, endian == Endianness::Little);
    let mut linkage = Linkage { is_64, machine, ..Linkage::default() };
    let segments = header.program_headers(endian, data).map_err(failed)?;
    let mut strings = None;
    let (mut needed, mut rpath, mut runpath) = (Vec::new(), None, None);
    for segment in segments.iter().take(MAX_ENTRIES) {
        if segment.p_type(endian) == elf::PT_INTERP {
            let (offset, size) = segment.file_range(endian);
            linkage.interpreter = Some(string(data, offset, size.min(MAX_STRING))?);
        }
        for entry in
            segment.dynamic(endian, data).map_err(failed)?.unwrap_or_default().iter().take(MAX_ENTRIES)
        {
            let value: u64 = entry.d_val(endian).into();
            match entry.d_tag(endian) {
                elf::DT_NULL => break,
                elf::DT_NEEDED => needed.push(value),
                elf::DT_RPATH => rpath = Some(value),
                elf::DT_RUNPATH => runpath = Some(value),
                elf::DT_STRTAB => strings = Some(value),
                _ => {}
            }
        }
    }
    let Some(address) = strings else { return Ok(linkage) };
    // DT_STRTAB is an address; the segment that is loaded there says where in the file it is.
    let table = segments.iter().take(MAX_ENTRIES).find_map(|segment| {
        let (start, (offset, size)) = (segment.p_vaddr(endian).into(), segment.file_range(endian));
        let inside = address.checked_sub(start).filter(|&at| at < size)?;
        (segment.p_type(endian) == elf::PT_LOAD).then(|| offset.checked_add(inside)).flatten()
    });
    let table = table.ok_or("the string table is in no segment")?;
    let text =
        |at: u64| string(data, table.checked_add(at).ok_or("a string is beyond all numbers")?, MAX_STRING);
    linkage.needed = needed.into_iter().map(text).collect::<Result<_, _>>()?;
    linkage.rpath = rpath.map(text).transpose()?;
    linkage.runpath = runpath.map(text).transpose()?;
    Ok(linkage)
}

/// The text at `offset`, up to NUL, of at most `limit` bytes.
fn string<'data, R: ReadRef<'data>>(data: R, offset: u64, limit: u64) -> Result<String, String> {
    let length = data.len().map_err(|()| "the file's length is unknown")?;
    let limit = limit.min(length.saturating_sub(offset));
    let bytes = data.read_bytes_at(offset, limit).map_err(|()| "a string is outside of the file")?;
    let end = bytes.iter().position(|&b| b == 0).ok_or("a string has no end")?;
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("a string is empty or not UTF-8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A dynamic program of this host; cargo's own test binary may be static.
    fn sample() -> Vec<u8> {
        std::fs::read("/bin/sh").unwrap()
    }

    #[test]
    fn a_shell_needs_libc() {
        let linkage = parse(&sample()[..]).unwrap();
        assert!(linkage.needed.iter().any(|name| name.starts_with("libc.so")), "{linkage:?}");
        assert!(linkage.interpreter.unwrap().contains("ld-"));
    }

    #[test]
    fn truncated_files_are_errors_and_never_panics() {
        let bytes = sample();
        for length in (0..bytes.len().min(4096)).chain((4096..bytes.len()).step_by(509)) {
            let _ = parse(&bytes[..length]);
        }
        assert!(parse(&bytes[..40]).is_err());
    }

    proptest! {
        #[test]
        fn damaged_headers_are_parsed_or_refused(changes in proptest::collection::vec((0usize..1024, any::<u8>()), 1..8)) {
            let mut bytes = sample();
            for (at, value) in changes {
                bytes[at] = value;
            }
            let _ = parse(&bytes[..]);
        }
    }
}
