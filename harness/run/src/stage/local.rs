//! The `local` stage: real processes on this machine, a network namespace each.
//!
//! Every process is this program started again. The cluster of one trial lives in one value;
//! dropping it kills what is left, and the kernel takes namespaces and nodes along.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use shakedown_contracts::control::{ClientOrder, NetworkOrder, NodeOrder};
use shakedown_contracts::run_directory::TrialDirectory;
use shakedown_contracts::time::Moment;
use tokio::sync::mpsc;

use super::cluster::log_of;
use super::connection::{Connection, Launch, StageError};
use super::{Arrival, Process, Report};
use crate::clock;
use crate::error::RunError;
use crate::pacing::Alarm;

/// Reports that may wait for the trial's loop; beyond it the processes' pipes fill, which is their
/// signal to wait.
const WAITING_MAX: usize = 1024;

/// A process whose output has ended has this long to be gone itself.
const END_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// The processes of one trial.
#[derive(Debug)]
pub struct Cluster {
    executable: PathBuf,
    directory: TrialDirectory,
    processes: BTreeMap<Process, Connection>,
    sender: mpsc::Sender<Arrival>,
    arrivals: mpsc::Receiver<Arrival>,
    alarm: Alarm,
}

impl Cluster {
    /// No process yet. `executable` is this program; logs go below `directory`.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new(executable: &Path, directory: &TrialDirectory) -> Result<Self, RunError> {
        let (sender, arrivals) = mpsc::channel(WAITING_MAX);
        Ok(Cluster {
            executable: executable.to_owned(),
            directory: directory.clone(),
            processes: BTreeMap::new(),
            sender,
            arrivals,
            alarm: Alarm::new()?,
        })
    }

    /// CLOCK_MONOTONIC.
    pub fn now(&self) -> Moment {
        clock::now()
    }

    /// Starts the network agent.
    ///
    /// # Errors
    /// [`StageError`]
    pub async fn start_network(&mut self, hello: &NetworkOrder) -> Result<(), StageError> {
        let launch = self.launch(Process::NetworkAgent, &["agent", "network"]);
        let connection = Connection::open(launch, self.sender.clone(), Report::Network)?;
        self.add(Process::NetworkAgent, connection)
            .order(hello)
            .await
    }

    /// Starts the agent of a node.
    ///
    /// # Errors
    /// [`StageError`]
    pub async fn start_node(&mut self, node: &str, hello: &NodeOrder) -> Result<(), StageError> {
        let process = Process::NodeAgent(node.to_owned());
        let launch = self.launch(process.clone(), &["agent", "node"]);
        let name = node.to_owned();
        let wrap = move |report| Report::Node {
            node: name.clone(),
            report,
        };
        let connection = Connection::open(launch, self.sender.clone(), wrap)?;
        self.add(process, connection).order(hello).await
    }

    /// Starts the worker of a group of clients.
    ///
    /// # Errors
    /// [`StageError`]
    pub async fn start_clients(
        &mut self,
        group: &str,
        hello: &ClientOrder,
    ) -> Result<(), StageError> {
        let process = Process::Clients(group.to_owned());
        let launch = self.launch(process.clone(), &["agent", "client"]);
        let name = group.to_owned();
        let wrap = move |report| Report::Client {
            group: name.clone(),
            report,
        };
        let connection = Connection::open(launch, self.sender.clone(), wrap)?;
        self.add(process, connection).order(hello).await
    }

    /// Orders the network agent.
    ///
    /// # Errors
    /// [`StageError::Order`]
    pub async fn order_network(&mut self, order: &NetworkOrder) -> Result<(), StageError> {
        match self.processes.get_mut(&Process::NetworkAgent) {
            Some(agent) => agent.order(order).await,
            None => Err(self.gone(Process::NetworkAgent)),
        }
    }

    /// Orders the agent of a node.
    ///
    /// # Errors
    /// [`StageError::Order`]
    pub async fn order_node(&mut self, node: &str, order: &NodeOrder) -> Result<(), StageError> {
        let process = Process::NodeAgent(node.to_owned());
        match self.processes.get_mut(&process) {
            Some(agent) => agent.order(order).await,
            None => Err(self.gone(process)),
        }
    }

    /// Orders the worker of a group.
    ///
    /// # Errors
    /// [`StageError::Order`]
    pub async fn order_clients(
        &mut self,
        group: &str,
        order: &ClientOrder,
    ) -> Result<(), StageError> {
        let process = Process::Clients(group.to_owned());
        match self.processes.get_mut(&process) {
            Some(worker) => worker.order(order).await,
            None => Err(self.gone(process)),
        }
    }

    /// The next report of any process, or `None` at `deadline`.
    ///
    /// # Errors
    /// When the kernel refuses the timer.
    pub async fn next_until(&mut self, deadline: Moment) -> Result<Option<Arrival>, RunError> {
        tokio::select! {
            biased;
            rung = self.alarm.until(deadline) => rung.map(|()| None),
            arrival = self.arrivals.recv() => {
                Ok(Some(arrival.expect("the cluster holds a sender of its own channel")))
            }
        }
    }

    /// Processes that have not been ended yet.
    pub fn processes(&self) -> Vec<Process> {
        self.processes.keys().cloned().collect()
    }

    /// Closes a process's input, which asks it to end.
    pub fn close_orders(&mut self, process: &Process) {
        if let Some(connection) = self.processes.get_mut(process) {
            connection.close_orders();
        }
    }

    /// Waits for the end of a process whose output has ended; kills it if it stays.
    pub async fn end(&mut self, process: &Process) -> String {
        let Some(connection) = self.processes.remove(process) else {
            return "was ended before".to_owned();
        };
        match connection.end(END_PATIENCE).await {
            Ok(status) => status.to_string(),
            Err(error) => format!("its status is lost: {error}"),
        }
    }

    /// Kills whatever is left and waits for it.
    pub async fn kill_all(&mut self) {
        while let Some((_, connection)) = self.processes.pop_first() {
            // The status of a killed process says nothing.
            let _ = connection.end(std::time::Duration::ZERO).await;
        }
    }

    /// Where a process writes its own troubles.
    fn log(&self, process: &Process) -> PathBuf {
        log_of(&self.directory, process)
    }

    fn launch<'a>(&'a self, process: Process, arguments: &'a [&'a str]) -> Launch<'a> {
        let log = self.log(&process);
        Launch {
            process,
            executable: &self.executable,
            arguments,
            log,
        }
    }

    fn add(&mut self, process: Process, connection: Connection) -> &mut Connection {
        match self.processes.entry(process) {
            Entry::Vacant(place) => place.insert(connection),
            Entry::Occupied(_) => unreachable!("each process of a trial is started once"),
        }
    }

    fn gone(&self, process: Process) -> StageError {
        let log = self.log(&process);
        StageError::Order {
            process,
            reason: "it is gone".to_owned(),
            log,
        }
    }
}
