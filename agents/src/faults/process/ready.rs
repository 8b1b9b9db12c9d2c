//! Waiting, without blocking, until a started node says that it serves.
//!
//! A process that exists is not yet a node that serves, so the heal of a kill ends with the node's
//! own `node.ready` and never with the start.

use shakedown_contracts::time::{Bracket, Moment};

use crate::clock;
use crate::faults::{Observation, Unverified};
use crate::node_agent::node::{NodeProcess, Run};

/// One awaited start.
#[derive(Debug, Clone, Copy)]
pub(super) struct AwaitReady {
    generation: u32,
    started: Moment,
    deadline: Moment,
}

impl AwaitReady {
    /// Waits for the running process, for as long as its program may take from its start on.
    pub fn running(host: &NodeProcess) -> Result<Self, Unverified> {
        let Run::Running {
            generation,
            started,
            ..
        } = host.state()
        else {
            return Err(Unverified {
                reason: format!("{} does not run", host.name()),
            });
        };
        // From now on where it has been running for long: it may be on its way after a pause.
        let deadline = clock::now().after(host.program().ready_timeout);
        Ok(AwaitReady {
            generation,
            started,
            deadline,
        })
    }

    /// True when the awaited process has said that it serves, or has ended by itself: then it is not dead by
    /// the fault any more; what it died of is its own, and judged as that.
    pub fn poll(&self, host: &NodeProcess) -> Result<bool, Unverified> {
        let name = host.name();
        match host.state() {
            Run::Running {
                generation,
                ready: Some(_),
                ..
            } if generation == self.generation => Ok(true),
            Run::Running { generation, .. } if generation == self.generation => {
                if clock::now() < self.deadline {
                    return Ok(false);
                }
                let limit = host.program().ready_timeout;
                let log = host.program().log.display();
                let reason = format!("{name} was started and not ready within {limit}; see {log}");
                Err(Unverified { reason })
            }
            _ => match host.ending(self.generation) {
                Some(ending) if !ending.expected => Ok(true),
                ending => {
                    let how = ending.map_or("replaced", |ending| &ending.status);
                    let log = host.program().log.display();
                    let reason = format!("{name} ended before it was ready ({how}); see {log}");
                    Err(Unverified { reason })
                }
            },
        }
    }

    /// The start and its success as an observation.
    pub fn observation(&self, host: &NodeProcess) -> Result<Observation, Unverified> {
        if let Some(ending) = host.ending(self.generation) {
            let (generation, status) = (self.generation, &ending.status);
            let observed = format!("generation {generation} was started and ended: {status}");
            let at = Bracket {
                before: self.started,
                after: clock::now(),
            };
            return Ok(started(at, observed));
        }
        let Run::Running {
            ready: Some(ready), ..
        } = host.state()
        else {
            return Err(Unverified {
                reason: format!("{} is not ready", host.name()),
            });
        };
        let at = Bracket {
            before: self.started,
            after: ready,
        };
        let observed = format!(
            "generation {} ready {:.1} ms after its start",
            self.generation,
            at.width().as_millis_f64()
        );
        Ok(started(at, observed))
    }
}

fn started(at: Bracket, observed: String) -> Observation {
    Observation::new(at, "exec in a new pid namespace", observed)
}

/// Refuses a program whose readiness could not be seen, before anything is done to it.
pub(super) fn require_readiness(host: &NodeProcess) -> Result<(), Unverified> {
    match host.program().events_descriptor {
        Some(_) => Ok(()),
        None => Err(Unverified {
            reason: format!(
                "{}: its program has no events descriptor, so a start could not be seen to \
                 succeed; give it one",
                host.name()
            ),
        }),
    }
}
