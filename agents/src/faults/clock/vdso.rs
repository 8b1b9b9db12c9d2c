//! The vDSO of a process: where it lies, where its functions are, what room it has (vdso(7), elf(5)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

/// The functions that tell time, as the vDSO names them.
pub const FUNCTIONS: [&str; 3] = ["__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time"];

/// A process's memory at its vDSO.
#[derive(Debug)]
pub struct Vdso {
    memory: File,
    /// Where it is mapped.
    pub base: u64,
    /// All its bytes as they were when it was opened.
    pub image: Vec<u8>,
}

impl Vdso {
    /// Of a process.
    ///
    /// # Errors
    /// When the process has none, or its memory is not ours to change.
    pub fn of(pid: i32) -> io::Result<Self> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let (base, end) = maps
            .lines()
            .find(|line| line.ends_with("[vdso]"))
            .and_then(range)
            .ok_or_else(|| io::Error::other("it has no vDSO"))?;
        let memory = OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))?;
        let mut image = vec![0; (end - base) as usize];
        memory.read_exact_at(&mut image, base)?;
        Ok(Vdso {
            memory,
            base,
            image,
        })
    }

    /// Writes into the process's own copy.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory.write_all_at(bytes, at)
    }

    /// Reads anywhere in the process.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn read<const N: usize>(&self, at: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.memory.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// All its bytes as they are now.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn now(&self) -> io::Result<Vec<u8>> {
        let mut image = vec![0; self.image.len()];
        self.memory.read_exact_at(&mut image, self.base)?;
        Ok(image)
    }
}

/// Beginning and end of a line of `/proc/<pid>/maps`.
fn range(line: &str) -> Option<(u64, u64)> {
    let (begin, end) = line.split(' ').next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(begin)?, number(end)?))
}

/// Where a function begins in the image, by the dynamic symbols.
pub fn function(image: &[u8], name: &str) -> Option<u64> {
    // Numbers in the image may be anything; past its end there is nothing.
    let at = |base: usize, offset: usize| image.get(base.checked_add(offset)?..);
    let half = |offset| Some(u16::from_le_bytes(*at(0, offset)?.first_chunk()?));
    let word = |base, offset| Some(u32::from_le_bytes(*at(base, offset)?.first_chunk()?));
    let long = |base, offset| Some(u64::from_le_bytes(*at(base, offset)?.first_chunk()?));
    if image.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let (sections, size, count) = (long(0, 0x28)? as usize, half(0x3a)?, half(0x3c)?);
    let section = |number: usize| sections.checked_add(number.checked_mul(usize::from(size))?);
    for number in 0..usize::from(count) {
        const DYNAMIC_SYMBOLS: u32 = 11;
        const SYMBOL_BYTES: usize = 24;
        let header = section(number)?;
        if word(header, 4)? != DYNAMIC_SYMBOLS {
            continue;
        }
        let (begin, bytes) = (long(header, 0x18)? as usize, long(header, 0x20)? as usize);
        let names = long(section(word(header, 0x28)? as usize)?, 0x18)? as usize;
        for symbol in (begin..begin.checked_add(bytes)?).step_by(SYMBOL_BYTES) {
            let text = at(names, word(symbol, 0)? as usize)?;
            if text.starts_with(name.as_bytes()) && text.get(name.len()) == Some(&0) {
                return long(symbol, 8);
            }
        }
    }
    None
}

/// Where so many unused bytes lie at the image's end, 16-aligned.
pub fn room(image: &[u8], bytes: usize) -> Option<u64> {
    let used = image.iter().rposition(|byte| *byte != 0)? + 1;
    // A little more than what looks unused, since what is used may end in zeros.
    let begin = (used + 64).next_multiple_of(16);
    (begin + bytes <= image.len()).then_some(begin as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn our_own_vdso_has_the_functions_and_room() {
        let vdso = Vdso::of(std::process::id() as i32).unwrap();
        for name in FUNCTIONS {
            let at = function(&vdso.image, name).unwrap();
            assert!((0x100..vdso.image.len() as u64).contains(&at), "{name}");
        }
        assert_eq!(function(&vdso.image, "__vdso_clock"), None);
        assert!(room(&vdso.image, 400).is_some());
    }

    proptest! {
        #[test]
        fn arbitrary_images_are_survived(mut image: Vec<u8>, sections in 0_u64..300) {
            if image.len() > 0x40 {
                image[..5].copy_from_slice(b"\x7fELF\x02");
                image[0x28..0x30].copy_from_slice(&sections.to_le_bytes());
            }
            function(&image, "__vdso_time");
            room(&image, 10);
        }
    }
}
