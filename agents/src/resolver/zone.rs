//! What the resolver says about a name under all faults together: pure.
//!
//! Without faults a name of the run has its address, and no other name is known. Of several faults
//! that meet a name all delays add up, and the worst answer counts: silence before a failure, a
//! failure before "no such name", that before a wrong address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use shakedown_contracts::dns_fault::{DnsFault, DnsTrouble};
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::units::Duration;

/// Addresses that are drawn: a network for measurements that nobody routes (RFC 2544).
const RANDOM_NETWORK: [u8; 2] = [198, 18];

/// The faults in effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults(BTreeMap<String, DnsFault>);

/// What is to be answered, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// After so long.
    pub delay: Duration,
    /// This.
    pub answer: Answer,
}

/// What is to be answered. The worst comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// The truth: this address, or that there is no such name.
    True(Option<Ipv4Addr>),
    /// An address of [`is_random`].
    Random,
    /// There is no such name.
    NoSuchName,
    /// The resolver failed.
    Failure,
    /// Nothing.
    Silence,
}

impl Faults {
    /// One more.
    pub fn begin(&mut self, id: &FaultId, fault: DnsFault) {
        self.0.insert(id.to_string(), fault);
    }

    /// One fewer.
    pub fn end(&mut self, id: &FaultId) {
        self.0.remove(&id.to_string());
    }

    /// What to say about a name, in lower case; `names` are those of the run.
    pub fn verdict(&self, names: &BTreeMap<String, Ipv4Addr>, name: &str) -> Verdict {
        let mut verdict = Verdict {
            delay: Duration::ZERO,
            answer: Answer::True(names.get(name).copied()),
        };
        for fault in self.0.values().filter(|fault| fault.meets(name)) {
            let answer = match &fault.trouble {
                DnsTrouble::Delay { latency } => {
                    verdict.delay = verdict.delay.saturating_add(*latency);
                    continue;
                }
                DnsTrouble::Random {} => Answer::Random,
                DnsTrouble::Nxdomain {} => Answer::NoSuchName,
                DnsTrouble::Error {} => Answer::Failure,
                DnsTrouble::Timeout {} => Answer::Silence,
            };
            verdict.answer = verdict.answer.max(answer);
        }
        verdict
    }
}

/// An address at which nobody is, by a number that was drawn.
pub fn random_address(drawn: u64) -> Ipv4Addr {
    let [a, b] = RANDOM_NETWORK;
    let [.., c, d] = drawn.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

/// Whether it is such an address.
pub fn is_random(address: Ipv4Addr) -> bool {
    address.octets()[..2] == RANDOM_NETWORK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(troubles: &[(&str, DnsTrouble)]) -> Faults {
        let mut faults = Faults::default();
        for (number, (names, trouble)) in troubles.iter().enumerate() {
            let id = FaultId {
                fault: "dns".to_owned(),
                occurrence: number as u32,
            };
            let fault = DnsFault {
                trouble: trouble.clone(),
                names: vec![(*names).to_owned()],
            };
            faults.begin(&id, fault);
        }
        faults
    }

    #[test]
    fn delays_add_up_and_the_worst_answer_counts_in_either_order() {
        let names = BTreeMap::from([("n1".to_owned(), Ipv4Addr::LOCALHOST)]);
        let slow = DnsTrouble::Delay {
            latency: Duration::from_millis(20),
        };
        let (error, silent) = (DnsTrouble::Error {}, DnsTrouble::Timeout {});
        let both = faults(&[("n*", slow.clone()), ("*", slow), ("n1", error.clone())]);
        let verdict = both.verdict(&names, "n1");
        assert_eq!(verdict.delay, Duration::from_millis(40));
        assert_eq!(verdict.answer, Answer::Failure);
        assert_eq!(both.verdict(&names, "x").answer, Answer::True(None));
        for troubles in [
            [("*", error.clone()), ("*", silent.clone())],
            [("*", silent), ("*", error)],
        ] {
            assert_eq!(
                faults(&troubles).verdict(&names, "n1").answer,
                Answer::Silence
            );
        }
        let truth = Faults::default().verdict(&names, "n1").answer;
        assert_eq!(truth, Answer::True(Some(Ipv4Addr::LOCALHOST)));
        assert!(is_random(random_address(u64::MAX)) && !is_random(Ipv4Addr::LOCALHOST));
    }
}
