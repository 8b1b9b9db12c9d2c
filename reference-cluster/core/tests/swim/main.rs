//! SWIM and Lifeguard as a crowd of members lives them: what must hold for every seed.

mod crowd;
mod deaths;
mod flaws;
mod lifeguard;

use shakedown_contracts::strategy::Swim;
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::Planted;

use crate::crowd::Crowd;

const INTERVAL: Duration = Duration::from_millis(100);

/// memberlist's LAN profile, ten times as fast.
fn options() -> Swim {
    Swim {
        probe_interval: INTERVAL,
        probe_timeout: Duration::from_millis(50),
        gossip_interval: Duration::from_millis(20),
        ..Swim::default()
    }
}

/// Without Lifeguard.
fn plain() -> Swim {
    Swim {
        self_awareness: false,
        dogpile: false,
        buddy: false,
        ..options()
    }
}

fn crowd(size: u32, options: &Swim, seed: u64) -> Crowd {
    Crowd::new(size, options, seed, Planted::default())
}

fn intervals(count: u64) -> Duration {
    Duration::from_nanos(INTERVAL.as_nanos() * count)
}
