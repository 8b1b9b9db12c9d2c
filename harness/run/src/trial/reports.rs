//! What the trial does with each report of its processes.

use shakedown_contracts::control::{
    CONTROL_VERSION, ClientReport, FaultReport, NetworkReport, NodeReport,
};
use shakedown_contracts::event::{Event, EventRecord, StampedEvent};
use shakedown_contracts::time::Moment;

use super::{Abort, Running};
use crate::progress::ProgressEvent;
use crate::stage::{Arrival, Process, Report};

impl Running<'_> {
    pub(super) async fn handle(&mut self, arrival: Arrival) -> Result<(), Abort> {
        let Arrival { received, report } = arrival;
        match report {
            Report::Network(report) => self.network(report).await,
            Report::Node { node, report } => self.node(node, report, received).await,
            Report::Client { group, report } => self.client(group, report).await,
            Report::Closed { process, reason } => self.closed(process, &reason).await,
        }
    }

    async fn network(&mut self, report: NetworkReport) -> Result<(), Abort> {
        match report {
            NetworkReport::Ready {
                version,
                namespaces,
                ..
            } => {
                self.check_version(version, &Process::NetworkAgent)?;
                let paths = namespaces.into_iter().map(|one| (one.endpoint, one.path));
                self.heard.namespaces = paths.collect();
                Ok(())
            }
            NetworkReport::Fault(report) => self.fault(&Process::NetworkAgent, report).await,
            NetworkReport::Failed { message } => self.failed(&Process::NetworkAgent, &message),
        }
    }

    async fn node(
        &mut self,
        node: String,
        report: NodeReport,
        received: Moment,
    ) -> Result<(), Abort> {
        let agent = Process::NodeAgent(node.clone());
        match report {
            NodeReport::Ready { version } => {
                self.check_version(version, &agent)?;
                self.heard.node_agents_ready.insert(node);
                Ok(())
            }
            NodeReport::Agent(stamped) => {
                let source = agent.to_string();
                self.node_event(&node, source, stamped, received).await
            }
            NodeReport::Node(stamped) => {
                let source = node.clone();
                self.node_event(&node, source, stamped, received).await
            }
            NodeReport::Fault(report) => self.fault(&agent, report).await,
            NodeReport::Failed { message } => self.failed(&agent, &message),
        }
    }

    async fn node_event(
        &mut self,
        node: &str,
        source: String,
        stamped: StampedEvent,
        received: Moment,
    ) -> Result<(), Abort> {
        let StampedEvent { time, event } = stamped;
        let record = EventRecord {
            time,
            received,
            source,
            event,
        };
        self.view.observe(node, &record);
        if let Event::NodeExited {
            status,
            expected: false,
        } = &record.event
        {
            self.heard
                .died
                .get_or_insert_with(|| (node.to_owned(), status.clone()));
            if !self.ending {
                let message = format!("{node} died by itself: {status}");
                self.progress.event(ProgressEvent::Warning { message });
            }
        }
        let actions = match self.ending {
            true => Vec::new(),
            false => self
                .player
                .observe(&record.event, self.cluster.now(), &self.view),
        };
        // Orders first: an injection right after an event does not wait for its recording.
        let performed = Box::pin(self.perform(actions)).await;
        let obeyed = self.obey_supervisor(&record.event).await;
        self.recorder.event(record).await?;
        performed.and(obeyed)
    }

    async fn fault(&mut self, agent: &Process, report: FaultReport) -> Result<(), Abort> {
        if self.ending {
            return Ok(());
        }
        let actions = self.player.report(agent, report, self.cluster.now());
        self.perform(actions).await
    }

    async fn client(&mut self, group: String, report: ClientReport) -> Result<(), Abort> {
        match report {
            ClientReport::Ready { version } => {
                self.check_version(version, &Process::Clients(group.clone()))?;
                self.heard.clients_ready.insert(group);
            }
            ClientReport::Prepared => self.heard.prepared = true,
            ClientReport::Operations { records } => self.recorder.operations(records).await?,
            ClientReport::Stopped {
                pacing_lateness_max,
            } => {
                let largest = self.heard.pacing_lateness_max.max(pacing_lateness_max);
                self.heard.pacing_lateness_max = largest;
                self.heard.stopped.insert(group);
            }
            ClientReport::Failed { message } => {
                return self.failed(&Process::Clients(group), &message);
            }
        }
        Ok(())
    }

    /// Nobody may leave before the end.
    async fn closed(&mut self, process: Process, reason: &str) -> Result<(), Abort> {
        self.heard.closed.insert(process.clone());
        if self.ending {
            return Ok(());
        }
        let status = self.cluster.end(&process).await;
        let log = self.log(&process);
        Err(Abort::Broken(format!(
            "{process} died: {reason}, {status}; see {}",
            log.display()
        )))
    }

    fn failed(&mut self, process: &Process, message: &str) -> Result<(), Abort> {
        let log = self.log(process);
        let message = format!("{process} failed: {message}; see {}", log.display());
        if self.ending {
            self.progress.event(ProgressEvent::Warning { message });
            return Ok(());
        }
        Err(Abort::Broken(message))
    }

    fn check_version(&self, version: u32, process: &Process) -> Result<(), Abort> {
        match version == CONTROL_VERSION {
            true => Ok(()),
            false => Err(self.set_up_failed(format!(
                "{process} speaks version {version} and the harness {CONTROL_VERSION}; \
                 was the program replaced during the run?"
            ))),
        }
    }
}
