//! Each shape against what its name promises.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::faults::view::tests::cluster;

fn topology(nodes: usize, beside: bool) -> Topology {
    let nodes: Vec<String> = (1..=nodes).map(|number| format!("n{number}")).collect();
    let group = |number: usize, beside: Option<String>| ClientGroup {
        name: format!("c{number}"),
        beside,
        clients: 1,
    };
    let groups = match beside {
        true => (1..)
            .zip(&nodes)
            .map(|(n, node)| group(n, Some(node.clone())))
            .collect(),
        false => vec![group(1, None)],
    };
    Topology {
        nodes,
        companions: Vec::new(),
        groups,
    }
}

fn cut_by(topology: &Topology, shape: PartitionShape, selected: &[&str], seed: u64) -> Cut {
    let selected: Vec<String> = selected.iter().map(|name| (*name).to_owned()).collect();
    let view = cluster(topology.nodes.len(), &[("n1", 1)]);
    let mut random = Random::keyed(seed, "shape", "f");
    topology
        .partition(&shape, &selected, &view, &mut random)
        .unwrap()
}

fn cuts(cut: &Cut) -> Vec<String> {
    cut.links
        .iter()
        .map(|link| format!("{}>{}", link.from, link.to))
        .collect()
}

/// Node → the nodes it hears, itself included.
fn hearing(topology: &Topology, cut: &Cut) -> BTreeMap<String, BTreeSet<String>> {
    let heard = |to: &String| {
        let all = topology.nodes.iter();
        all.filter(|from| !cut.links.contains(&link(from, to)))
            .cloned()
            .collect()
    };
    topology
        .nodes
        .iter()
        .map(|node| (node.clone(), heard(node)))
        .collect()
}

#[test]
fn isolate_cuts_both_ways_and_leaves_outside_clients_alone() {
    let cut = cut_by(&topology(3, false), PartitionShape::Isolate, &["n1"], 1);
    assert_eq!(cuts(&cut), ["n1>n2", "n1>n3", "n2>n1", "n3>n1"]);
    assert_eq!(cut.nodes, ["n1"]);
}

#[test]
fn a_group_beside_a_node_shares_its_cuts() {
    let cut = cut_by(&topology(3, true), PartitionShape::Isolate, &["n1"], 1);
    let cut = cuts(&cut);
    for cut_off in ["c1>n2", "n3>c1", "n1>c2", "c3>n1"] {
        assert!(cut.contains(&cut_off.to_owned()), "{cut_off} in {cut:?}");
    }
    for kept in ["c1>n1", "n1>c1", "c2>n2", "c2>n3", "n3>c2"] {
        assert!(!cut.contains(&kept.to_owned()), "{kept} in {cut:?}");
    }
}

#[test]
fn two_isolated_nodes_are_alone_each() {
    let cut = cuts(&cut_by(
        &topology(3, false),
        PartitionShape::Isolate,
        &["n1", "n2"],
        1,
    ));
    assert!(cut.contains(&"n1>n2".to_owned()) && cut.contains(&"n2>n1".to_owned()));
}

#[test]
fn one_way_is_one_way() {
    let cut = cut_by(&topology(3, true), PartitionShape::OneWay, &["n1"], 1);
    let cut = cuts(&cut);
    assert!(cut.contains(&"n1>n2".to_owned()) && cut.contains(&"n1>c2".to_owned()));
    assert!(
        cut.iter()
            .all(|link| !link.ends_with(">n1") && !link.ends_with(">c1")),
        "{cut:?}"
    );
}

#[test]
fn halves_hear_only_their_own_half_and_the_first_is_the_smaller() {
    let topology = topology(5, false);
    let cut = cut_by(&topology, PartitionShape::Halves, &[], 1);
    assert_eq!(cut.nodes, ["n1", "n2"]);
    let hearing = hearing(&topology, &cut);
    assert_eq!(hearing["n1"].len(), 2);
    assert_eq!(hearing["n5"].len(), 3);
    let drawn: BTreeSet<Vec<String>> = (0..100)
        .map(|seed| cut_by(&topology, PartitionShape::RandomHalves, &[], seed).nodes)
        .collect();
    assert!(drawn.len() > 1 && drawn.iter().all(|half| half.len() == 2));
}

#[test]
fn the_bridge_hears_everyone_and_the_halves_do_not_hear_each_other() {
    let topology = topology(5, false);
    let hearing = hearing(
        &topology,
        &cut_by(&topology, PartitionShape::Bridge, &[], 1),
    );
    assert_eq!(hearing["n3"].len(), 5);
    assert_eq!(hearing["n1"], ["n1", "n2", "n3"].map(String::from).into());
    assert_eq!(hearing["n5"], ["n3", "n4", "n5"].map(String::from).into());
}

