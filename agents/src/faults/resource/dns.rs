//! Looking names up fails or takes long: the node's resolver answers otherwise.
//!
//! Proof: the agent asks as the node's programs do, by datagram and by connection, for a name of each
//! pattern, and sees what all faults together should make of each, and after what time; a name that
//! no fault meets, if there is one, is answered with the truth. The same look confirms the heal.

use std::collections::BTreeSet;

use shakedown_contracts::dns_fault::{DnsFault, DnsTrouble};
use shakedown_contracts::event::{Achieved, Evidence};
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::time::Bracket;
use shakedown_contracts::units::Duration;

use crate::clock::{now, until_now};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::NodeProcess;
use crate::resolver::message::{Code, Reply};
use crate::resolver::{Answer, Heard, Resolver, Verdict, Way, ask, is_random};

const MECHANISM: &str = "the node's own resolver, on 127.0.0.53, which its resolv.conf names";
/// An answer takes tens of microseconds; a busy machine gets this long before a missing one counts.
const PATIENCE: Duration = Duration::from_millis(300);
/// An answer may be this late on a busy machine; a wrong delay is late in every look.
const LATENESS: Duration = Duration::from_millis(5);
const LOOKS: u32 = 5;
/// A name that nobody has.
const STRANGER: &str = "shakedown-probe.invalid";

/// The fault.
pub(super) struct Dns {
    pub id: FaultId,
    pub fault: DnsFault,
}

impl Fault<NodeProcess> for Dns {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let node = host.name().to_owned();
        let unverified = |reason: String| Unverified {
            reason: format!("{node}: {reason}"),
        };
        let resolver = host.resolver_mut().ok_or_else(|| {
            let reason =
                "it has no resolver of its own; the order that began the session gave no names";
            unverified(reason.to_owned())
        })?;
        let before = now();
        let begun = resolver.begin(&self.id, self.fault.clone());
        let at = until_now(before);
        let seen = begun
            .map_err(|error| error.to_string())
            .and_then(|()| changes_anything(resolver, &self.fault))
            .and_then(|()| look(resolver, &self.fault));
        match seen {
            Ok(seen) => Ok(self.observation(at, seen)),
            Err(reason) => {
                // If its process is gone, so is the fault.
                let _ = resolver.end(&self.id);
                Err(unverified(reason))
            }
        }
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let node = host.name().to_owned();
        let unverified = |reason: String| Unverified {
            reason: format!("{node}: {reason}"),
        };
        let resolver = host
            .resolver_mut()
            .ok_or_else(|| unverified("its resolver is gone".to_owned()))?;
        let before = now();
        let ended = resolver.end(&self.id);
        let at = until_now(before);
        let seen = ended
            .map_err(|error| error.to_string())
            .and_then(|()| look(resolver, &self.fault))
            .map_err(unverified)?;
        Ok(self.observation(at, seen))
    }
}

impl Dns {
    fn observation(&self, at: Bracket, seen: Seen) -> Observation {
        let latency = Achieved {
            name: "latency".to_owned(),
            requested: seen.requested_ms,
            achieved: seen.achieved_ms,
            unit: "ms".to_owned(),
        };
        let delays = matches!(self.fault.trouble, DnsTrouble::Delay { .. });
        let measured = delays && seen.answered;
        Observation {
            at,
            evidence: Evidence {
                mechanism: MECHANISM.to_owned(),
                observed: seen.observed,
                achieved: measured.then_some(latency).into_iter().collect(),
            },
        }
    }
}

/// What was seen.
#[derive(Debug)]
struct Seen {
    observed: String,
    /// Any answer of a met name came.
    answered: bool,
    requested_ms: f64,
    achieved_ms: f64,
}

/// A name that fits a pattern.
fn example_of(pattern: &str) -> String {
    pattern.replace('*', "probe").replace('?', "x")
}

