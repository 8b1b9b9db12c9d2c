//! Warm-up, faults, settling, final reads: the part of a trial that is measured.
//!
//! Phases begin at absolute moments, so that lateness of one does not push the next; only the
//! settle phase begins when the last heal is verified, since liveness is demanded from then on.

use shakedown_contracts::control::ClientOrder;
use shakedown_contracts::event::{Event, Phase};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Abort, Running};
use crate::canary::{Canary, STALL};
use crate::error::RunError;
use crate::progress::ProgressEvent;

/// Enough for the order to reach every worker before its first operation is due.
const START_DELAY: Duration = Duration::from_millis(50);

/// How long reading everything back may take.
const FINAL_READS_PATIENCE: Duration = Duration::from_secs(10);

/// Beyond its own limits a worker has this long to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

impl Running<'_> {
    pub(super) async fn phases(&mut self) -> Result<(), Abort> {
        let phases = self.assignment.plan.phases;
        // Virtual time never stalls.
        if self.cluster.is_real() {
            let canary = Canary::start().map_err(RunError::system::<std::io::Error>(
                "start the canary's thread",
            ))?;
            self.canary = Some(canary);
        }
        let started = self.cluster.now().after(START_DELAY);
        self.order_all_clients(&ClientOrder::Start { at: started })
            .await?;
        self.wait_until(started).await?;
        self.begin(Phase::WarmUp, started, Some(phases.warm_up))
            .await?;

        let faults_began = started.after(phases.warm_up);
        self.wait_until(faults_began).await?;
        self.begin(Phase::Fault, faults_began, Some(phases.fault))
            .await?;
        self.player.begin(faults_began);
        self.wait_until(faults_began.after(phases.fault)).await?;
        self.heal().await?;

        let settling = self.cluster.now();
        self.begin(Phase::Settle, settling, Some(phases.settle))
            .await?;
        self.wait_until(settling.after(phases.settle)).await?;
        self.stop_clients().await?;
        self.read_back().await?;
        self.begin(Phase::End, self.cluster.now(), None).await
    }

    /// Heals what is left and waits until every heal is verified or given up. Each injection has a
    /// deadline of its own, so the player always comes to its end.
    async fn heal(&mut self) -> Result<(), Abort> {
        let actions = self.player.settle(self.cluster.now());
        self.perform(actions).await?;
        self.pump(Moment(u64::MAX), |trial| trial.player.is_done())
            .await?;
        Ok(())
    }

    async fn stop_clients(&mut self) -> Result<(), Abort> {
        self.heard.stopped.clear();
        self.order_all_clients(&ClientOrder::Stop).await?;
        let patience = self
            .assignment
            .plan
            .workload
            .timeout
            .saturating_add(ANSWER_PATIENCE);
        self.wait_for_stopped(patience, "end their open operations")
            .await?;
        let lateness = self.heard.pacing_lateness_max;
        if lateness > STALL {
            let message = format!(
                "operations were offered up to {:.0} ms late; latencies count from when they \
                 were due",
                lateness.as_millis_f64()
            );
            self.progress.event(ProgressEvent::Warning { message });
        }
        Ok(())
    }

    async fn read_back(&mut self) -> Result<(), Abort> {
        if !self.assignment.plan.workload.final_reads {
            return Ok(());
        }
        self.begin(Phase::FinalReads, self.cluster.now(), None)
            .await?;
        self.heard.stopped.clear();
        let order = ClientOrder::FinalReads {
            timeout: FINAL_READS_PATIENCE,
        };
        self.order_all_clients(&order).await?;
        let patience = FINAL_READS_PATIENCE.saturating_add(ANSWER_PATIENCE);
        self.wait_for_stopped(patience, "read everything back")
            .await
    }

    async fn wait_for_stopped(&mut self, patience: Duration, task: &str) -> Result<(), Abort> {
        let groups = &self.assignment.plan.workload.groups;
        let count = groups.len();
        let until = self.cluster.now().after(patience);
        if self
            .pump(until, |trial| trial.heard.stopped.len() == count)
            .await?
        {
            return Ok(());
        }
        let late = groups
            .iter()
            .filter(|group| !self.heard.stopped.contains(&group.name));
        let late: Vec<&str> = late.map(|group| group.name.as_str()).collect();
        Err(Abort::Broken(format!(
            "clients {} did not {task} within {patience}; see their logs",
            late.join(", ")
        )))
    }

    async fn order_all_clients(&mut self, order: &ClientOrder) -> Result<(), Abort> {
        for group in &self.assignment.plan.workload.groups {
            self.cluster.order_clients(&group.name, order).await?;
        }
        Ok(())
    }

    async fn wait_until(&mut self, moment: Moment) -> Result<(), Abort> {
        self.pump(moment, |_| false).await.map(drop)
    }

    async fn begin(
        &mut self,
        phase: Phase,
        at: Moment,
        length: Option<Duration>,
    ) -> Result<(), Abort> {
        self.progress
            .event(ProgressEvent::PhaseStarted { phase, length });
        self.record_own_at(Event::PhaseStarted { phase }, at)
            .await?;
        Ok(())
    }
}
