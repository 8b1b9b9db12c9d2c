//! A backend's queue: first come, first served, bounded, with a rule for what is given up.
//!
//! Under overload a long queue serves only those who have stopped waiting: the work is done and
//! nobody takes it. A rule that gives up what has waited too long keeps the served ones fresh.
//!
//! Invariant: never longer than its bound. Source of the CoDel rule for servers: Maurer, "Fail at
//! Scale" (2015), figure 3: a long wait is allowed to a burst, a short one to a standing queue.

use std::collections::VecDeque;

use shakedown_contracts::strategy::Shedding;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::message::WorkId;
use crate::interface::Peer;

/// How long a standing queue may make a request wait.
const CODEL_TARGET: Duration = Duration::from_millis(5);
/// A queue that was empty within so long is a burst; one request of it may wait as long.
const CODEL_INTERVAL: Duration = Duration::from_millis(100);

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub id: WorkId,
    /// Who asked.
    pub from: Peer,
    pub arrived: Moment,
    /// Whoever asked waits for so long.
    pub patience: Duration,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: VecDeque<Job>,
    bound: usize,
    shedding: Shedding,
    last_empty: Moment,
}

impl Queue {
    pub fn new(bound: u32, shedding: Shedding) -> Self {
        Queue {
            jobs: VecDeque::new(),
            bound: bound as usize,
            shedding,
            last_empty: Moment(0),
        }
    }

    /// Lets a job wait; gives it back when there is no place.
    pub fn push(&mut self, now: Moment, job: Job) -> Result<(), Job> {
        if self.jobs.is_empty() {
            self.last_empty = now;
        }
        if self.jobs.len() >= self.bound {
            return Err(job);
        }
        self.jobs.push_back(job);
        Ok(())
    }

    /// The next one to be served; those that are given up on the way go to `shed`.
    pub fn pop(&mut self, now: Moment, shed: &mut Vec<Job>) -> Option<Job> {
        // Ends: each turn takes one.
        while let Some(job) = self.jobs.pop_front() {
            if now.since(job.arrived) <= self.longest_wait(now, &job) {
                return Some(job);
            }
            shed.push(job);
        }
        self.last_empty = now;
        None
    }

    /// Takes a job out.
    pub fn remove(&mut self, id: WorkId) {
        self.jobs.retain(|job| job.id != id);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    fn longest_wait(&self, now: Moment, job: &Job) -> Duration {
        match self.shedding {
            Shedding::None => Duration::from_nanos(u64::MAX),
            Shedding::Deadline => job.patience,
            Shedding::Codel if now.since(self.last_empty) > CODEL_INTERVAL => CODEL_TARGET,
            Shedding::Codel => CODEL_INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Moment {
        Moment(millis * 1_000_000)
    }

    fn job(number: u64, arrived: u64) -> Job {
        Job {
            id: WorkId {
                incarnation: 1,
                number,
            },
            from: Peer(9),
            arrived: ms(arrived),
            patience: Duration::from_millis(50),
        }
    }

    /// What is served and what is given up when the queue is emptied at a moment.
    fn emptied(shedding: Shedding, arrivals: &[u64], now: u64) -> (Vec<u64>, Vec<u64>) {
        let mut queue = Queue::new(100, shedding);
        for (number, arrived) in (0..).zip(arrivals) {
            queue.push(ms(*arrived), job(number, *arrived)).unwrap();
        }
        let (mut shed, mut served) = (Vec::new(), Vec::new());
        while let Some(job) = queue.pop(ms(now), &mut shed) {
            served.push(job.id.number);
        }
        (served, shed.iter().map(|job| job.id.number).collect())
    }

    #[test]
    fn without_a_rule_everything_is_served_however_late() {
        let (served, shed) = emptied(Shedding::None, &[0, 1, 2], 10_000);
        assert_eq!((served, shed), (vec![0, 1, 2], vec![]));
    }

    #[test]
    fn after_its_deadline_a_job_is_given_up_and_not_before() {
        let (served, shed) = emptied(Shedding::Deadline, &[0, 10, 20], 60);
        assert_eq!((served, shed), (vec![1, 2], vec![0]), "10 waits for 50 ms");
    }

    #[test]
    fn codel_lets_a_burst_wait_and_keeps_a_standing_queue_short() {
        let burst = emptied(Shedding::Codel, &[0, 1, 2], 90);
        assert_eq!(burst, (vec![0, 1, 2], vec![]));
        let standing = emptied(Shedding::Codel, &[0, 100, 116, 118], 120);
        assert_eq!(standing, (vec![2, 3], vec![0, 1]));
    }

    #[test]
    fn a_full_queue_gives_the_job_back_and_what_is_removed_is_not_served() {
        let mut queue = Queue::new(2, Shedding::None);
        assert!(queue.push(ms(0), job(0, 0)).is_ok());
        assert!(queue.push(ms(0), job(1, 0)).is_ok());
        assert_eq!(queue.push(ms(0), job(2, 0)), Err(job(2, 0)));
        queue.remove(job(0, 0).id);
        assert_eq!(queue.pop(ms(1), &mut Vec::new()), Some(job(1, 0)));
        assert_eq!(queue.pop(ms(1), &mut Vec::new()), None);
    }
}
