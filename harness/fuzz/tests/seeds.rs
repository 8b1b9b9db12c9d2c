//! Every target holds for its seeds and for a few thousand mutations of them.

use shakedown_contracts::random::Random;
use shakedown_fuzz::TARGETS;

const MUTATIONS: u64 = 400;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("it is listable").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a seed is readable"))
        .collect()
}

fn mutated(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let end = (at + random.below(16) as usize).min(bytes.len());
        match random.below(4) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.extend_from_within(at..end),
            _ if at < bytes.len() => bytes[at] = random.next_u64() as u8,
            _ => bytes.push(random.next_u64() as u8),
        }
    }
    bytes
}

#[test]
fn every_target_holds_for_its_seeds_and_their_mutations() {
    for (name, hold) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seed");
        for (number, seed) in seeds.iter().enumerate() {
            hold(seed);
            let mut random = Random::keyed(1, name, &number.to_string());
            for _ in 0..MUTATIONS {
                hold(&mutated(seed, &mut random));
            }
        }
    }
}
