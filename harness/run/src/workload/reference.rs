//! What the reference cluster's answers mean, however they came.

use shakedown_contracts::event::Role;
use shakedown_contracts::node::{ApiError, Status};

use super::primary::Primary;
use super::{Answerer, Attempt, Standing};

/// What an error answer means, by its status; the body adds who said so and whom to ask instead.
pub(super) fn refused(
    status: u16,
    error: Option<ApiError>,
    node_named: impl Fn(&str) -> Option<usize>,
) -> Attempt {
    let reason = match &error {
        Some(error) => format!("{status}: {}", error.message),
        None => format!("{status}: answer without the expected body"),
    };
    let hint = error.as_ref().and_then(|error| {
        let node = node_named(error.primary.as_deref()?)?;
        let epoch = error.epoch;
        Some(Primary { node, epoch })
    });
    let by = error.map(|error| Answerer {
        node: error.node,
        epoch: error.epoch,
    });
    match status {
        421 => Attempt::NotPrimary { reason, hint },
        400 | 409 => Attempt::Refused { reason, by },
        502 => Attempt::Failed { reason, by },
        503 => Attempt::NotDone { reason },
        _ => Attempt::Unknown { reason, by },
    }
}

/// The role in a node's status.
pub(super) fn standing(status: &Status) -> Standing {
    match status.role {
        Role::Primary => Standing::Primary(status.epoch),
        Role::Peer | Role::Balancer => Standing::Serves,
        Role::Backup | Role::Candidate | Role::Backend | Role::Supervisor => Standing::Other,
    }
}
