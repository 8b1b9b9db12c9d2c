//! Control groups of a node's processes, one for each fault that needs one.
//!
//! Each is in the ledger before it is made. A node that is started while it is under such a fault is moved in at once.

use std::io;

use shakedown_contracts::fault::FaultId;
use shakedown_contracts::time::Bracket;

use super::node::NodeProcess;
use crate::cgroup::{Group, Hierarchy};
use crate::clock::{now, until_now};
use crate::faults::Unverified;
use crate::faults::guard::Ledgered;
use crate::process::identity::ProcessIdentity;

/// Processes that fork while they are moved are looked for again so many times.
const ROUNDS_MAX: usize = 100;

impl NodeProcess {
    /// Makes a group for a fault, which is empty yet.
    pub(crate) fn make_group(
        &mut self,
        id: &FaultId,
        role: &str,
        controller: &str,
    ) -> Result<Group, String> {
        let hierarchy = Hierarchy::find(controller)?;
        let agent = std::process::id();
        let name = format!("{agent}-{}-{id}-{role}", self.name());
        let place = Group::place(&hierarchy, &name);
        let written = self.ledger().record_group(&place);
        written.map_err(|error| error.to_string())?;
        Group::make(hierarchy, place.clone()).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "; it takes root, outside of a container that hides them"
                }
                _ => "",
            };
            format!("making {}: {error}{hint}", place.display())
        })
    }

    /// Moves all processes of the node into the group and keeps it; how many there are.
    pub(crate) fn move_into(&mut self, mut group: Group, id: &FaultId) -> io::Result<usize> {
        for _ in 0..ROUNDS_MAX {
            let processes = self.processes()?;
            let mut outside = 0;
            for process in &processes {
                match group.holds(process.pid) {
                    Ok(true) => {}
                    Ok(false) => {
                        outside += 1;
                        unless_gone(group.take(*process))?;
                    }
                    Err(error) => unless_gone(Err(error))?,
                }
            }
            if outside == 0 {
                if processes.is_empty() {
                    return Err(io::Error::other("it is dead"));
                }
                self.groups.insert(id.clone(), group);
                return Ok(processes.len());
            }
        }
        Err(io::Error::other(format!(
            "its processes fork faster than they can be moved, {ROUNDS_MAX} times"
        )))
    }

    /// The group of a fault.
    pub(crate) fn group(&self, id: &FaultId) -> Option<&Group> {
        self.groups.get(id)
    }

    /// Sends the processes back to where they were and removes the group; when.
    pub(crate) fn remove_group(&mut self, id: &FaultId) -> Result<Bracket, Unverified> {
        let name = self.name().to_owned();
        let unverified = |reason: String| Unverified {
            reason: format!("{name}: {reason}"),
        };
        let before = now();
        let Some(mut group) = self.groups.remove(id) else {
            return Err(unverified(format!("there is no group for {id}")));
        };
        let removed = group.remove();
        removed.map_err(|error| unverified(format!("removing its group: {error}")))?;
        Ok(until_now(before))
    }

    /// A process that has just been started meets what the node is under.
    pub(super) fn join_groups(&mut self, pid: i32) -> io::Result<()> {
        for group in self.groups.values_mut() {
            unless_gone(ProcessIdentity::of(pid).and_then(|process| group.take(process)))?;
        }
        Ok(())
    }
}

/// What has ended needs no group.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
