//! Faults of disks and clocks, and what strategies make of them.

#[path = "../group/mod.rs"]
mod group;

mod clock;
mod disk;
mod rollback;
