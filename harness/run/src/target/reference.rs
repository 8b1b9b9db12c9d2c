//! The reference cluster: this program's own `node` verb, one process a node.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use shakedown_contracts::control::{Endpoint, Program};
use shakedown_contracts::node::{
    CLIENT_PORT, HEARTBEAT_PORT, Member, NODE_CONFIG_FORMAT, NodeConfig, PEER_PORT,
};
use shakedown_contracts::plan::Plan;
use shakedown_contracts::random::Random;
use shakedown_contracts::run_directory::TrialDirectory;

use crate::error::RunError;

/// The descriptor on which a node reports its events.
const EVENTS_DESCRIPTOR: i32 = 3;

/// Addresses of nodes and companions in the namespaces that the run makes: number *i* is 10.77.0.*i*, from the 251st on in the even blocks after it.
pub fn node_endpoints(plan: &Plan) -> Vec<Endpoint> {
    endpoints(&plan.target.member_names(), 0)
}

/// Client group *i* is 10.77.1.*i*, from the 251st on in the odd blocks after it.
pub fn client_endpoints(plan: &Plan) -> Vec<Endpoint> {
    let names: Vec<String> = plan
        .workload
        .groups
        .iter()
        .map(|group| group.name.clone())
        .collect();
    endpoints(&names, 1)
}

fn endpoints(names: &[String], block: u8) -> Vec<Endpoint> {
    let address = |number: usize| {
        Ipv4Addr::new(
            10,
            77,
            block + 2 * (number / 250) as u8,
            (number % 250) as u8 + 1,
        )
    };
    let named = names.iter().enumerate();
    named
        .map(|(number, name)| Endpoint {
            name: name.clone(),
            address: address(number),
        })
        .collect()
}

/// Writes a node's configuration, makes its data folder and says how to start it.
///
/// # Errors
/// [`RunError::Write`]
pub fn prepare(
    plan: &Plan,
    seed: u64,
    node: &str,
    executable: &Path,
    directory: &TrialDirectory,
) -> Result<Program, RunError> {
    let data = directory.node_data(node);
    fs::create_dir_all(&data).map_err(RunError::write(&data))?;
    let path = directory.node_config(node);
    let config = config(plan, seed, node, directory);
    let json = serde_json::to_vec_pretty(&config).expect("a node's configuration is plain data");
    fs::write(&path, json).map_err(RunError::write(&path))?;
    let arguments = [
        "node".to_owned(),
        "--config".to_owned(),
        path.display().to_string(),
        "--events-descriptor".to_owned(),
        EVENTS_DESCRIPTOR.to_string(),
    ];
    Ok(Program {
        executable: executable.to_owned(),
        arguments: arguments.to_vec(),
        directory: data,
        log: directory.log(node),
        events_descriptor: Some(EVENTS_DESCRIPTOR),
        ready_timeout: plan.target.ready_timeout,
    })
}

/// A node's configuration; `seed` is the trial's.
pub fn config(plan: &Plan, seed: u64, node: &str, directory: &TrialDirectory) -> NodeConfig {
    let kinds = plan.target.members().map(|(_, kind)| kind);
    let members = node_endpoints(plan).into_iter().zip(kinds);
    let members = members.map(|(endpoint, kind)| Member {
        name: endpoint.name,
        address: endpoint.address,
        peer_port: PEER_PORT,
        heartbeat_port: HEARTBEAT_PORT,
        kind,
    });
    NodeConfig {
        format: NODE_CONFIG_FORMAT,
        name: node.to_owned(),
        members: members.collect(),
        data_directory: directory.node_data(node),
        strategy: plan.target.strategy.clone(),
        seed: Random::keyed(seed, "node", node).next_u64(),
        hold_unsynced: plan.preparations.hold_unsynced,
        client_port: CLIENT_PORT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_endpoints_share_an_address_in_a_large_cluster() {
        let names = |prefix: &str| {
            (1..=600)
                .map(|n| format!("{prefix}{n}"))
                .collect::<Vec<_>>()
        };
        let mut all = endpoints(&names("n"), 0);
        all.extend(endpoints(&names("c"), 1));
        assert_eq!(all[0].address, Ipv4Addr::new(10, 77, 0, 1));
        assert_eq!(all[600].address, Ipv4Addr::new(10, 77, 1, 1));
        let unique: std::collections::BTreeSet<_> = all.iter().map(|one| one.address).collect();
        assert_eq!(unique.len(), all.len());
    }
}
