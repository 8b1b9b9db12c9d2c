//! Agents inject faults next to the target and listen on nothing; a node's `resolver` listens on the
//! node's own loopback.
//!
//! A *network agent* stands in the router namespace and rules all links; a *node agent* beside each
//! node owns the node's process. Both speak frames on standard input and output (`session`),
//! write each fault to a ledger before it is applied (`ledger`), verify every effect and every
//! heal, and heal everything when the harness's end of the stream closes.

pub mod cgroup;
pub mod clock;
pub mod disk;
pub mod faults;
pub mod ledger;
pub mod netlink;
pub mod network_agent;
pub mod node_agent;
pub mod process;
pub mod proxy;
pub mod recover;
pub mod resolver;
pub mod session;
