//! What the harness knows of the nodes at this moment, from the events it received.

use std::collections::BTreeMap;

use shakedown_contracts::event::{Event, EventRecord, Role};

/// One node as last heard of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Its process runs.
    pub live: bool,
    /// It serves.
    pub ready: bool,
    /// The last role it took on in its present life, and in which epoch.
    pub role: Option<(Role, u64)>,
}

/// All nodes as last heard of.
#[derive(Debug, Clone, Default)]
pub struct View {
    nodes: BTreeMap<String, NodeView>,
}

impl View {
    /// Nobody has been heard of.
    pub fn new(nodes: &[String]) -> Self {
        View {
            nodes: nodes
                .iter()
                .map(|name| (name.clone(), NodeView::default()))
                .collect(),
        }
    }

    /// Takes in an event about `node`, whoever reported it.
    pub fn observe(&mut self, node: &str, record: &EventRecord) {
        let Some(view) = self.nodes.get_mut(node) else {
            return;
        };
        match &record.event {
            Event::NodeStarted { .. } => {
                *view = NodeView {
                    live: true,
                    ..NodeView::default()
                }
            }
            Event::NodeExited { .. } => *view = NodeView::default(),
            Event::NodeReady {} => view.ready = true,
            Event::RoleChanged { role, epoch } => view.role = Some((*role, *epoch)),
            _ => {}
        }
    }

    /// The node of that name, as last heard of.
    pub fn node(&self, name: &str) -> NodeView {
        self.nodes.get(name).copied().unwrap_or_default()
    }

    /// True when every node serves.
    pub fn all_ready(&self) -> bool {
        self.nodes.values().all(|node| node.ready)
    }

    /// Nodes whose process runs, in order of name.
    pub fn live(&self) -> Vec<String> {
        let live = self.nodes.iter().filter(|(_, view)| view.live);
        live.map(|(name, _)| name.clone()).collect()
    }

    /// True when clients find somebody who serves them: one primary, or whoever needs none.
    pub fn is_served(&self) -> bool {
        let serves = |view: &NodeView| {
            let role = view.role.map(|(role, _)| role);
            view.live && matches!(role, Some(Role::Peer | Role::Balancer))
        };
        self.primary().is_ok() || self.nodes.values().any(serves)
    }

    /// The live node that claims to be primary in the newest epoch.
    ///
    /// # Errors
    /// When nobody claims it, or two do in the same epoch.
    pub fn primary(&self) -> Result<String, String> {
        let claims: Vec<(&String, u64)> = self
            .nodes
            .iter()
            .filter_map(|(name, view)| match view.role {
                Some((Role::Primary, epoch)) if view.live => Some((name, epoch)),
                _ => None,
            })
            .collect();
        let newest = claims.iter().map(|(_, epoch)| *epoch).max();
        let newest = newest.ok_or("no live node claims to be primary")?;
        let claimants: Vec<&str> = claims
            .iter()
            .filter(|(_, epoch)| *epoch == newest)
            .map(|(name, _)| name.as_str())
            .collect();
        match claimants[..] {
            [one] => Ok(one.to_owned()),
            _ => Err(format!(
                "{} all claim to be primary in epoch {newest}",
                claimants.join(" and ")
            )),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use shakedown_contracts::time::Moment;

    use super::*;

    pub(crate) fn record(source: &str, event: Event) -> EventRecord {
        EventRecord {
            time: Moment(1),
            received: Moment(1),
            source: source.to_owned(),
            event,
        }
    }

    /// n1..n`count`, all live; `claims` are (node, epoch) of primaries.
    pub(crate) fn cluster(count: usize, claims: &[(&str, u64)]) -> View {
        let names: Vec<String> = (1..=count).map(|number| format!("n{number}")).collect();
        let mut view = View::new(&names);
        for name in &names {
            view.observe(
                name,
                &record(
                    name,
                    Event::NodeStarted {
                        pid: 1,
                        generation: 1,
                    },
                ),
            );
            view.observe(name, &record(name, Event::NodeReady {}));
        }
        for (name, epoch) in claims {
            let event = Event::RoleChanged {
                role: Role::Primary,
                epoch: *epoch,
            };
            view.observe(name, &record(name, event));
        }
        view
    }

    #[test]
    fn the_primary_is_the_claimant_of_the_newest_epoch() {
        assert_eq!(cluster(3, &[("n1", 1), ("n3", 2)]).primary().unwrap(), "n3");
    }

    #[test]
    fn two_claimants_of_one_epoch_are_ambiguous() {
        let reason = cluster(3, &[("n1", 2), ("n3", 2)]).primary().unwrap_err();
        assert_eq!(reason, "n1 and n3 all claim to be primary in epoch 2");
    }

    #[test]
    fn a_dead_or_demoted_primary_claims_nothing() {
        let mut view = cluster(3, &[("n2", 5)]);
        let exited = Event::NodeExited {
            status: "signal 9".into(),
            expected: true,
        };
        view.observe("n2", &record("node-agent n2", exited));
        assert_eq!(
            view.primary().unwrap_err(),
            "no live node claims to be primary"
        );
        assert_eq!(view.live(), ["n1", "n3"]);
        let mut view = cluster(3, &[("n2", 5)]);
        let demoted = Event::RoleChanged {
            role: Role::Backup,
            epoch: 6,
        };
        view.observe("n2", &record("n2", demoted));
        assert!(view.primary().is_err());
    }
}
