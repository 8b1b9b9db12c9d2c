//! shakedown
fn main() {}
