//! Who is primary, as far as this group of clients can see.
//!
//! Asking costs messages, so nodes are asked only while something is wrong: an operation has been
//! open for longer than usual or has just failed, or nobody is known. Then each node is asked on
//! its own, so that one that hangs delays no other. The newest epoch wins; a group that is cut off
//! with an old primary keeps to that one, as real clients would.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration as StdDuration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::{Adapter, Standing};

/// An operation open for longer is a sign of trouble.
const PENDING_LONG: StdDuration = StdDuration::from_millis(50);
/// So long after a failed attempt nodes are still asked.
const TROUBLE_LASTS: StdDuration = StdDuration::from_millis(500);
/// Pause between two questions to one node.
const ASK_INTERVAL: StdDuration = StdDuration::from_millis(20);
/// How long a node may take to answer; short, since a node that was cut off is found again only
/// by a fresh connection.
const ASK_LIMIT: StdDuration = StdDuration::from_millis(100);
/// Every fourth question may take longer, so that a slow link (a delay fault) hides nobody.
const ASK_LIMIT_PATIENT: StdDuration = StdDuration::from_millis(500);
/// So many unanswered questions in a row make a known primary give way to an older one.
const SILENCE_MAX: u32 = 3;

/// A node that serves as primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Primary {
    /// Position of the node.
    pub node: usize,
    /// In which epoch.
    pub epoch: u64,
}

/// The last that was seen of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Unseen,
    Primary(u64),
    Other,
    Silent { claimed: Option<u64>, times: u32 },
}

/// What has been seen of all nodes, and whom that makes primary. Pure.
#[derive(Debug)]
struct View {
    sights: Vec<Sight>,
    current: Option<Primary>,
}

impl View {
    fn new(nodes: usize) -> Self {
        View {
            sights: vec![Sight::Unseen; nodes],
            current: None,
        }
    }

    fn observe(&mut self, node: usize, standing: Option<Standing>) {
        let before = self.sights[node];
        self.sights[node] = match standing {
            Some(Standing::Primary(epoch)) => Sight::Primary(epoch),
            Some(Standing::Other) => Sight::Other,
            None => match before {
                Sight::Silent { claimed, times } => Sight::Silent {
                    claimed,
                    times: times + 1,
                },
                Sight::Primary(epoch) => Sight::Silent {
                    claimed: Some(epoch),
                    times: 1,
                },
                Sight::Unseen | Sight::Other => Sight::Silent {
                    claimed: None,
                    times: 1,
                },
            },
        };
        self.choose();
    }

    fn choose(&mut self) {
        let claims = self
            .sights
            .iter()
            .enumerate()
            .filter_map(|(node, sight)| match sight {
                Sight::Primary(epoch) => Some(Primary {
                    node,
                    epoch: *epoch,
                }),
                Sight::Silent {
                    claimed: Some(epoch),
                    times,
                } if *times < SILENCE_MAX => Some(Primary {
                    node,
                    epoch: *epoch,
                }),
                _ => None,
            });
        let best = claims.max_by_key(|claim| claim.epoch);
        let silent = self
            .current
            .is_some_and(|known| matches!(self.sights[known.node], Sight::Silent { .. }));
        // A silent primary stays until somebody else claims the role: it may only be slow.
        if best.is_some() || !silent {
            self.current = best;
        }
    }
}

/// The view shared by all operations of a worker, and the asking that keeps it fresh.
#[derive(Debug)]
pub(crate) struct Tracker {
    view: RefCell<View>,
    current: watch::Sender<Option<Primary>>,
    trouble_until: Cell<Instant>,
    /// Since when operations are open.
    pending: RefCell<BTreeMap<u64, Instant>>,
    pending_next: Cell<u64>,
    nudge: Notify,
}

impl Tracker {
    /// Knows nothing yet of `nodes` nodes.
    pub fn new(nodes: usize) -> Rc<Self> {
        Rc::new(Tracker {
            view: RefCell::new(View::new(nodes)),
            current: watch::Sender::new(None),
            trouble_until: Cell::new(Instant::now()),
            pending: RefCell::default(),
            pending_next: Cell::new(0),
            nudge: Notify::new(),
        })
    }

