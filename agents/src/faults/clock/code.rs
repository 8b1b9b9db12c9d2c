//! The code that runs inside a target instead of its vDSO's: x86-64.
//!
//! It asks the kernel by the system call, then shows another time: with t the true time in
//! nanoseconds, `t + offset + (t - anchor) · drift`, where drift is a signed fraction of 2³², and in
//! every other period since the anchor `swing` more. It is assembled into this program, refers to nothing outside itself, and is copied out of here. It keeps
//! to the calling convention of the functions it stands for, and needs 40 bytes of stack.

use std::ops::Range;

core::arch::global_asm!(
    ".pushsection .text.shakedown_clock, \"ax\"",
    ".balign 16",
    ".globl shakedown_clock_begin",
    "shakedown_clock_begin:",
    // Anchor, offset, drift, period, swing: of wall time, then of the clocks that count since boot.
    "20: .quad 0, 0, 0, 0, 0",
    "21: .quad 0, 0, 0, 0, 0",
    ".globl shakedown_clock_gettime",
    "shakedown_clock_gettime:",
    "mov eax, 228",
    "syscall",
    "test eax, eax",
    "jnz 29f",
    "lea r8, [rip + 20b]",
    "test edi, edi", // CLOCK_REALTIME
    "jz 22f",
    "cmp edi, 5", // CLOCK_REALTIME_COARSE
    "jz 22f",
    "cmp edi, 11", // CLOCK_TAI
    "jz 22f",
    "add r8, 40",
    "cmp edi, 1", // CLOCK_MONOTONIC
    "jz 22f",
    "cmp edi, 4", // CLOCK_MONOTONIC_RAW
    "jz 22f",
    "cmp edi, 6", // CLOCK_MONOTONIC_COARSE
    "jz 22f",
    "cmp edi, 7", // CLOCK_BOOTTIME
    "jz 22f",
    "xor eax, eax",
    "ret",
    "22:",
    "imul r9, [rsi], 1000000000",
    "add r9, [rsi + 8]",
    "call 27f",
    "mov [rsi], rax",
    "mov [rsi + 8], rdx",
    "xor eax, eax",
    "29: ret",
    ".globl shakedown_clock_gettimeofday",
    "shakedown_clock_gettimeofday:",
    "mov eax, 96",
    "syscall",
    "test eax, eax",
    "jnz 29b",
    "test rdi, rdi",
    "jz 29b",
    "imul r9, [rdi], 1000000000",
    "imul rax, [rdi + 8], 1000",
    "add r9, rax",
    "lea r8, [rip + 20b]",
    "call 27f",
    "mov [rdi], rax",
    "mov rax, rdx",
    "xor edx, edx",
    "mov ecx, 1000",
    "div rcx",
    "mov [rdi + 8], rax",
    "xor eax, eax",
    "ret",
    ".globl shakedown_clock_time",
    "shakedown_clock_time:",
    "push rdi",
    "sub rsp, 16",
    "xor edi, edi",
    "mov rsi, rsp",
    "call shakedown_clock_gettime",
    "mov rax, [rsp]",
    "add rsp, 16",
    "pop rdi",
    "test rdi, rdi",
    "jz 29b",
    "mov [rdi], rax",
    "ret",
    // What is shown for r9 nanoseconds by the numbers at r8: seconds in rax, nanoseconds in rdx.
    "27:",
    "mov rax, r9",
    "sub rax, [r8]",
    "mov r10, rax",
    "imul qword ptr [r8 + 16]",
    "shrd rax, rdx, 32",
    "add r9, rax",
    "cmp qword ptr [r8 + 24], 0",
    "je 26f",
    "mov rax, r10",
    "cqo",
    "idiv qword ptr [r8 + 24]",
    "test al, 1",
    "jz 26f",
    "add r9, [r8 + 32]",
    "26:",
    "add r9, [r8 + 8]",
    "jns 28f",
    "xor r9d, r9d",
    "28:",
    "mov rax, r9",
    "xor edx, edx",
    "mov ecx, 1000000000",
    "div rcx",
    "ret",
    // Where a call made from outside comes back to.
    ".globl shakedown_clock_trap",
    "shakedown_clock_trap:",
    "int3",
    ".globl shakedown_clock_end",
    "shakedown_clock_end:",
    ".popsection",
);

