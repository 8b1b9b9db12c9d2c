//! A process whose clock is ours: its vDSO's functions jump to our code in unused bytes behind them.
//!
//! Only the first bytes of each function change, while every thread stands still and none between
//! them. The code stays once it is there: a thread may be in it at any time, and without a jump
//! nobody gets to it. A process that has it already is found to have it.

use std::io;

use super::code::{SETTING_BYTES, SINCE_BOOT, Setting, WALL, code};
use super::vdso::{FUNCTIONS, Vdso, function, room};
use crate::process::identity::ProcessIdentity;

/// `jmp rel32`
const JUMP: u8 = 0xe9;
const JUMP_BYTES: u64 = 5;

/// What both families of clocks show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    pub wall: Setting,
    pub since_boot: Setting,
}

impl Settings {
    /// True time.
    pub fn is_true(&self) -> bool {
        let honest =
            |setting: &Setting| setting.offset == 0 && setting.drift == 0 && setting.period == 0;
        honest(&self.wall) && honest(&self.since_boot)
    }
}

/// A process and where its functions begin.
#[derive(Debug)]
pub struct Patch {
    /// Whose.
    pub process: ProcessIdentity,
    vdso: Vdso,
    /// Where our code lies.
    at: u64,
    /// Each function's beginning, where our part for it begins, and its own first bytes.
    entries: Vec<(u64, u64, [u8; JUMP_BYTES as usize])>,
}

impl Patch {
    /// Brings the code into the process, to no effect yet.
    ///
    /// # Errors
    /// When its vDSO is not as expected, or the process is gone.
    pub fn prepare(process: ProcessIdentity) -> io::Result<Self> {
        let vdso = Vdso::of(process.pid)?;
        let (code, places) = code();
        let settings = 2 * SETTING_BYTES;
        let present = vdso
            .image
            .windows(code.len() - settings)
            .position(|bytes| bytes == &code[settings..]);
        let at = match present {
            Some(at) => vdso.base + (at - settings) as u64,
            None => {
                let free = room(&vdso.image, code.len());
                let free = free.ok_or_else(|| io::Error::other("its vDSO has no room"))?;
                vdso.write(vdso.base + free, code)?;
                vdso.base + free
            }
        };
        let parts = [places.gettime, places.gettimeofday, places.time];
        let mut entries = Vec::new();
        for (name, part) in FUNCTIONS.iter().zip(parts) {
            let begin = function(&vdso.image, name);
            let begin = begin.ok_or_else(|| io::Error::other(format!("its vDSO has no {name}")))?;
            // Its own bytes are those of our vDSO: the kernel has one image.
            let own = own_bytes(name)?;
            entries.push((vdso.base + begin, at + part, own));
        }
        Ok(Patch {
            process,
            vdso,
            at,
            entries,
        })
    }

    /// What its clocks show now.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn settings(&self) -> io::Result<Settings> {
        let setting = |place| io::Result::Ok(Setting::of(self.vdso.read(self.at + place)?));
        Ok(Settings {
            wall: setting(WALL)?,
            since_boot: setting(SINCE_BOOT)?,
        })
    }

    /// Whether no thread, all of which stand still, stands where something would change: between the
    /// first bytes of a function, or in our code, which may have read half of its settings.
    ///
    /// # Errors
    /// `WouldBlock` when one does; others when it cannot be seen.
    pub fn can_be_set(&self) -> io::Result<()> {
        let ours = self.at..self.at + code().0.len() as u64;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.process.pid))? {
            let path = thread?.path().join("syscall");
            // A thread that has ended stands nowhere.
            let Ok(text) = std::fs::read_to_string(path) else {
                continue;
            };
            let at = instruction(&text)
                .ok_or_else(|| io::Error::other("where a thread stands cannot be seen"))?;
            let between =
                |(begin, ..): &(u64, u64, _)| (begin + 1..begin + JUMP_BYTES).contains(&at);
            if ours.contains(&at) || self.entries.iter().any(between) {
                let message = "a thread stands where the patch is";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
            }
        }
        Ok(())
    }

    /// Makes its clocks show this. Its threads stand still, and [`Patch::can_be_set`] holds.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn set(&self, settings: Settings) -> io::Result<()> {
        self.vdso.write(self.at + WALL, &settings.wall.bytes())?;
        let since_boot = settings.since_boot.bytes();
        self.vdso.write(self.at + SINCE_BOOT, &since_boot)?;
        for (begin, part, own) in &self.entries {
            let bytes = match settings.is_true() {
                true => *own,
                false => jump(*begin, *part),
            };
            self.vdso.write(*begin, &bytes)?;
        }
        Ok(())
    }

    /// Whether every byte of its functions is its own again.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn is_undone(&self) -> io::Result<bool> {
        let image = self.vdso.now()?;
        let ours = (self.at - self.vdso.base) as usize;
        let own = Vdso::of(std::process::id() as i32)?.image;
        Ok(image[..ours] == own[..ours])
    }

    /// Whether the process still runs the program that was looked at: another has its vDSO elsewhere.
    pub fn is_current(&self) -> bool {
        Vdso::of(self.process.pid).is_ok_and(|vdso| vdso.base == self.vdso.base)
    }

    /// Where the function is that tells time, where a call from outside returns to.
    pub fn visited(&self) -> (u64, u64) {
        (self.entries[0].0, self.at + code().1.trap)
    }

    /// Seconds and nanoseconds that a visited thread has left, as nanoseconds.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn time_at(&self, place: u64) -> io::Result<i64> {
        let bytes: [u8; 16] = self.vdso.read(place)?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let [seconds, nanos] = [0, 1].map(|index| i64::from_le_bytes(numbers[index]));
        Ok(seconds * 1_000_000_000 + nanos)
    }
}

fn jump(from: u64, to: u64) -> [u8; JUMP_BYTES as usize] {
    let distance = to.wrapping_sub(from + JUMP_BYTES) as i32;
    let [a, b, c, d] = distance.to_le_bytes();
    [JUMP, a, b, c, d]
}

fn own_bytes(name: &str) -> io::Result<[u8; JUMP_BYTES as usize]> {
    let own = Vdso::of(std::process::id() as i32)?;
    let begin = function(&own.image, name);
    let bytes = begin.and_then(|begin| own.image.get(begin as usize..)?.first_chunk().copied());
    bytes.ok_or_else(|| io::Error::other(format!("our own vDSO has no {name}")))
}

/// The instruction pointer, last on the line of `/proc/<pid>/task/<tid>/syscall`.
fn instruction(line: &str) -> Option<u64> {
    let last = line.split_ascii_whitespace().next_back()?;
    u64::from_str_radix(last.strip_prefix("0x")?, 16).ok()
}
