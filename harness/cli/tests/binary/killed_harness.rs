//! SIGKILL of the harness at random moments leaves no process, namespace, mount or device.

use std::time::{Duration, Instant};

use shakedown_contracts::random::Random;

use crate::support::{PRIMARY_KILLED, Scratch, machine_state};

/// Moments tried; drawn over a whole run, so that building, faults and tearing down are all met.
const MOMENTS: u32 = 20;
/// A run of the experiment takes about this long.
const RUN: Duration = Duration::from_millis(4200);
/// The kernel ends the processes; a busy machine gets this long for it.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_killed_harness_leaves_nothing_behind() {
    if std::env::var_os("SHAKEDOWN_NO_NAMESPACES").is_some() {
        eprintln!("left out: SHAKEDOWN_NO_NAMESPACES is set");
        return;
    }
    let scratch = Scratch::new("killed-harness");
    scratch.experiment("killed.toml", PRIMARY_KILLED);
    let before = machine_state();
    let mut random = Random::keyed(1, "moment", "harness");
    let mut most_seen = 0;
    for number in 0..MOMENTS {
        let moment = RUN.mul_f64(random.unit());
        let out = format!("out-{number}");
        let mut child = scratch
            .command(&["run", "killed.toml", "--quiet", "--out", &out])
            .spawn()
            .expect("the binary starts");
        let started = Instant::now();
        // The moment is the subject of the test: how far the run has come is left to chance.
        std::thread::sleep(moment.saturating_sub(started.elapsed()));
        most_seen = most_seen.max(scratch.processes().len());
        child.kill().expect("a child can be killed");
        child.wait().expect("a killed child ends");
        scratch.assert_nothing_lives_after(PATIENCE);
        assert_eq!(machine_state(), before, "after a kill at {moment:?}");
    }
    assert!(
        most_seen > 5,
        "no kill met a running cluster: only {most_seen} processes were seen"
    );
    // Nothing is left that would keep the next run from starting.
    let next = scratch.run(&["run", "killed.toml", "--out", "next"]);
    assert!(
        next.status.success(),
        "{}",
        String::from_utf8_lossy(&next.stderr)
    );
}
