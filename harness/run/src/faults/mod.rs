//! Plays a trial's schedule of faults.
//!
//! `selectors` says which nodes a fault means at this moment, `shapes` which links a partition
//! cuts, `parts` which agents must do what, and `player` follows each injection from its due moment
//! to its verified heal. All of it is pure: time and reports go in, events and orders come out.

pub mod parts;
pub mod player;
pub mod selectors;
pub mod shapes;
pub mod view;

mod injection;
