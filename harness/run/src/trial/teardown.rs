//! Takes a trial's processes down: asked first, killed when they do not end.
//!
//! Clients and nodes go before the network they stand in. An agent that ends heals everything it
//! did; one that must be killed takes its namespaces along.

use std::fs;

use shakedown_contracts::control::{ClientOrder, NetworkOrder, NodeOrder};
use shakedown_contracts::run_directory::TrialDirectory;
use shakedown_contracts::units::Duration;

use super::Running;
use crate::progress::{Progress, ProgressEvent};
use crate::stage::Process;

/// Killing a node that holds a gigabyte takes 0.4 s; who takes ten times as long hangs.
const END_PATIENCE: Duration = Duration::from_secs(4);

impl Running<'_> {
    pub(super) async fn take_down(&mut self) {
        self.ending = true;
        self.interrupts_heeded = 2;
        let (network, others): (Vec<_>, Vec<_>) = self
            .cluster
            .processes()
            .into_iter()
            .partition(|process| *process == Process::NetworkAgent);
        for processes in [others, network] {
            self.end(&processes).await;
        }
        self.cluster.kill_all().await;
    }

    async fn end(&mut self, processes: &[Process]) {
        for process in processes {
            // One that takes no order any more is ended by its closed input or killed below.
            let _ = match process {
                Process::NetworkAgent => self.cluster.order_network(&NetworkOrder::Shutdown).await,
                Process::NodeAgent(node) => {
                    self.cluster.order_node(node, &NodeOrder::Shutdown).await
                }
                Process::Clients(group) => {
                    self.cluster
                        .order_clients(group, &ClientOrder::Shutdown)
                        .await
                }
            };
            self.cluster.close_orders(process);
        }
        let until = self.cluster.now().after(END_PATIENCE);
        let all_closed = |trial: &Self| {
            processes
                .iter()
                .all(|process| trial.heard.closed.contains(process))
        };
        match self.pump(until, all_closed).await {
            Ok(true) => {}
            Ok(false) => self.warn_of(processes),
            // A second request to stop, or a full disk: no more waiting.
            Err(_) => return self.cluster.kill_all().await,
        }
        for process in processes {
            self.cluster.end(process).await;
        }
    }

    fn warn_of(&mut self, processes: &[Process]) {
        let open = processes
            .iter()
            .filter(|process| !self.heard.closed.contains(process));
        let open: Vec<String> = open.map(Process::to_string).collect();
        let message = format!(
            "{} did not end within {END_PATIENCE} and are killed",
            open.join(", ")
        );
        self.progress.event(ProgressEvent::Warning { message });
    }
}

/// Removes what the nodes stored: large, and nothing that is judged.
pub(super) fn remove_data(directory: &TrialDirectory, progress: &mut dyn Progress) {
    let data = directory.node_data("any");
    let Some(folder) = data.parent() else { return };
    if let Err(error) = fs::remove_dir_all(folder) {
        let message = format!("cannot remove {}: {error}", folder.display());
        progress.event(ProgressEvent::Warning { message });
    }
}
