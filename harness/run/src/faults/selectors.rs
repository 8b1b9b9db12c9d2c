//! Which nodes a fault acts on, decided at the moment of injection.
//!
//! Draws come from the trial's seed, keyed by the injection, so that the same trial draws the same
//! nodes again whatever else happens in it.

use shakedown_contracts::fault::Selector;
use shakedown_contracts::random::Random;

use super::view::View;

/// The nodes that `selector` means now, in the order of `nodes`. Only a name means one of the
/// `companions`.
///
/// # Errors
/// The reason why it means none, or cannot be decided.
pub fn resolve(
    selector: &Selector,
    (nodes, companions): (&[String], &[String]),
    view: &View,
    random: &mut Random,
) -> Result<Vec<String>, String> {
    let all = [nodes, companions].concat();
    let chosen = match selector {
        Selector::Names(names) => named(names, &all)?,
        Selector::One => draw(nodes, 1, random),
        Selector::All => nodes.to_vec(),
        Selector::Minority => draw(nodes, (nodes.len() - 1) / 2, random),
        Selector::Majority => draw(nodes, nodes.len() / 2 + 1, random),
        Selector::MinorityThird => draw(nodes, minority_third(nodes.len()), random),
        Selector::Primary => vec![view.primary()?],
        Selector::Backups => {
            let primary = view.primary()?;
            view.live()
                .into_iter()
                .filter(|name| *name != primary)
                .collect()
        }
    };
    if chosen.is_empty() {
        return Err(format!(
            "\"{selector}\" selects no node of {}",
            nodes.join(", ")
        ));
    }
    let means = |name: &String| match selector {
        Selector::Names(_) => chosen.contains(name),
        _ => chosen.contains(name) && nodes.contains(name),
    };
    Ok(all.into_iter().filter(means).collect())
}

/// The largest number below a third, at least one.
pub fn minority_third(count: usize) -> usize {
    (count.saturating_sub(1) / 3).max(1)
}

fn named(names: &[String], nodes: &[String]) -> Result<Vec<String>, String> {
    match names.iter().find(|name| !nodes.contains(name)) {
        Some(unknown) => Err(format!(
            "there is no node {unknown}, only {}",
            nodes.join(", ")
        )),
        None => Ok(names.to_vec()),
    }
}

fn draw(nodes: &[String], count: usize, random: &mut Random) -> Vec<String> {
    let mut shuffled = nodes.to_vec();
    random.shuffle(&mut shuffled);
    shuffled.truncate(count);
    shuffled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::view::tests::cluster;

    fn nodes(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("n{number}")).collect()
    }

    fn resolve_in(count: usize, selector: Selector, seed: u64) -> Result<Vec<String>, String> {
        let view = cluster(count, &[("n2", 3)]);
        let mut random = Random::keyed(seed, "selector", "f");
        resolve(
            &selector,
            (&nodes(count), &["s1".to_owned()]),
            &view,
            &mut random,
        )
    }

    #[test]
    fn counts_stay_on_their_side_of_half_and_of_a_third() {
        for (count, minority, majority, third) in [
            (3, 1, 2, 1),
            (4, 1, 3, 1),
            (5, 2, 3, 1),
            (6, 2, 4, 1),
            (7, 3, 4, 2),
            (10, 4, 6, 3),
        ] {
            let length = |selector| resolve_in(count, selector, 1).unwrap().len();
            assert_eq!(length(Selector::Minority), minority, "{count}");
            assert_eq!(length(Selector::Majority), majority, "{count}");
            assert_eq!(length(Selector::MinorityThird), third, "{count}");
            assert_eq!(length(Selector::All), count);
        }
    }

    #[test]
    fn a_draw_repeats_with_its_seed_and_reaches_every_node() {
        let one = |seed| resolve_in(5, Selector::One, seed).unwrap();
        assert_eq!(one(4), one(4));
        let drawn: std::collections::BTreeSet<_> = (0..200).map(one).collect();
        // A node missed by 200 draws of one in five has probability 0.8^200 < 1e-19.
        assert_eq!(drawn.len(), 5);
    }

    #[test]
    fn roles_come_from_the_view_and_names_must_exist() {
        assert_eq!(resolve_in(3, Selector::Primary, 1).unwrap(), ["n2"]);
        assert_eq!(resolve_in(3, Selector::Backups, 1).unwrap(), ["n1", "n3"]);
        let names = Selector::Names(vec!["n3".into(), "n1".into()]);
        assert_eq!(resolve_in(3, names, 1).unwrap(), ["n1", "n3"]);
        let companion = Selector::Names(vec!["s1".into()]);
        assert_eq!(resolve_in(3, companion, 1).unwrap(), ["s1"]);
        let error = resolve_in(3, Selector::Names(vec!["n9".into()]), 1).unwrap_err();
        assert_eq!(error, "there is no node n9, only n1, n2, n3, s1");
        assert!(resolve_in(1, Selector::Minority, 1).is_err());
    }
}