/// Names to ask for that the fault meets, and one that no fault meets, if there is any.
fn names_to_ask(resolver: &Resolver, fault: &DnsFault) -> (BTreeSet<String>, Option<String>) {
    let of_run = resolver.names().filter(|name| fault.meets(name));
    let mut met: BTreeSet<String> = of_run.take(1).cloned().collect();
    match fault.names.is_empty() {
        true => met.extend([STRANGER.to_owned()]),
        false => met.extend(fault.names.iter().map(|pattern| example_of(pattern))),
    }
    let known = resolver.names().map(String::as_str);
    let truth = |name: &&str| {
        let Verdict { delay, answer } = resolver.verdict(name);
        !fault.meets(name) && delay.is_zero() && matches!(answer, Answer::True(_))
    };
    let free = known.chain([STRANGER]).find(truth);
    (met, free.map(str::to_owned))
}

/// That there is no such name is no fault where it is true of all names that are met.
fn changes_anything(resolver: &Resolver, fault: &DnsFault) -> Result<(), String> {
    let unknown = !resolver.names().any(|name| fault.meets(name));
    match fault.trouble {
        DnsTrouble::Nxdomain {} if unknown => {
            let names = fault.names.join(", ");
            Err(format!(
                "nobody has a name like {names} without the fault either"
            ))
        }
        _ => Ok(()),
    }
}

fn look(resolver: &Resolver, fault: &DnsFault) -> Result<Seen, String> {
    let (met, free) = names_to_ask(resolver, fault);
    let names: Vec<String> = met.iter().cloned().chain(free.clone()).collect();
    let longest = names.iter().map(|name| resolver.verdict(name).delay).max();
    let patience = PATIENCE.saturating_add(longest.unwrap_or_default());
    let mut number = 1;
    loop {
        let heard =
            ask(&names, patience).map_err(|error| format!("asking the resolver: {error}"))?;
        match judge(resolver, &met, &heard) {
            Ok(mut seen) => {
                // Silence is also what a dead resolver says.
                let serves = resolver.confirm();
                serves.map_err(|error| format!("the resolver does not serve: {error}"))?;
                match &free {
                    Some(free) => seen
                        .observed
                        .push_str(&format!("; {free} is answered truly")),
                    None => seen.observed.push_str("; no name is left alone"),
                }
                return Ok(seen);
            }
            Err(Wrong::Late(_)) if number < LOOKS => number += 1,
            Err(Wrong::Late(reason)) => return Err(format!("{reason}, in {LOOKS} looks")),
            Err(Wrong::Other(reason)) => return Err(reason),
        }
    }
}

/// Why an answer is not the expected one, in words.
#[derive(Debug, PartialEq)]
enum Wrong {
    /// It came later, as it also does when the machine stalls.
    Late(String),
    Other(String),
}

type Asked = (String, Way, Option<Heard>);

fn judge(resolver: &Resolver, met: &BTreeSet<String>, heard: &[Asked]) -> Result<Seen, Wrong> {
    let (mut answered, mut requested, mut achieved) = (0_u32, 0.0, 0.0);
    for (name, way, one) in heard {
        let verdict = resolver.verdict(name);
        judge_one(name, *way, &verdict, one.as_ref())?;
        if let Some(one) = one.as_ref().filter(|_| met.contains(name)) {
            answered += 1;
            requested += verdict.delay.as_millis_f64();
            achieved += one.took.as_millis_f64();
        }
    }
    let told = met.iter().map(|name| {
        let Verdict { delay, answer } = resolver.verdict(name);
        let answer = match answer {
            Answer::True(Some(address)) => address.to_string(),
            Answer::True(None) => "no such name, which is true".to_owned(),
            Answer::Random => "an address drawn at random".to_owned(),
            Answer::NoSuchName => "no such name".to_owned(),
            Answer::Failure => "the resolver failed".to_owned(),
            Answer::Silence => return format!("{name} is not answered"),
        };
        match delay.is_zero() {
            true => format!("{name} is answered: {answer}"),
            false => format!("{name} is answered {delay} later: {answer}"),
        }
    });
    let told: Vec<String> = told.collect();
    let count = f64::from(answered.max(1));
    Ok(Seen {
        observed: format!("by datagram and connection {}", told.join(", ")),
        answered: answered > 0,
        requested_ms: requested / count,
        achieved_ms: achieved / count,
    })
}

