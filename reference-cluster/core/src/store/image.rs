//! Before-images: what a command found, so that its effect can be taken back.
//!
//! The rollback log writes one for each operation that is in flight when the state is written
//! whole. An image is physical (what was there, not what to subtract), so putting it back twice
//! is the same as once, and a roll back that is interrupted can begin again.
//!
//! Invariant: images of consecutive commands, put back in reverse order, give the state before the
//! first. Source: Mohan et al. 1992 (ARIES), sections 1.1 and 3.

use serde::{Deserialize, Serialize};

use super::{Command, Configuration, Store};

/// What a command found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Image {
    /// It changes nothing.
    Nothing,
    /// The register held this.
    Register(String, Option<u64>),
    /// These accounts did not exist.
    Absent(Vec<String>),
    /// Who voted, where that had changed.
    Configuration(Option<Configuration>),
    /// The transfer was not decided; balance and length of the journal of each account it touches.
    Undecided(u64, Vec<(String, i64, usize)>),
}

impl Store {
    /// What the command is about to find. Taken before [`Store::apply`].
    pub fn image(&self, command: &Command) -> Image {
        match command {
            Command::Nothing => Image::Nothing,
            Command::Put(key, _) | Command::Cas(key, _) => {
                Image::Register(key.clone(), self.register(key))
            }
            Command::Reconfigure { .. } => Image::Configuration(self.configuration.clone()),
            Command::OpenAccounts(request) => {
                let keys = request.accounts.iter().map(|(key, _)| key);
                let absent = keys.filter(|key| !self.accounts.contains_key(*key));
                Image::Absent(absent.cloned().collect())
            }
            Command::Transfer(transfer) if self.transfers.contains_key(&transfer.id) => {
                Image::Nothing
            }
            Command::Transfer(transfer) => {
                let accounts = [&transfer.from, &transfer.to]
                    .into_iter()
                    .filter_map(|key| {
                        let holding = self.accounts.get(key)?;
                        Some((key.clone(), holding.balance, holding.journal.len()))
                    });
                Image::Undecided(transfer.id, accounts.collect())
            }
        }
    }

    /// Takes a command's effect back.
    pub fn put_back(&mut self, image: &Image) {
        match image {
            Image::Nothing => {}
            Image::Register(key, Some(value)) => {
                self.registers.insert(key.clone(), *value);
            }
            Image::Register(key, None) => {
                self.registers.remove(key);
            }
            Image::Configuration(before) => self.configuration.clone_from(before),
            Image::Absent(keys) => keys.iter().for_each(|key| {
                self.accounts.remove(key);
            }),
            Image::Undecided(id, accounts) => {
                self.transfers.remove(id);
                for (key, balance, journal) in accounts {
                    if let Some(holding) = self.accounts.get_mut(key) {
                        holding.balance = *balance;
                        holding.journal.truncate(*journal);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::node::{CasRequest, OpenAccountsRequest, TransferRequest};
    use shakedown_contracts::random::Random;

    use super::*;

    fn drawn(random: &mut Random) -> Command {
        let key = |random: &mut Random| format!("k{}", random.below(3));
        match random.below(5) {
            0 => Command::Nothing,
            1 => Command::Put(key(random), random.below(9)),
            2 => {
                let expected = random.chance(0.7).then(|| random.below(9));
                let new = random.below(9);
                Command::Cas(key(random), CasRequest { expected, new })
            }
            3 => {
                let accounts = vec![(key(random), 50), (key(random), 20)];
                Command::OpenAccounts(OpenAccountsRequest { accounts })
            }
            _ => Command::Transfer(TransferRequest {
                id: random.below(12),
                from: key(random),
                to: key(random),
                amount: random.below(40) as i64,
            }),
        }
    }

    #[test]
    fn images_put_back_in_reverse_give_every_earlier_state_and_twice_is_the_same_as_once() {
        for seed in 0..300 {
            let mut random = Random::keyed(seed, "images", "");
            let (mut store, mut before) = (Store::default(), Vec::new());
            for position in 1..=20 {
                let command = drawn(&mut random);
                before.push((store.clone(), store.image(&command)));
                store.apply(position, &command);
            }
            for (state, image) in before.iter().rev() {
                store.put_back(image);
                assert_eq!(store, *state, "seed {seed}");
                store.put_back(image);
                assert_eq!(store, *state, "seed {seed}: twice");
            }
        }
    }
}
