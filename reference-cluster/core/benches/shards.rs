//! How fast values become Reed–Solomon shards, and shards the value again, on one thread.
//!
//! `cargo bench -p shakedown-core --bench shards` prints a table in Markdown. Bytes are those of the
//! value; the value is given back from the last `k` shards, so that as many data shards as parity
//! allows are missing. Of several rounds the fastest counts: what slows one down is the machine.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

use std::hint::black_box;

use shakedown_contracts::random::Random;
use shakedown_core::redundancy::reed_solomon::Code;

/// Bytes of the value: more than the caches of one core hold.
const VALUE_BYTES: usize = 4 << 20;
const ROUNDS: u32 = 20;

fn main() {
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let mut random = Random::keyed(1, "value", "");
    let value: Vec<u8> = (0..VALUE_BYTES).map(|_| random.next_u64() as u8).collect();
    println!("| k + m | encode, GB/s | decode, GB/s |\n|---|---|---|");
    for (k, m) in [(1, 2), (2, 1), (4, 2), (6, 3), (10, 4)] {
        let code = Code::new(k, m).unwrap();
        let shards = code.encode(&value);
        let last: Vec<(usize, &[u8])> = shards
            .iter()
            .map(Vec::as_slice)
            .enumerate()
            .skip(m)
            .collect();
        assert_eq!(code.decode(&last, VALUE_BYTES).unwrap(), value);
        let encode = rate(|| drop(black_box(code.encode(black_box(&value)))));
        let decode = rate(|| drop(black_box(code.decode(black_box(&last), VALUE_BYTES))));
        println!("| {k} + {m} | {encode:.2} | {decode:.2} |");
    }
}

/// Gigabytes of value a second in the fastest round.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures; no node is built here"
)]
fn rate(mut work: impl FnMut()) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let begun = std::time::Instant::now();
        work();
        begun.elapsed()
    });
    VALUE_BYTES as f64 / rounds.min().unwrap().as_secs_f64() / 1e9
}
