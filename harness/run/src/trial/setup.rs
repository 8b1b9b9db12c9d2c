//! From nothing to a cluster that serves: network, agents, nodes, clients, first data.
//!
//! Everything that can is started side by side; each step waits for reports, never for time.

use std::fs;
use std::path::Path;

use shakedown_contracts::control::{CONTROL_VERSION, ClientOrder, Names, NetworkOrder, NodeOrder};
use shakedown_contracts::node::CLIENT_PORT;
use shakedown_contracts::plan::Plan;
use shakedown_contracts::run_directory::TrialDirectory;
use shakedown_contracts::units::Duration;

use super::{Abort, Running};
use crate::error::RunError;
use crate::stage::Process;
use crate::target::reference;

/// A process says that it is in place within milliseconds; a network of 200 nodes takes a second.
const READY_PATIENCE: Duration = Duration::from_secs(10);

/// How long a cluster that serves may take to accept the first data.
const PREPARE_PATIENCE: Duration = Duration::from_secs(10);

/// A worker gives up by itself; this much later it counts as hanging.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Lines of a log that are shown with the death of its process.
const LOG_LINES_SHOWN: usize = 8;

/// Bytes of a log that are looked at for its last lines.
const LOG_BYTES_SHOWN: usize = 4096;

/// Makes the folders of a trial.
///
/// # Errors
/// [`RunError::Write`]
pub(super) fn make_folders(directory: &TrialDirectory) -> Result<(), RunError> {
    let make = |path: &Path| fs::create_dir_all(path).map_err(RunError::write(path));
    make(directory.path())?;
    for file in [
        directory.log("any"),
        directory.node_config("any"),
        directory.node_data("any"),
    ] {
        make(
            file.parent()
                .expect("every file of a trial lies in a folder of it"),
        )?;
    }
    Ok(())
}

