//! Whose log is good enough to take over?
//!
//! What a majority acknowledged must be in the log of whoever becomes primary. `up-to-date` compares
//! the epoch of the last entry first, and the length only within one epoch: any majority that
//! promises has a member that holds what was acknowledged last, and it lets nobody pass whose log
//! ends in an earlier epoch (Ongaro & Ousterhout 2014, §5.4.1).
//!
//! `longest-log` compares the length alone (wrong on purpose). A primary that was cut off goes on
//! writing what nobody acknowledges; when it comes back, its useless tail is longer than what its
//! successors acknowledged meanwhile, it is elected over them, and erases it.

use shakedown_contracts::strategy::Election;

use crate::message::Point;

/// True when a candidate's log, by its last entry, may replace one that ends at `own`.
pub fn may_lead(rule: Election, candidate: Point, own: Point) -> bool {
    match rule {
        // Points are ordered by epoch first.
        Election::UpToDate => candidate >= own,
        Election::LongestLog => candidate.position >= own.position,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_epoch_outweighs_any_length_except_where_length_is_all_that_counts() {
        let point = |epoch, position| Point { epoch, position };
        for (candidate, own, up_to_date, longest) in [
            (point(1, 90), point(2, 10), false, true),
            (point(2, 10), point(1, 90), true, false),
            (point(2, 10), point(2, 10), true, true),
            (point(2, 9), point(2, 10), false, false),
            (point(0, 0), point(0, 0), true, true),
        ] {
            let told = |rule| may_lead(rule, candidate, own);
            assert_eq!(
                told(Election::UpToDate),
                up_to_date,
                "{candidate:?} {own:?}"
            );
            assert_eq!(told(Election::LongestLog), longest, "{candidate:?} {own:?}");
        }
    }
}
