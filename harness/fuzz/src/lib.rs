//! What must hold of every decoder that reads bytes from outside, whatever the bytes: it ends, it does not panic, and what
//! it accepted it would accept again.
//!
//! One function a decoder, by name in [`TARGETS`]. The usual tests feed each the seeds in `seeds/` and mutations of
//! them; `targets/` hands them to a fuzzer (cargo-fuzz, on a nightly toolchain).

mod dns;
mod event_lines;
mod experiment;
mod frames;
mod ledger;
mod netlink;
#[cfg(target_arch = "x86_64")]
mod vdso;

/// A decoder's name and what must hold of it.
pub type Target = (&'static str, fn(&[u8]));

/// All decoders.
pub const TARGETS: &[Target] = &[
    ("dns", dns::hold),
    ("event_lines", event_lines::hold),
    ("experiment", experiment::hold),
    ("frames", frames::hold),
    ("ledger", ledger::hold),
    ("netlink", netlink::hold),
    #[cfg(target_arch = "x86_64")]
    ("vdso", vdso::hold),
];

/// Hands bytes to the target of that name.
///
/// # Panics
/// When something does not hold, or there is no such target.
pub fn check(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, hold) = target.unwrap_or_else(|| panic!("no target {name}"));
    hold(bytes);
}
