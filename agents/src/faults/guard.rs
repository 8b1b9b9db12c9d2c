//! The guard around every fault: written to the ledger and synced before it is applied, struck out
//! after it is healed. Nothing else calls `inject` or `heal`.

use shakedown_contracts::fault::FaultId;

use super::{Fault, Observation, Unverified};
use crate::ledger::{Ledger, LedgerError};

/// A host of faults that keeps a ledger.
pub trait Ledgered {
    /// Its ledger.
    fn ledger(&mut self) -> &mut Ledger;
}

impl From<LedgerError> for Unverified {
    fn from(error: LedgerError) -> Self {
        Unverified {
            reason: error.to_string(),
        }
    }
}

/// Writes the fault down, then injects it. A fault that is not in effect is struck out again.
///
/// # Errors
/// [`Unverified`], also when it could not be written down; it was not applied then.
pub fn inject<Host: Ledgered>(
    host: &mut Host,
    id: &FaultId,
    description: &str,
    fault: &mut dyn Fault<Host>,
) -> Result<Observation, Unverified> {
    host.ledger().enter(id, description)?;
    let outcome = fault.inject(host);
    if outcome.is_err() {
        host.ledger().strike(id)?;
    }
    outcome
}

/// Heals the fault if it can be healed now, then strikes it out. `None`: ask again later.
///
/// What could not be healed stays in the ledger until the agent's end takes everything down.
pub fn heal<Host: Ledgered>(
    host: &mut Host,
    id: &FaultId,
    fault: &mut dyn Fault<Host>,
) -> Option<Result<Observation, Unverified>> {
    match fault.prepare_heal(host) {
        Ok(false) => return None,
        Ok(true) => {}
        Err(unverified) => return Some(Err(unverified)),
    }
    let outcome = fault.heal(host).and_then(|observation| {
        host.ledger().strike(id)?;
        Ok(observation)
    });
    Some(outcome)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use shakedown_contracts::event::Evidence;
    use shakedown_contracts::time::{Bracket, Moment};

    use super::*;
    use crate::ledger::read;

    struct Host {
        ledger: Ledger,
        path: PathBuf,
    }

    impl Ledgered for Host {
        fn ledger(&mut self) -> &mut Ledger {
            &mut self.ledger
        }
    }

    /// Notes what the ledger's file held while it was being applied and healed.
    #[derive(Default)]
    struct Spy {
        refuses: bool,
        seen_open: Vec<usize>,
    }

    impl Spy {
        fn look(&mut self, host: &Host) -> Result<Observation, Unverified> {
            self.seen_open
                .push(read(&host.path).unwrap().open_faults.len());
            if self.refuses {
                return Err(Unverified {
                    reason: "refused".into(),
                });
            }
            let moment = Moment(1);
            Ok(Observation {
                at: Bracket {
                    before: moment,
                    after: moment,
                },
                evidence: Evidence {
                    mechanism: String::new(),
                    observed: String::new(),
                    achieved: Vec::new(),
                },
            })
        }
    }

    impl Fault<Host> for Spy {
        fn inject(&mut self, host: &mut Host) -> Result<Observation, Unverified> {
            self.look(host)
        }

        fn heal(&mut self, host: &mut Host) -> Result<Observation, Unverified> {
            self.look(host)
        }
    }

    fn id() -> FaultId {
        FaultId {
            fault: "spied".into(),
            occurrence: 0,
        }
    }

    fn host(folder: &tempfile::TempDir) -> Host {
        let path = folder.path().join("ledger.jsonl");
        Host {
            ledger: Ledger::open(&path, "agent").unwrap(),
            path,
        }
    }

    #[test]
    fn a_fault_stands_in_the_file_before_it_is_applied_and_until_it_is_healed() {
        let folder = tempfile::tempdir().unwrap();
        let mut host = host(&folder);
        let mut spy = Spy::default();
        inject(&mut host, &id(), "spy", &mut spy).unwrap();
        heal(&mut host, &id(), &mut spy).unwrap().unwrap();
        assert_eq!(
            spy.seen_open,
            [1, 1],
            "open in the file during inject and during heal"
        );
        assert_eq!(read(&host.path).unwrap().open_faults, []);
    }

    #[test]
    fn a_fault_that_is_not_in_effect_is_struck_out_and_one_not_healed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut host = host(&folder);
        let mut spy = Spy {
            refuses: true,
            ..Spy::default()
        };
        inject(&mut host, &id(), "spy", &mut spy).unwrap_err();
        assert_eq!(read(&host.path).unwrap().open_faults, []);

        spy.refuses = false;
        inject(&mut host, &id(), "spy", &mut spy).unwrap();
        spy.refuses = true;
        heal(&mut host, &id(), &mut spy).unwrap().unwrap_err();
        assert_eq!(read(&host.path).unwrap().open_faults.len(), 1);
    }
}
