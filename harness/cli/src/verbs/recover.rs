//! `shakedown recover`: removes what a run left behind whose harness was killed.

use anyhow::Context;
use shakedown_contracts::verdict::Outcome;

use crate::exit::Failure;
use crate::verbs::run::ledger_root;

/// Ends recorded processes that outlived their harness, and removes dead ledgers.
///
/// # Errors
/// The harness's, when ledgers cannot be read or a process does not end.
pub fn main() -> Result<Outcome, Failure> {
    let root = ledger_root();
    let recovered = shakedown_agents::recover::recover(&root)
        .with_context(|| format!("cannot recover from the ledgers in {}", root.display()))?;
    anstream::println!("{recovered}");
    Ok(Outcome::Pass)
}
