//! Which nodes keep a key: rendezvous hashing.
//!
//! Each node draws a number for the key from a hash of both names; the ranking is by that number.
//! A node that is added or taken away moves only the keys whose first places it gains or loses.
//! Invariant: the ranking depends on names alone, so that all nodes agree on it without a word.
//!
//! Source: Thaler & Ravishankar 1998.

use super::hash;
use crate::interface::Peer;

/// All nodes, the one that keeps the key first of all at the front.
pub fn ranking(names: &[String], key: &str) -> Vec<Peer> {
    let draw = |name: &String| hash::of(&[name.as_bytes(), key.as_bytes()]);
    let mut ranked: Vec<(u64, Peer)> = names.iter().map(draw).zip((0..).map(Peer)).collect();
    ranked.sort_by(|one, other| other.cmp(one));
    ranked.into_iter().map(|(_, peer)| peer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("n{number}")).collect()
    }

    #[test]
    fn keys_are_spread_evenly() {
        let mut first = [0_u32; 5];
        for key in 0..5_000 {
            let ranking = ranking(&names(5), &format!("k{key}"));
            first[ranking[0].0 as usize] += 1;
        }
        // Binomial with mean 1000 and deviation 28: six deviations.
        assert!(
            first.iter().all(|count| count.abs_diff(1_000) < 170),
            "{first:?}"
        );
    }

    #[test]
    fn a_new_node_takes_its_share_and_moves_nothing_else() {
        let mut moved = 0;
        for key in 0..1_000 {
            let key = format!("k{key}");
            let before = ranking(&names(5), &key);
            let mut after = ranking(&names(6), &key);
            moved += usize::from(after[0] == Peer(5));
            after.retain(|peer| *peer != Peer(5));
            assert_eq!(before, after, "the order of the others stays");
        }
        assert!(moved.abs_diff(1_000 / 6) < 60, "{moved} moved");
    }
}
