//! Reads the node's config and refuses what cannot work, with path, key and what to write instead.
//!
//! Invariant: a `Config` that leaves this file names its own member by a valid index, has distinct
//! names and distinct addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use shakedown_contracts::node::{Member, NODE_CONFIG_FORMAT, NodeConfig};
use shakedown_core::interface::Peer;

use crate::error::NodeError;

/// A config that can work.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it was read from, for messages.
    pub path: PathBuf,
    /// As written.
    pub node: NodeConfig,
    /// The node's own index in the member list.
    pub own: Peer,
}

impl Config {
    /// The node's own entry in the member list.
    pub fn own_member(&self) -> &Member {
        &self.node.members[self.own.0 as usize]
    }

    /// All other members.
    pub fn peers(&self) -> impl Iterator<Item = (Peer, &Member)> {
        let indexed = self.node.members.iter().enumerate();
        indexed
            .map(|(index, member)| (Peer(index as u32), member))
            .filter(|(p, _)| *p != self.own)
    }
}

/// Where a member takes peers' data.
pub fn peer_address(member: &Member) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(member.address), member.peer_port)
}

/// Where a member takes heartbeats.
pub fn heartbeat_address(member: &Member) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(member.address), member.heartbeat_port)
}

/// Reads and checks a config file.
pub fn load(path: &Path) -> Result<Config, NodeError> {
    let text = std::fs::read(path).map_err(|source| NodeError::ConfigUnreadable {
        path: path.to_owned(),
        source,
    })?;
    let node: NodeConfig =
        serde_json::from_slice(&text).map_err(|source| NodeError::ConfigMalformed {
            path: path.to_owned(),
            source,
        })?;
    check(path, node)
}

fn check(path: &Path, node: NodeConfig) -> Result<Config, NodeError> {
    let invalid = |key: &str, value: String, problem: &str| NodeError::ConfigInvalid {
        path: path.to_owned(),
        key: key.to_owned(),
        value,
        problem: problem.to_owned(),
    };
    if node.format != NODE_CONFIG_FORMAT {
        let problem = format!("this version reads format {NODE_CONFIG_FORMAT}; use one version");
        return Err(invalid("format", node.format.to_string(), &problem));
    }
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for (index, member) in node.members.iter().enumerate() {
        if !names.insert(member.name.as_str()) {
            let key = format!("members[{index}].name");
            return Err(invalid(
                &key,
                member.name.clone(),
                "is there twice; give distinct names",
            ));
        }
        let ports = [
            ("peer", peer_address(member)),
            ("heartbeat", heartbeat_address(member)),
        ];
        for (protocol, address) in ports {
            if address.port() == 0 || !addresses.insert((protocol, address)) {
                let key = format!("members[{index}].{protocol}_port");
                let problem = "is zero or another member's; give each member ports of its own";
                return Err(invalid(&key, address.to_string(), problem));
            }
        }
    }
    let Some(own) = node
        .members
        .iter()
        .position(|member| member.name == node.name)
    else {
        return Err(invalid(
            "name",
            node.name,
            "is not one of `members`; add it there",
        ));
    };
    if !node.data_directory.is_dir() {
        let value = node.data_directory.display().to_string();
        return Err(invalid(
            "data_directory",
            value,
            "is no folder; create it first",
        ));
    }
    Ok(Config {
        path: path.to_owned(),
        node,
        own: Peer(own as u32),
    })
}

/// For tests of the sockets: `n1` and `n2` on loopback, each with one port for both protocols.
#[cfg(test)]
pub fn two_members(ports: [u16; 2], data_directory: &Path, own: u32) -> Config {
    let member = |index: usize| Member {
        name: format!("n{}", index + 1),
        address: std::net::Ipv4Addr::LOCALHOST,
        peer_port: ports[index],
        heartbeat_port: ports[index],
        kind: Default::default(),
    };
    let node = NodeConfig {
        format: NODE_CONFIG_FORMAT,
        name: format!("n{}", own + 1),
        members: vec![member(0), member(1)],
        data_directory: data_directory.to_owned(),
        strategy: Default::default(),
        seed: 1,
        hold_unsynced: false,
        client_port: 7000,
    };
    Config {
        path: "node.json".into(),
        node,
        own: Peer(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(directory: &Path) -> NodeConfig {
        two_members([1001, 1002], directory, 1).node
    }

    #[test]
    fn a_good_config_knows_its_own_member_and_its_peers() {
        let folder = tempfile::tempdir().unwrap();
        let config = check(Path::new("n2.json"), written(folder.path())).unwrap();
        assert_eq!(config.own, Peer(1));
        assert_eq!(config.own_member().name, "n2");
        let peers: Vec<_> = config.peers().map(|(peer, _)| peer).collect();
        assert_eq!(peers, [Peer(0)]);
    }

    #[test]
    fn a_config_that_cannot_work_is_refused_with_path_and_key() {
        type Change = fn(&mut NodeConfig);
        let folder = tempfile::tempdir().unwrap();
        let cases: [(&str, Change); 5] = [
            ("format = 99", |config| config.format = 99),
            ("name = n9", |config| config.name = "n9".to_owned()),
            ("members[1].name = n1", |config| {
                config.members[1].name = "n1".to_owned()
            }),
            ("members[1].peer_port", |config| {
                config.members[1].peer_port = 1001
            }),
            ("data_directory = /nowhere", |config| {
                config.data_directory = "/nowhere".into()
            }),
        ];
        for (expected, change) in cases {
            let mut config = written(folder.path());
            change(&mut config);
            let message = check(Path::new("n2.json"), config).unwrap_err().to_string();
            assert!(
                message.contains("n2.json") && message.contains(expected),
                "{message}"
            );
        }
    }

    #[test]
    fn a_missing_key_and_a_missing_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.json");
        let message = load(&path).unwrap_err().to_string();
        assert!(
            message.contains("n1.json") && message.contains("--config"),
            "{message}"
        );
        std::fs::write(&path, r#"{"format":1,"name":"n1"}"#).unwrap();
        let message = load(&path).unwrap_err().to_string();
        assert!(
            message.contains("n1.json") && message.contains("members"),
            "{message}"
        );
    }
}