    /// Starts asking; ends with the runtime.
    pub fn keep_fresh<A: Adapter>(self: &Rc<Self>, adapter: &Rc<A>) {
        for node in 0..adapter.node_count() {
            tokio::task::spawn_local(Rc::clone(self).ask(Rc::clone(adapter), node));
        }
    }

    /// Changes whenever another node or epoch is known as primary.
    pub fn watch(&self) -> watch::Receiver<Option<Primary>> {
        self.current.subscribe()
    }

    /// Takes note of what a node said, or that it said nothing.
    pub fn observe(&self, node: usize, standing: Option<Standing>) {
        let mut view = self.view.borrow_mut();
        view.observe(node, standing);
        let chosen = view.current;
        self.current
            .send_if_modified(|current| std::mem::replace(current, chosen) != chosen);
    }

    /// Takes note that an attempt did not succeed: nodes are asked for a while.
    pub fn trouble(&self) {
        self.trouble_until.set(Instant::now() + TROUBLE_LASTS);
        self.nudge.notify_waiters();
    }

    /// Takes note of an open operation until the guard is dropped.
    pub fn pending(&self) -> Pending<'_> {
        let number = self.pending_next.get();
        self.pending_next.set(number + 1);
        self.pending.borrow_mut().insert(number, Instant::now());
        Pending {
            tracker: self,
            number,
        }
    }

    async fn ask<A: Adapter>(self: Rc<Self>, adapter: Rc<A>, node: usize) {
        // Without end by intention: dropped with the runtime, and each turn waits.
        for turn in 0_u64.. {
            self.until_wanted().await;
            let patient = turn % 4 == 3;
            let limit = if patient {
                ASK_LIMIT_PATIENT
            } else {
                ASK_LIMIT
            };
            let standing = adapter.standing(node, limit).await;
            self.observe(node, standing);
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    }

    async fn until_wanted(&self) {
        while !self.wanted(Instant::now()) {
            tokio::select! {
                () = self.nudge.notified() => {}
                () = tokio::time::sleep(PENDING_LONG / 2) => {}
            }
        }
    }

    fn wanted(&self, now: Instant) -> bool {
        let oldest = self
            .pending
            .borrow()
            .first_key_value()
            .map(|(_, since)| *since);
        self.current.borrow().is_none()
            || now < self.trouble_until.get()
            || oldest.is_some_and(|since| now - since > PENDING_LONG)
    }
}

/// An operation counts as open while this lives.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    tracker: &'a Tracker,
    number: u64,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.tracker.pending.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(observations: &[(usize, Option<Standing>)]) -> Option<Primary> {
        let mut view = View::new(3);
        for (node, standing) in observations {
            view.observe(*node, *standing);
        }
        view.current
    }

    const FIRST: (usize, Option<Standing>) = (0, Some(Standing::Primary(1)));
    const SECOND: (usize, Option<Standing>) = (1, Some(Standing::Primary(2)));

    #[test]
    fn the_newest_epoch_is_primary_in_whatever_order_it_is_seen() {
        let newest = Some(Primary { node: 1, epoch: 2 });
        assert_eq!(view(&[FIRST, SECOND]), newest);
        assert_eq!(view(&[SECOND, FIRST]), newest);
        assert_eq!(view(&[FIRST]), Some(Primary { node: 0, epoch: 1 }));
        assert_eq!(view(&[(2, Some(Standing::Other)), (1, None)]), None);
    }

    #[test]
    fn a_primary_that_steps_down_is_forgotten_and_one_that_is_silent_is_not() {
        assert_eq!(view(&[SECOND, (1, Some(Standing::Other))]), None);
        let known = Some(Primary { node: 1, epoch: 2 });
        assert_eq!(
            view(&[SECOND, (1, None), (1, None), (1, None), (1, None)]),
            known
        );
    }

    #[test]
    fn a_group_cut_off_with_an_old_primary_keeps_to_it_until_the_new_one_is_seen() {
        let silence = (1, None);
        let old = Some(Primary { node: 0, epoch: 1 });
        let new = Some(Primary { node: 1, epoch: 2 });
        assert_eq!(
            view(&[FIRST, SECOND, silence, FIRST]),
            new,
            "one silence proves nothing"
        );
        assert_eq!(view(&[FIRST, SECOND, silence, silence, silence]), old);
        assert_eq!(
            view(&[FIRST, SECOND, silence, silence, silence, SECOND]),
            new
        );
    }
}