impl Running<'_> {
    pub(super) async fn set_up(&mut self) -> Result<(), Abort> {
        self.build_network().await?;
        self.start_processes().await?;
        self.start_nodes().await?;
        self.wait_for_clients().await?;
        self.prepare_workload().await
    }

    async fn build_network(&mut self) -> Result<(), Abort> {
        let plan = self.assignment.plan;
        let mut endpoints = reference::node_endpoints(plan);
        endpoints.extend(reference::client_endpoints(plan));
        let hello = NetworkOrder::Hello {
            version: CONTROL_VERSION,
            endpoints,
            ledger: self.assignment.ledgers.join("network.jsonl"),
            seed: self.assignment.trial.seed,
        };
        if let Err(error) = self.cluster.start_network(&hello).await {
            return Err(self.set_up_failed(error.to_string()));
        }
        let until = self.cluster.now().after(READY_PATIENCE);
        let ready = self
            .pump(until, |trial| !trial.heard.namespaces.is_empty())
            .await;
        self.must_be_ready(ready, &Process::NetworkAgent)
    }

    /// All node agents and all client workers at once.
    async fn start_processes(&mut self) -> Result<(), Abort> {
        let assignment = self.assignment;
        let plan = assignment.plan;
        for (node, _) in plan.target.members() {
            let seed = assignment.trial.seed;
            let program = reference::prepare(
                plan,
                seed,
                node,
                assignment.executable,
                &assignment.directory,
            )?;
            let hello = NodeOrder::Hello {
                version: CONTROL_VERSION,
                node: node.clone(),
                namespace: self.namespace(node)?,
                ledger: assignment.ledgers.join(format!("node-{node}.jsonl")),
                program,
                disk: plan.preparations.serve_disks.then_some(seed),
                names: plan.preparations.serve_names.then(|| names(plan, seed)),
            };
            self.cluster.start_node(node, &hello).await?;
        }
        for group in &plan.workload.groups {
            let hello = ClientOrder::Hello {
                version: CONTROL_VERSION,
                group: group.name.clone(),
                namespace: self.namespace(&group.name)?,
                workload: plan.workload.clone(),
                nodes: reference::node_endpoints(plan),
                port: CLIENT_PORT,
                seed: assignment.trial.seed,
            };
            self.cluster.start_clients(&group.name, &hello).await?;
        }
        Ok(())
    }

    async fn start_nodes(&mut self) -> Result<(), Abort> {
        let nodes = &self.assignment.plan.target.member_names();
        let until = self.cluster.now().after(READY_PATIENCE);
        let count = nodes.len();
        let ready = self
            .pump(until, |trial| trial.heard.node_agents_ready.len() == count)
            .await;
        let missing = nodes
            .iter()
            .find(|node| !self.heard.node_agents_ready.contains(*node));
        let missing = missing.cloned().unwrap_or_default();
        self.must_be_ready(ready, &Process::NodeAgent(missing))?;
        for node in nodes {
            self.cluster.order_node(node, &NodeOrder::Start).await?;
        }
        let timeout = self.assignment.plan.target.ready_timeout;
        let until = self.cluster.now().after(timeout);
        let done = |trial: &Self| trial.view.all_ready() || trial.heard.died.is_some();
        let in_time = self.pump(until, done).await?;
        if let Some((node, status)) = self.heard.died.clone() {
            return Err(self.node_failed(&node, &format!("ended before it was ready: {status}")));
        }
        let late = nodes.iter().find(|node| !self.view.node(node).ready);
        match late {
            Some(node) if !in_time => {
                Err(self.node_failed(node, &format!("was not ready within {timeout}")))
            }
            _ => self.wait_until_served(timeout).await,
        }
    }

    async fn wait_until_served(&mut self, timeout: Duration) -> Result<(), Abort> {
        let until = self.cluster.now().after(timeout);
        let done = |trial: &Self| trial.view.is_served() || trial.heard.died.is_some();
        if self.pump(until, done).await? && self.heard.died.is_none() {
            return Ok(());
        }
        let reason = match (&self.heard.died, self.view.primary()) {
            (Some((node, status)), _) => {
                return Err(self.node_failed(node, &format!("ended at the start: {status}")));
            }
            (None, primary) => primary.err().unwrap_or_default(),
        };
        Err(Abort::Broken(format!(
            "nobody serves clients within {timeout} of the start: {reason}"
        )))
    }

    async fn wait_for_clients(&mut self) -> Result<(), Abort> {
        let groups = &self.assignment.plan.workload.groups;
        let count = groups.len();
        let until = self.cluster.now().after(READY_PATIENCE);
        let ready = self
            .pump(until, |trial| trial.heard.clients_ready.len() == count)
            .await;
        let missing = groups
            .iter()
            .find(|one| !self.heard.clients_ready.contains(&one.name));
        let missing = missing.map(|group| group.name.clone()).unwrap_or_default();
        self.must_be_ready(ready, &Process::Clients(missing))
    }

    async fn prepare_workload(&mut self) -> Result<(), Abort> {
        let Some(first) = self.assignment.plan.workload.groups.first() else {
            return Ok(());
        };
        let order = ClientOrder::Prepare {
            timeout: PREPARE_PATIENCE,
        };
        self.cluster.order_clients(&first.name, &order).await?;
        let until = self
            .cluster
            .now()
            .after(PREPARE_PATIENCE)
            .after(ANSWER_PATIENCE);
        if self.pump(until, |trial| trial.heard.prepared).await? {
            return Ok(());
        }
        let log = self.log(&Process::Clients(first.name.clone()));
        Err(Abort::Broken(format!(
            "the first data was not written within {PREPARE_PATIENCE}; see {}",
            log.display()
        )))
    }

    fn namespace(&self, endpoint: &str) -> Result<std::path::PathBuf, Abort> {
        self.heard.namespaces.get(endpoint).cloned().ok_or_else(|| {
            self.set_up_failed(format!(
                "the network agent made no namespace for {endpoint}"
            ))
        })
    }

    /// A process that fails before it is in place fails in every trial.
    fn must_be_ready(&self, ready: Result<bool, Abort>, process: &Process) -> Result<(), Abort> {
        match ready {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.set_up_failed(format!(
                "{process} was not in place within {READY_PATIENCE}; see {}",
                self.log(process).display()
            ))),
            Err(Abort::Broken(reason)) => Err(self.set_up_failed(reason)),
            Err(abort) => Err(abort),
        }
    }

    fn node_failed(&self, node: &str, what: &str) -> Abort {
        let path = self.assignment.directory.log(node);
        let log = match last_lines(&path) {
            Some(lines) => format!("; the end of {}:\n{lines}", path.display()),
            None => format!("; it wrote nothing to {}", path.display()),
        };
        self.set_up_failed(format!("node {node} {what}{log}"))
    }
}

/// All endpoints by their names.
fn names(plan: &Plan, seed: u64) -> Names {
    let mut endpoints = reference::node_endpoints(plan);
    endpoints.extend(reference::client_endpoints(plan));
    Names { endpoints, seed }
}

/// The last lines of a log, indented; `None` of an empty or missing one.
fn last_lines(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let tail = &bytes[bytes.len().saturating_sub(LOG_BYTES_SHOWN)..];
    let text = String::from_utf8_lossy(tail);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
    let indented: Vec<String> = shown.iter().map(|line| format!("  {line}")).collect();
    (!indented.is_empty()).then(|| indented.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.log");
        assert_eq!(last_lines(&path), None);
        let long: String = (0..5000).map(|number| format!("line {number}\n")).collect();
        fs::write(&path, long).unwrap();
        let shown = last_lines(&path).unwrap();
        assert_eq!(shown.lines().count(), LOG_LINES_SHOWN);
        assert!(shown.ends_with("  line 4999"), "{shown}");
    }
}
