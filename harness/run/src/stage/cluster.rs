//! The cluster of one trial, on whichever stage its plan names.

use std::path::PathBuf;

use shakedown_contracts::control::{ClientOrder, NetworkOrder, NodeOrder};
use shakedown_contracts::plan::Stage;
use shakedown_contracts::run_directory::TrialDirectory;
use shakedown_contracts::time::Moment;

use super::connection::StageError;
use super::{Arrival, Process, local, simulation};
use crate::error::RunError;
use crate::trial::Assignment;

/// Agents, nodes and client workers of one trial. Each method does what it says on every stage.
#[derive(Debug)]
pub enum Cluster {
    /// Real processes.
    Local(local::Cluster),
    /// Virtual time.
    Simulation(Box<simulation::Cluster>),
}

impl Cluster {
    /// Nothing runs yet.
    ///
    /// # Errors
    /// [`RunError`] when the stage has no room for it.
    pub fn new(assignment: &Assignment<'_>) -> Result<Self, RunError> {
        let (plan, directory) = (assignment.plan, &assignment.directory);
        Ok(match plan.stage {
            Stage::Local => Cluster::Local(local::Cluster::new(assignment.executable, directory)?),
            Stage::Simulation => {
                let seed = assignment.trial.seed;
                let cluster = simulation::Cluster::new(plan, seed, directory)?;
                Cluster::Simulation(Box::new(cluster))
            }
        })
    }

    /// False where time is virtual and never stalls.
    pub fn is_real(&self) -> bool {
        matches!(self, Cluster::Local(_))
    }

    /// The present, by the stage's clock.
    pub fn now(&self) -> Moment {
        match self {
            Cluster::Local(cluster) => cluster.now(),
            Cluster::Simulation(cluster) => cluster.now(),
        }
    }

    /// The next report of any process, or `None` at `deadline`.
    ///
    /// # Errors
    /// When the kernel refuses the timer.
    pub async fn next_until(&mut self, deadline: Moment) -> Result<Option<Arrival>, RunError> {
        match self {
            Cluster::Local(cluster) => cluster.next_until(deadline).await,
            Cluster::Simulation(cluster) => Ok(cluster.next_until(deadline).await),
        }
    }

    /// Starts the network agent.
    ///
    /// # Errors
    /// [`StageError`]
    pub async fn start_network(&mut self, hello: &NetworkOrder) -> Result<(), StageError> {
        match self {
            Cluster::Local(cluster) => cluster.start_network(hello).await,
            Cluster::Simulation(cluster) => {
                cluster.order_network(hello);
                Ok(())
            }
        }
    }

    /// Starts the agent of a node.
    ///
    /// # Errors
    /// [`StageError`]
    pub async fn start_node(&mut self, node: &str, hello: &NodeOrder) -> Result<(), StageError> {
        match self {
            Cluster::Local(cluster) => cluster.start_node(node, hello).await,
            Cluster::Simulation(cluster) => {
                cluster.order_node(node, hello);
                Ok(())
            }
        }
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
        match self {
            Cluster::Local(cluster) => cluster.start_clients(group, hello).await,
            Cluster::Simulation(cluster) => {
                cluster.order_clients(group, hello);
                Ok(())
            }
        }
    }

    /// Orders the network agent.
    ///
    /// # Errors
    /// [`StageError::Order`]
    pub async fn order_network(&mut self, order: &NetworkOrder) -> Result<(), StageError> {
        match self {
            Cluster::Local(cluster) => cluster.order_network(order).await,
            Cluster::Simulation(cluster) => {
                cluster.order_network(order);
                Ok(())
            }
        }
    }

    /// Orders the agent of a node.
    ///
    /// # Errors
    /// [`StageError::Order`]
    pub async fn order_node(&mut self, node: &str, order: &NodeOrder) -> Result<(), StageError> {
        match self {
            Cluster::Local(cluster) => cluster.order_node(node, order).await,
            Cluster::Simulation(cluster) => {
                cluster.order_node(node, order);
                Ok(())
            }
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
        match self {
            Cluster::Local(cluster) => cluster.order_clients(group, order).await,
            Cluster::Simulation(cluster) => {
                cluster.order_clients(group, order);
                Ok(())
            }
        }
    }

    /// Processes that have not been ended yet.
    pub fn processes(&self) -> Vec<Process> {
        match self {
            Cluster::Local(cluster) => cluster.processes(),
            Cluster::Simulation(cluster) => cluster.processes(),
        }
    }

    /// Closes a process's input, which asks it to end.
    pub fn close_orders(&mut self, process: &Process) {
        match self {
            Cluster::Local(cluster) => cluster.close_orders(process),
            Cluster::Simulation(_) => {}
        }
    }

    /// Waits for the end of a process whose output has ended; kills it if it stays.
    pub async fn end(&mut self, process: &Process) -> String {
        match self {
            Cluster::Local(cluster) => cluster.end(process).await,
            Cluster::Simulation(cluster) => cluster.end(process),
        }
    }

    /// Kills whatever is left and waits for it.
    pub async fn kill_all(&mut self) {
        match self {
            Cluster::Local(cluster) => cluster.kill_all().await,
            Cluster::Simulation(cluster) => cluster.end_all(),
        }
    }
}

/// Where a process of a trial writes its own troubles.
pub fn log_of(directory: &TrialDirectory, process: &Process) -> PathBuf {
    directory.log(&process.to_string().replace(' ', "-"))
}
