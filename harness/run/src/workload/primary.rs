//! Who is primary, as far as this group of clients can see.
//!
//! Asking costs messages, so nodes are asked only while something is wrong: an operation has been
//! open for longer than usual or has just failed, or nobody is known. Then each node is asked on
//! its own, so that one that hangs delays no other. The newest epoch wins; a group that is cut off
//! with an old primary keeps to that one, as real clients would.

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::Standing;

/// An operation open for longer is a sign of trouble.
const PENDING_LONG: Duration = Duration::from_millis(50);
/// So long after a failed attempt nodes are still asked.
const TROUBLE_LASTS: Duration = Duration::from_millis(500);
/// Pause between two questions to one node.
const ASK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a node may take to answer; short, since a node that was cut off is found again only
/// by a fresh connection.
const ASK_LIMIT: Duration = Duration::from_millis(100);
/// Every fourth question may take longer, so that a slow link (a delay fault) hides nobody.
const ASK_LIMIT_PATIENT: Duration = Duration::from_millis(500);
const PATIENT_EVERY: u64 = 4;
/// Pause between two questions to a node that is missing among those that serve.
const SEEK_INTERVAL: Duration = Duration::from_millis(100);
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
    Serves,
    Other,
    Silent { claimed: Option<u64>, times: u32 },
}

/// What has been seen of all nodes, and whom that makes primary. Pure.
#[derive(Debug)]
struct View {
    sights: Vec<Sight>,
    current: Option<Primary>,
    /// Where there is no primary: the node that was last asked to serve.
    last_served: usize,
}

impl View {
    fn new(nodes: usize) -> Self {
        View {
            sights: vec![Sight::Unseen; nodes],
            current: None,
            last_served: 0,
        }
    }

    fn observe(&mut self, node: usize, standing: Option<Standing>) {
        let before = self.sights[node];
        self.sights[node] = match standing {
            Some(Standing::Primary(epoch)) => Sight::Primary(epoch),
            Some(Standing::Serves) => Sight::Serves,
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
                Sight::Unseen | Sight::Other | Sight::Serves => Sight::Silent {
                    claimed: None,
                    times: 1,
                },
            },
        };
        self.choose();
    }

    fn is_served(&self) -> bool {
        self.sights.contains(&Sight::Serves)
    }

    /// The next node in turn that serves without being primary.
    fn next_serving(&mut self) -> Option<Primary> {
        let count = self.sights.len();
        let mut turn = (1..=count).map(|step| (self.last_served + step) % count);
        let node = turn.find(|node| self.sights[*node] == Sight::Serves)?;
        self.last_served = node;
        Some(Primary { node, epoch: 0 })
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

/// A question to a node: what is your role?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    /// Position of the node.
    pub node: usize,
    /// How long to wait for the answer.
    pub limit: Duration,
}

/// Where the asking of one node stands.
#[derive(Debug, Clone, Copy, Default)]
struct Asking {
    asked: u64,
    open: bool,
    not_before: Moment,
}

/// The view shared by all operations of a group, and the asking that keeps it fresh. Pure: time
/// and answers go in, questions come out.
#[derive(Debug)]
pub(crate) struct Tracker {
    view: View,
    changes: u64,
    trouble_until: Moment,
    nodes: Vec<Asking>,
}

impl Tracker {
    /// Knows nothing yet of `nodes` nodes.
    pub fn new(nodes: usize) -> Self {
        Tracker {
            view: View::new(nodes),
            changes: 0,
            trouble_until: Moment(0),
            nodes: vec![Asking::default(); nodes],
        }
    }

    /// The primary, where one is known.
    pub fn primary(&self) -> Option<Primary> {
        self.view.current
    }

    /// Whom to ask: the primary, or in turn those that serve without one.
    pub fn target(&mut self) -> Option<Primary> {
        self.view.current.or_else(|| self.view.next_serving())
    }

    /// How often another node or epoch became known as primary, or somebody to serve at all.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes note of what a node said, or that it said nothing.
    pub fn observe(&mut self, node: usize, standing: Option<Standing>) {
        let before = (self.view.current, self.view.is_served());
        self.view.observe(node, standing);
        let after = (self.view.current, self.view.is_served());
        self.changes += u64::from(after != before);
    }

    /// Takes note that an attempt at a node did not succeed: nodes are asked for a while. One that
    /// serves beside others gets nothing more to do until it has answered.
    pub fn trouble(&mut self, node: usize, now: Moment) {
        self.trouble_until = now.after(TROUBLE_LASTS);
        if self.view.sights[node] == Sight::Serves {
            self.observe(node, None);
        }
    }

    /// Takes note that a node carried out an attempt, as primary in that epoch; 0: as no primary.
    pub fn served(&mut self, node: usize, epoch: u64) {
        let standing = match epoch {
            0 => Standing::Serves,
            epoch => Standing::Primary(epoch),
        };
        self.observe(node, Some(standing));
    }