fn judge_one(name: &str, way: Way, verdict: &Verdict, heard: Option<&Heard>) -> Result<(), Wrong> {
    let by = match way {
        Way::Datagram => "datagram",
        Way::Stream => "connection",
    };
    let wrong = |what: String| Wrong::Other(format!("{name}, asked for by {by}, {what}"));
    let Some(Heard { reply, took }) = heard else {
        return match verdict.answer {
            Answer::Silence => Ok(()),
            _ => Err(Wrong::Late(format!(
                "{name}, asked for by {by}, was not answered"
            ))),
        };
    };
    if !answers(reply, verdict.answer) {
        return Err(wrong(format!(
            "was answered by {:?} {:?} where {:?} was asked for",
            reply.code, reply.addresses, verdict.answer
        )));
    }
    let after = format!("was answered after {:.3} ms", took.as_millis_f64());
    if *took < verdict.delay {
        return Err(wrong(format!(
            "{after}, before the {} that were asked for",
            verdict.delay
        )));
    }
    if *took > verdict.delay.saturating_add(LATENESS) {
        return Err(Wrong::Late(format!(
            "{name}, asked for by {by}, {after} where {} were asked for",
            verdict.delay
        )));
    }
    Ok(())
}

/// Whether an answer is what was to be answered.
fn answers(reply: &Reply, asked: Answer) -> bool {
    let random = |address: &std::net::IpAddr| match address {
        std::net::IpAddr::V4(address) => is_random(*address),
        std::net::IpAddr::V6(_) => false,
    };
    match asked {
        Answer::True(Some(address)) => reply.code == Code::Fine && reply.addresses == [address],
        Answer::True(None) | Answer::NoSuchName => {
            reply.code == Code::NoSuchName && reply.addresses.is_empty()
        }
        Answer::Random => {
            reply.code == Code::Fine
                && reply.addresses.len() == 1
                && reply.addresses.iter().all(random)
        }
        Answer::Failure => reply.code == Code::ServerFailure && reply.addresses.is_empty(),
        Answer::Silence => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const TRUE: Answer = Answer::True(Some(Ipv4Addr::new(10, 0, 0, 1)));

    fn heard(code: Code, last: Option<u8>, took_ms: u64) -> Heard {
        let addresses = last.map(|last| Ipv4Addr::new(10, 0, 0, last).into());
        Heard {
            reply: Reply {
                id: 1,
                code,
                addresses: addresses.into_iter().collect(),
            },
            took: Duration::from_millis(took_ms),
        }
    }

    fn judged(answer: Answer, delay_ms: u64, heard: Option<Heard>) -> Result<(), Wrong> {
        let delay = Duration::from_millis(delay_ms);
        judge_one(
            "n1",
            Way::Stream,
            &Verdict { delay, answer },
            heard.as_ref(),
        )
    }

    #[test]
    fn an_answer_that_is_not_the_one_asked_for_or_comes_too_soon_verifies_nothing() {
        let other = |result| matches!(result, Err(Wrong::Other(_)));
        let late = |result| matches!(result, Err(Wrong::Late(_)));
        let fine = |took| Some(heard(Code::Fine, Some(1), took));
        let failed = || Some(heard(Code::ServerFailure, None, 0));
        assert_eq!(judged(TRUE, 0, fine(0)), Ok(()));
        assert_eq!(judged(TRUE, 20, fine(21)), Ok(()));
        assert!(other(judged(TRUE, 20, fine(19))));
        assert!(late(judged(TRUE, 20, fine(40))));
        assert!(late(judged(TRUE, 0, None)));
        assert!(other(judged(TRUE, 0, failed())));
        assert!(other(judged(TRUE, 0, Some(heard(Code::Fine, Some(2), 0)))));
        assert_eq!(judged(Answer::Failure, 0, failed()), Ok(()));
        assert!(other(judged(Answer::Failure, 0, fine(0))));
        assert!(other(judged(Answer::NoSuchName, 0, failed())));
        assert!(
            other(judged(Answer::Random, 0, fine(0))),
            "the true address"
        );
        assert_eq!(judged(Answer::Silence, 0, None), Ok(()));
        assert!(other(judged(Answer::Silence, 0, failed())));
    }

    #[test]
    fn an_example_of_a_pattern_fits_it() {
        for pattern in ["*", "n?", "*.example", "db-*.x?", "plain"] {
            let fits = shakedown_contracts::pattern::fits(pattern, &example_of(pattern));
            assert!(fits, "{pattern}");
        }
    }
}
