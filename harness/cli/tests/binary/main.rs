//! The real binary, from the outside: what it does with an experiment, with wrong input, and when
//! it is killed.

mod end_to_end;
mod killed_harness;
mod proxy;
mod support;
mod wrong_input;
