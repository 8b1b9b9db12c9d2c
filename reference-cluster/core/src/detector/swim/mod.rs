//! SWIM: each member asks one other at a time, and tells what it learnt on the back of the asking
//! (Das, Gupta, Motivala 2002; with Lifeguard's three parts, Dadgar, Phillips, Currey 2018).
//!
//! All-to-all heartbeats cost each node a datagram to and from every other in every interval. Here a
//! member pings *one* in an interval. Where no answer comes, it asks a few others to ping the same
//! one, so that a bad link between two is not taken for a death. Where that fails too the silent one
//! is a *suspect*: the claim spreads as gossip, and the suspect, when it hears of it, objects with a
//! higher incarnation number of its own. Who does not object in time is *dead*. So the cost of a
//! member does not grow with the group, and the first to notice is on average e ÷ (e − 1) intervals
//! late; that all others learn of it takes log n rounds of gossip more.
//!
//! What the room calls a suspicion, an opinion that the node acts on, is the paper's `confirm`: a
//! suspect still counts as live.
//!
//! **Lifeguard.** A member that is slow to hear suspects everybody, and its gossip infects the rest.
//! `self_awareness` lets it wait longer the less it hears (`awareness`), `dogpile` gives a suspect
//! much more time until others suspect it too (`setting`), `buddy` tells the suspect first (`probing`).
//!
//! **A fixed group.** There is no joining: the members are those of the configuration. So a dead one
//! stays on the list and is greeted in its turn, with the claim that it is dead; if it lives, it
//! objects. This heals partitions and takes restarted processes back.
//!
//! **Incarnations are not persisted.** A process begins with 0. Whoever holds it for dead or suspect
//! says with which incarnation, and it objects with a greater one, so that a restart needs nothing
//! from the disk: until somebody accuses it, its old number does no harm.
//!
//! Invariant: a member is dead here only after a claim of its newest known incarnation; only a
//! greater incarnation, which it alone makes, revives it.

mod awareness;
mod gossip;
mod hearing;
mod members;
pub mod packet;
mod probing;
mod protocol;
mod rotation;
mod setting;

pub use protocol::Swim;