unsafe extern "C" {
    static shakedown_clock_begin: u8;
    static shakedown_clock_gettime: u8;
    static shakedown_clock_gettimeofday: u8;
    static shakedown_clock_time: u8;
    static shakedown_clock_trap: u8;
    static shakedown_clock_end: u8;
}

/// Where the two settings stand in the code.
pub const WALL: u64 = 0;
/// Of the clocks that count since boot.
pub const SINCE_BOOT: u64 = SETTING_BYTES as u64;
/// Of one setting.
pub const SETTING_BYTES: usize = 40;

/// What a clock shows, by five numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Setting {
    /// True nanoseconds at which the drift began.
    pub anchor: i64,
    /// Nanoseconds ahead.
    pub offset: i64,
    /// Nanoseconds gained in 2³² true ones.
    pub drift: i64,
    /// Nanoseconds between two jumps to and fro; 0 for none.
    pub period: i64,
    /// How far those are.
    pub swing: i64,
}

impl Setting {
    /// As the code reads it.
    pub fn bytes(self) -> [u8; SETTING_BYTES] {
        let numbers = [
            self.anchor,
            self.offset,
            self.drift,
            self.period,
            self.swing,
        ];
        let mut bytes = [0; SETTING_BYTES];
        for (place, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        bytes
    }

    /// As the code holds it.
    pub fn of(bytes: [u8; SETTING_BYTES]) -> Self {
        let (numbers, _) = bytes.as_chunks::<8>();
        let number = |index: usize| i64::from_le_bytes(numbers[index]);
        Setting {
            anchor: number(0),
            offset: number(1),
            drift: number(2),
            period: number(3),
            swing: number(4),
        }
    }

    /// What is shown at a true time; the same as the code does.
    pub fn shown(self, truth: i64) -> i64 {
        let gained = (i128::from(truth - self.anchor) * i128::from(self.drift)) >> 32;
        let swung = self.period != 0 && (truth - self.anchor) / self.period % 2 != 0;
        truth + gained as i64 + self.offset + if swung { self.swing } else { 0 }
    }
}

/// Distances from the code's beginning.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    pub gettime: u64,
    pub gettimeofday: u64,
    pub time: u64,
    pub trap: u64,
}

/// The code, and where its parts begin.
pub fn code() -> (&'static [u8], Places) {
    let address = |symbol: *const u8| symbol as usize;
    let begin = &raw const shakedown_clock_begin;
    let range: Range<usize> = address(begin)..address(&raw const shakedown_clock_end);
    let place = |symbol: *const u8| (address(symbol) - range.start) as u64;
    let places = Places {
        gettime: place(&raw const shakedown_clock_gettime),
        gettimeofday: place(&raw const shakedown_clock_gettimeofday),
        time: place(&raw const shakedown_clock_time),
        trap: place(&raw const shakedown_clock_trap),
    };
    // SAFETY: both symbols are of the block above, so what lies between is mapped, readable and
    // never written.
    let bytes = unsafe { std::slice::from_raw_parts(begin, range.len()) };
    (bytes, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_small_and_begins_with_its_settings() {
        let (code, places) = code();
        assert!(code.len() < 500, "{}", code.len());
        assert!(code[..80].iter().all(|byte| *byte == 0));
        assert_eq!(places.gettime, 80);
        assert_eq!(code[places.trap as usize], 0xcc);
    }

    #[test]
    fn a_setting_shows_its_offset_and_its_drift() {
        let half = Setting {
            anchor: 1_000_000,
            drift: -(1 << 31),
            ..Setting::default()
        };
        assert_eq!(half.shown(1_000_000), 1_000_000);
        assert_eq!(half.shown(3_000_000), 2_000_000);
        let ahead = Setting {
            offset: 500,
            ..Setting::default()
        };
        assert_eq!(ahead.shown(7), 507);
        let strobe = Setting {
            anchor: 100,
            period: 10,
            swing: 1_000,
            ..Setting::default()
        };
        assert_eq!(
            [105, 115, 125].map(|truth| strobe.shown(truth)),
            [105, 1_115, 125]
        );
        assert_eq!(Setting::of(strobe.bytes()), strobe);
    }
}
