//! Transactions over accounts that are spread over all nodes.
//!
//! Every account is on one node alone, every node carries out any client's request, and a transfer
//! between two nodes is a question of agreement: [`transactor::Transactor`] is one node's part of it.
//!
//! | file | question |
//! |---|---|
//! | `setting` | who holds which account, and every option |
//! | `clock` | when, and how transactions are named |
//! | `accounts`, `ledger`, `note` | what a node holds, and what it must not forget |
//! | `message`, `dispatch` | what nodes say to each other, and where it goes |
//! | `locks` | who waits for whom |
//! | `requests`, `opening`, `reads`, `showing` | what clients ask, and what they are told |
//! | `coordinator`, `attempt`, `participant` | two-phase commit |
//! | `doubt` | what a participant does that is not told the decision |
//! | `three_phase` | the phase before the decision, and the end without a coordinator |
//! | `paxos`, `takeover` | votes that a majority keeps, and the end by any node |
//! | `best_effort`, `saga` | changes without agreement, and their compensations |

mod accounts;
mod attempt;
mod best_effort;
pub mod clock;
mod coordinator;
mod dispatch;
mod doubt;
mod ledger;
mod locks;
pub mod message;
mod note;
mod opening;
mod participant;
mod paxos;
mod reads;
mod requests;
mod saga;
pub mod setting;
mod showing;
mod takeover;
mod three_phase;
pub mod transactor;
