//! A group's share of the workload: which processes are its own and how much it offers.
//!
//! Every worker is given the whole workload and computes its share alone, so shares must add up
//! without anybody comparing notes: they are cut at cumulative bounds.

use std::collections::BTreeMap;

use shakedown_contracts::plan::Workload;
use shakedown_contracts::random::Random;

use super::WorkloadError;

/// What one group does of a workload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Share {
    /// The group's name.
    pub name: String,
    /// Its position among the groups.
    pub group: u64,
    /// Clients of the groups before it: its first process.
    pub first_process: u64,
    /// Its clients.
    pub clients: u64,
    /// Clients of all groups.
    pub clients_all: u64,
    /// Operations a second it offers.
    pub rate: f64,
}

impl Share {
    /// The share of the group of this name.
    ///
    /// # Errors
    /// When there is no such group or the rate cannot be offered.
    pub fn of(workload: &Workload, name: &str) -> Result<Share, WorkloadError> {
        if !(workload.rate.is_finite() && workload.rate > 0.0) {
            return Err(WorkloadError::Rate(workload.rate));
        }
        let group = workload.groups.iter().position(|group| group.name == name);
        let group = group.ok_or_else(|| WorkloadError::UnknownGroup(name.to_owned()))?;
        let count = |groups: &[shakedown_contracts::plan::ClientGroup]| -> u64 {
            groups.iter().map(|group| u64::from(group.clients)).sum()
        };
        let clients = u64::from(workload.groups[group].clients);
        let clients_all = count(&workload.groups);
        Ok(Share {
            name: name.to_owned(),
            group: group as u64,
            first_process: count(&workload.groups[..group]),
            clients,
            clients_all,
            rate: workload.rate * clients as f64 / clients_all.max(1) as f64,
        })
    }

    /// The group's part of a limit shared by all clients; parts add up to the limit, except that
    /// none is below 1.
    pub fn divide(&self, limit: u32) -> u32 {
        let cut = |clients: u64| u64::from(limit) * clients / self.clients_all.max(1);
        let part = cut(self.first_process + self.clients) - cut(self.first_process);
        u32::try_from(part.max(1)).expect("a part of a u32 is a u32")
    }

    /// The `counter`-th number that no other group makes; 2^40 of them last for any trial.
    pub fn unique(&self, counter: u64) -> u64 {
        ((self.group + 1) << 40) | counter
    }
}

/// Draws operations by their shares.
#[derive(Debug, Clone)]
pub(crate) struct Mix<T> {
    choices: Vec<(T, f64)>,
    total: f64,
}

impl<T: Copy> Mix<T> {
    /// A mix of the named choices.
    ///
    /// # Errors
    /// When a name is unknown or no share is above zero.
    pub fn new(
        mix: &BTreeMap<String, f64>,
        known: &[(&str, T)],
        expected: &'static str,
    ) -> Result<Self, WorkloadError> {
        let refused = || WorkloadError::Mix {
            mix: format!("{mix:?}"),
            expected,
        };
        let mut choices = Vec::with_capacity(mix.len());
        for (name, share) in mix {
            let choice = known
                .iter()
                .find(|(known, _)| known == name)
                .ok_or_else(refused)?;
            if !(share.is_finite() && *share >= 0.0) {
                return Err(refused());
            }
            choices.push((choice.1, *share));
        }
        let total: f64 = choices.iter().map(|(_, share)| share).sum();
        if total > 0.0 {
            Ok(Mix { choices, total })
        } else {
            Err(refused())
        }
    }

    /// One draw.
    pub fn draw(&self, random: &mut Random) -> T {
        let mut rest = random.unit() * self.total;
        for (choice, share) in &self.choices {
            if rest < *share {
                return *choice;
            }
            rest -= share;
        }
        // Rounding may leave a crumb: it belongs to the last choice that has a share at all.
        let last = self.choices.iter().rfind(|(_, share)| *share > 0.0);
        last.expect("a mix has a share above zero").0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use shakedown_contracts::plan::{ClientGroup, WorkloadKind};
    use shakedown_contracts::units::Duration;

    use super::*;

    /// A register workload with one group for each number of clients.
    pub(crate) fn workload(clients: &[u32]) -> Workload {
        let groups = clients
            .iter()
            .enumerate()
            .map(|(index, clients)| ClientGroup {
                name: format!("c{}", index + 1),
                beside: None,
                clients: *clients,
            });
        Workload {
            kind: WorkloadKind::Register {
                keys: 4,
                operations_per_key: Some(100),
            },
            clients: clients.iter().sum(),
            groups: groups.collect(),
            rate: 400.0,
            mix: [("read", 0.5), ("write", 0.3), ("cas", 0.2)]
                .map(|(name, share)| (name.to_owned(), share))
                .into(),
            timeout: Duration::from_secs(1),
            final_reads: true,
        }
    }

    #[test]
    fn shares_add_up_to_the_whole_workload() {
        let whole = workload(&[3, 3, 2]);
        let shares = ["c1", "c2", "c3"].map(|name| Share::of(&whole, name).unwrap());
        assert_eq!(
            shares.each_ref().map(|share| share.first_process),
            [0, 3, 6]
        );
        assert_eq!(shares.iter().map(|share| share.rate).sum::<f64>(), 400.0);
        assert_eq!(
            shares.iter().map(|share| share.divide(100)).sum::<u32>(),
            100
        );
        assert_eq!(shares.iter().map(|share| share.divide(1)).min(), Some(1));
    }

    #[test]
    fn an_unknown_group_or_an_impossible_rate_is_refused() {
        let mut whole = workload(&[1]);
        assert!(matches!(
            Share::of(&whole, "c9"),
            Err(WorkloadError::UnknownGroup(_))
        ));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            whole.rate = rate;
            assert!(
                matches!(Share::of(&whole, "c1"), Err(WorkloadError::Rate(_))),
                "{rate}"
            );
        }
    }

    #[test]
    fn a_mix_that_names_no_operation_of_the_kind_is_refused() {
        for mix in [
            vec![("scan", 1.0)],
            vec![],
            vec![("read", 0.0)],
            vec![("read", -1.0)],
        ] {
            let mix = mix
                .into_iter()
                .map(|(name, share)| (name.to_owned(), share))
                .collect();
            assert!(Mix::new(&mix, &[("read", ())], "read").is_err(), "{mix:?}");
        }
    }
}
