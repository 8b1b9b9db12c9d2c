//! "Did you mean …": the known word nearest to the one that was written.
//!
//! Nearest by optimal string alignment distance (Damerau 1964: insert, delete, replace, swap of
//! neighbours), and only when it is near enough that the guess is more help than noise.

/// Words longer than this are no misspelling of ours, and would cost quadratic time.
const LENGTH_MAX: usize = 64;

/// The known word that was probably meant, or `None`.
pub(crate) fn nearest<'k>(
    written: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let length = written.chars().count();
    if length > LENGTH_MAX {
        return None;
    }
    let limit = (length / 3).max(1);
    known
        .into_iter()
        .map(|word| (distance(&normal(written), &normal(word)), word))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// ``did you mean `x`?`` or, without a near word, all that is known.
pub(crate) fn hint<'k>(
    written: &str,
    what: &str,
    known: impl IntoIterator<Item = &'k str> + Clone,
) -> String {
    match nearest(written, known.clone()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!(
            "{what}: {}",
            known.into_iter().collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Case and the choice between `-` and `_` are no difference.
fn normal(word: &str) -> Vec<char> {
    word.chars()
        .map(|c| {
            if c == '_' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let replaced = last[j] + usize::from(l != r);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let known = ["threshold", "timeout", "heartbeat_interval"];
        assert_eq!(nearest("tresh0ld", known), Some("threshold"));
        assert_eq!(nearest("tiemout", known), Some("timeout"));
        assert_eq!(
            nearest("Heartbeat-Interval", known),
            Some("heartbeat_interval")
        );
        assert_eq!(nearest("latency", known), None);
        assert_eq!(nearest("", known), None);
    }
}
