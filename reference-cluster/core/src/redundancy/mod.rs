//! Values on several nodes without a primary: any node serves any client.
//!
//! A key has a ranking of all nodes; the first `n` of it keep it. The node that a client asked
//! coordinates: it asks those nodes, and answers when enough of them have answered it. Versions put
//! all writes of a key in one order, so that copies can come to agree whatever they missed.
//!
//! Sources: DeCandia et al. 2007 (Dynamo: placement, quorums, hinted handoff, Merkle trees);
//! Attiya, Bar-Noy & Dolev 1995 and Lynch & Shvartsman 1997 (atomic registers from majorities);
//! Cadambe et al. 2014 (the same with coded shares); Plank 1997 (Reed–Solomon).
//!
//! | file | question |
//! |---|---|
//! | `setting` | how many must answer, how many must hold |
//! | `placement`, `hash` | which nodes keep a key |
//! | `share` | what one node keeps of a version, and how damage is noticed |
//! | `coding`, `reed_solomon`, `gf256` | how a value becomes shares, and shares the value |
//! | `holdings` | what this node keeps |
//! | `absences` | what others lack, and what is kept for them |
//! | `notes` | what is written down |
//! | `message` | what nodes say to each other |
//! | `operation` | what one request has heard so far, and what follows from it |
//! | `keeper`, `serving` | the machine: what it consists of; inputs in, outputs out |
//! | `coordinating`, `waiting` | how a request goes through its stages, and what befalls it meanwhile |
//! | `holding` | how a node answers those who coordinate |
//! | `repairing` | how copies that are behind, missing or damaged are given back |
//! | `merkle`, `comparing` | how two nodes find out in what they differ |

mod absences;
mod coding;
mod comparing;
mod coordinating;
pub mod gf256;
mod hash;
mod holding;
mod holdings;
pub mod keeper;
pub mod merkle;
pub mod message;
mod notes;
mod operation;
pub mod placement;
pub mod reed_solomon;
mod repairing;
mod serving;
pub mod setting;
pub mod share;
mod waiting;
