//! A group whose detector is SWIM: roles travel on its datagrams, and a dead primary is replaced.

use shakedown_contracts::strategy::{Acknowledge, Detector, Fencing, Strategy, Swim};
use shakedown_contracts::units::Duration;

use crate::group::{Client, chaos, lost, strategy};
use crate::world::World;

fn swim() -> Strategy {
    let options = Swim {
        probe_interval: Duration::from_millis(50),
        probe_timeout: Duration::from_millis(25),
        gossip_interval: Duration::from_millis(10),
        ..Swim::default()
    };
    Strategy {
        detector: Detector::Swim(options),
        ..strategy(Acknowledge::Majority, Fencing::Epoch)
    }
}

#[test]
fn a_dead_primary_is_replaced_and_comes_back_as_a_backup_and_nothing_is_lost() {
    for seed in 0..10 {
        let mut world = World::new(5, swim(), seed);
        let mut client = Client::default();
        world.run_for(Duration::from_millis(500));
        for _ in 0..10 {
            client.turn(&mut world, 0);
            world.run_for(Duration::from_millis(10));
        }
        world.kill(0);
        // A probe or two, 200 ms to object, and a takeover.
        world.run_for(Duration::from_millis(900));
        let second = world.primary().expect("somebody took over");
        assert_ne!(second, 0, "seed {seed}");
        client.turn(&mut world, second);
        world.start(0);
        world.run_for(Duration::from_millis(900));
        assert_eq!(world.primaries(), [second], "seed {seed}");
        assert_eq!(lost(&mut world, &client), 0, "seed {seed}");
        assert_eq!(client.stale_reads(&world), 0, "seed {seed}");
        let acknowledged = client.acknowledged(&world).count();
        assert_eq!(acknowledged, 22, "seed {seed}");
    }
}

#[test]
fn nothing_is_lost_or_stale_under_faults_drawn_from_the_seed() {
    for seed in 0..25 {
        let (mut world, client) = chaos(seed, swim());
        assert_eq!(client.stale_reads(&world), 0, "seed {seed}");
        assert_eq!(lost(&mut world, &client), 0, "seed {seed}");
    }
}
