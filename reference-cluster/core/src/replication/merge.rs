//! Where two logs meet, and what becomes of entries beyond that.
//!
//! Entries of whoever leads are taken where the logs meet, and replace whatever stood there: that was
//! never committed. Where they do not meet, the answer says from where to try again, or that only
//! the whole state helps.
//! Invariant: after [`Meeting::Met`] this log equals the sender's up to the last entry sent; nothing
//! that was committed is replaced.
//! Source: Ongaro & Ousterhout 2014, section 5.3 (the conflict hint is from its end).

use super::server_log::Log;
use crate::flaw::Flaw;
use crate::interface::Output;
use crate::message::{Entry, Point};

/// Where this log and the sender's part.
pub(in crate::replication) enum Meeting {
    /// They meet; the entries are in the log.
    Met,
    /// Ask again from here, or for everything.
    Apart { hint: u64, snapshot: bool },
}

impl Log {
    /// Takes the entries that follow `previous`. Up to `committed` nothing can be replaced.
    pub fn merge(
        &mut self,
        (previous, entries): (Point, Vec<Entry>),
        committed: u64,
        out: &mut Vec<Output>,
    ) -> Meeting {
        let last = self.last();
        if previous.position > last.position {
            return Meeting::Apart {
                hint: last.position,
                snapshot: false,
            };
        }
        let mine = self.entries.point(previous.position);
        if mine.is_some_and(|mine| mine != previous) {
            let before = self.entries.before_epoch_of(previous.position);
            return Meeting::Apart {
                hint: before.max(committed),
                snapshot: previous.position <= committed,
            };
        }
        for entry in entries {
            let Point { position, .. } = entry.point;
            match self.entries.point(position) {
                Some(mine) if mine == entry.point => continue,
                Some(_) if position <= committed => {
                    return Meeting::Apart {
                        hint: position,
                        snapshot: true,
                    };
                }
                Some(_) if self.planted.has(Flaw::DivergentTailKept) => continue,
                Some(_) => self.truncate_from(position),
                // Applied, and forgotten since.
                None if position <= self.entries.base().position => continue,
                None => {}
            }
            self.append(entry, out);
        }
        Meeting::Met
    }
}