    /// Takes the answer to a question; `None` when the node did not say its role in time.
    pub fn answered(&mut self, node: usize, standing: Option<Standing>, now: Moment) {
        self.nodes[node].open = false;
        self.nodes[node].not_before = now.after(ASK_INTERVAL);
        self.observe(node, standing);
    }

    /// The questions that are due; `oldest` is since when the oldest operation is open.
    pub fn questions(&mut self, now: Moment, oldest: Option<Moment>) -> Vec<Question> {
        let mut questions = Vec::new();
        for node in 0..self.nodes.len() {
            if self.due(node, now, oldest).is_none_or(|due| due > now) {
                continue;
            }
            let asking = &mut self.nodes[node];
            asking.open = true;
            asking.asked += 1;
            let patient = asking.asked.is_multiple_of(PATIENT_EVERY);
            let limit = if patient {
                ASK_LIMIT_PATIENT
            } else {
                ASK_LIMIT
            };
            questions.push(Question { node, limit });
        }
        questions
    }

    /// When [`Tracker::questions`] will have some, if nothing else happens.
    pub fn next_deadline(&self, now: Moment, oldest: Option<Moment>) -> Option<Moment> {
        (0..self.nodes.len())
            .filter_map(|node| self.due(node, now, oldest))
            .min()
    }

    /// When the node is to be asked: while nobody is known, after trouble, and once an operation
    /// has been open for long.
    fn due(&self, node: usize, now: Moment, oldest: Option<Moment>) -> Option<Moment> {
        let asking = self.nodes[node];
        if asking.open {
            return None;
        }
        let earliest = asking.not_before.max(now);
        let served = self.view.is_served();
        let nobody = self.view.current.is_none() && !served;
        if nobody || earliest < self.trouble_until {
            return Some(earliest);
        }
        let missing = matches!(self.view.sights[node], Sight::Unseen | Sight::Silent { .. });
        if served && missing {
            return Some(asking.not_before.after(SEEK_INTERVAL).max(now));
        }
        oldest.map(|since| earliest.max(since.after(PENDING_LONG)))
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

    const AT: Moment = Moment(1_000_000_000);

    #[test]
    fn nodes_are_asked_while_something_is_wrong_and_left_alone_otherwise() {
        let mut tracker = Tracker::new(2);
        let asked = |tracker: &mut Tracker, now, oldest| {
            let questions = tracker.questions(now, oldest);
            questions.iter().map(|one| one.node).collect::<Vec<_>>()
        };
        assert_eq!(asked(&mut tracker, AT, None), [0, 1], "nobody is known");
        assert_eq!(
            asked(&mut tracker, AT, None),
            [0; 0],
            "both questions are open"
        );
        tracker.answered(0, Some(Standing::Primary(1)), AT);
        tracker.answered(1, Some(Standing::Other), AT);
        assert_eq!(tracker.next_deadline(AT, None), None, "all is well");
        let long = AT.after(PENDING_LONG);
        assert_eq!(tracker.next_deadline(AT, Some(AT)), Some(long));
        assert_eq!(asked(&mut tracker, long, Some(AT)), [0, 1]);
        tracker.answered(0, None, long);
        tracker.trouble(0, long);
        assert_eq!(
            tracker.next_deadline(long, None),
            Some(long.after(ASK_INTERVAL))
        );
        let calm = long.after(TROUBLE_LASTS);
        assert_eq!(tracker.next_deadline(calm, None), None);
    }

    #[test]
    fn those_that_serve_together_are_asked_in_turn_and_one_in_trouble_is_passed_over() {
        let mut tracker = Tracker::new(3);
        assert_eq!(tracker.target(), None);
        for node in 0..3 {
            tracker.observe(node, Some(Standing::Serves));
        }
        let turn = |tracker: &mut Tracker| tracker.target().map(|target| target.node);
        let four: Vec<_> = (0..4).map(|_| turn(&mut tracker)).collect();
        assert_eq!(four, [1, 2, 0, 1].map(Some));
        tracker.trouble(2, AT);
        assert_eq!([turn(&mut tracker), turn(&mut tracker)], [0, 1].map(Some));
        let calm = AT.after(TROUBLE_LASTS);
        let missing = tracker.questions(calm, None);
        assert_eq!(missing.iter().map(|one| one.node).collect::<Vec<_>>(), [2]);
        tracker.answered(2, Some(Standing::Serves), calm);
        assert_eq!(turn(&mut tracker), Some(2));
    }

    #[test]
    fn every_fourth_question_is_patient() {
        let mut tracker = Tracker::new(1);
        let mut limits = Vec::new();
        let mut now = AT;
        for _ in 0..8 {
            limits.extend(tracker.questions(now, None).iter().map(|one| one.limit));
            tracker.answered(0, None, now);
            now = now.after(ASK_INTERVAL);
        }
        let patient = |limit: &&Duration| **limit == ASK_LIMIT_PATIENT;
        assert_eq!(
            (limits.len(), limits.iter().filter(patient).count()),
            (8, 2)
        );
    }
}
