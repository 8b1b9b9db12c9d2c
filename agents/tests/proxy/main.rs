//! The proxy between real sockets and programs that are not ours.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code, which clippy sees only in #[test]"
)]

mod commands;
mod removal;
mod support;
mod toxics;
