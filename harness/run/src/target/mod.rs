//! What is tested: how its nodes are configured and started.

pub mod reference;