#[test]
fn on_the_ring_everyone_hears_a_majority_and_no_two_the_same() {
    for count in 3..=12 {
        let topology = topology(count, false);
        for seed in 0..10 {
            let cut = cut_by(&topology, PartitionShape::MajoritiesRing, &[], seed);
            let hearing = hearing(&topology, &cut);
            assert!(
                hearing.values().all(|heard| heard.len() > count / 2),
                "{count}: {hearing:?}"
            );
            let distinct: BTreeSet<_> = hearing.values().collect();
            assert_eq!(distinct.len(), count, "{hearing:?}");
        }
    }
}

#[test]
fn a_grudge_cuts_exactly_what_the_named_do_not_hear() {
    let grudge = [("n1".to_owned(), ["n2", "c1"].map(String::from).into())].into();
    let cut = cut_by(&topology(3, true), PartitionShape::Grudge(grudge), &[], 1);
    assert_eq!(cuts(&cut), ["c1>n1", "n2>n1"]);
}

#[test]
fn from_to_takes_names_and_roles_and_refuses_unknown_ones() {
    let topology = topology(3, false);
    let shape = |from: &str, to: &str| PartitionShape::FromTo {
        from: from.into(),
        to: to.into(),
    };
    assert_eq!(
        cuts(&cut_by(&topology, shape("clients", "primary"), &[], 1)),
        ["c1>n1"]
    );
    let view = cluster(3, &[("n1", 1)]);
    let mut random = Random::keyed(1, "shape", "f");
    let error = topology
        .partition(&shape("n1", "nobody"), &[], &view, &mut random)
        .unwrap_err();
    assert_eq!(error, "there is no node, client group or role nobody");
}

#[test]
fn a_partition_that_cuts_nothing_is_refused() {
    let view = cluster(1, &[("n1", 1)]);
    let mut random = Random::keyed(1, "shape", "f");
    let single = topology(1, false);
    assert!(
        single
            .partition(&PartitionShape::Halves, &[], &view, &mut random)
            .is_err()
    );
    assert!(
        single
            .partition(&PartitionShape::Isolate, &["n1".into()], &view, &mut random)
            .is_err()
    );
}

#[test]
fn a_delay_takes_the_direction_and_the_peers_it_was_given() {
    let topology = topology(3, false);
    let view = cluster(3, &[("n1", 1)]);
    let links = |direction, peers: &[&str]| {
        let peers = peers.iter().map(|peer| (*peer).to_owned()).collect();
        let selection = LinkSelection {
            direction,
            peers,
            ports: Default::default(),
        };
        let links = topology
            .links_of(&["n1".into()], &selection, &view)
            .unwrap();
        cuts(&Cut {
            links,
            nodes: Vec::new(),
        })
    };
    assert_eq!(links(Direction::From, &[]), ["n1>n2", "n1>n3"]);
    assert_eq!(links(Direction::To, &["c1"]), ["c1>n1"]);
    assert_eq!(links(Direction::Both, &["n2"]), ["n1>n2", "n2>n1"]);
}

#[test]
fn a_crashed_host_loses_every_link() {
    let links = topology(3, false).all_links_of("n2");
    assert_eq!(links.len(), 6);
    assert!(links.contains(&link("c1", "n2")) && links.contains(&link("n2", "c1")));
}

#[test]
fn a_companion_stands_in_links_where_it_is_named_and_where_a_host_is_gone() {
    let mut topology = topology(3, false);
    topology.companions = vec!["b1".into()];
    let isolated = cut_by(&topology, PartitionShape::Isolate, &["n1"], 1);
    assert!(!cuts(&isolated).iter().any(|cut| cut.contains("b1")));
    let selection = LinkSelection {
        direction: Direction::Both,
        peers: vec!["b1".into()],
        ports: Default::default(),
    };
    let view = cluster(3, &[]);
    let links = topology
        .links_of(&["n1".into()], &selection, &view)
        .unwrap();
    assert_eq!(links, [link("b1", "n1"), link("n1", "b1")]);
    let of_host = topology.all_links_of("n1");
    assert!(of_host.contains(&link("b1", "n1")) && of_host.contains(&link("n1", "b1")));
    assert_eq!(
        topology.all_links_of("b1").len(),
        8,
        "three nodes, one group"
    );
}
