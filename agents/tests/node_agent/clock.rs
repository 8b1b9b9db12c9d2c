//! Clocks that lie to small programs that are not ours.

use std::collections::BTreeMap;

use shakedown_agents::clock::now;
use shakedown_contracts::control::{FaultReport, ProcessFault};
use shakedown_contracts::host_fault::{BumpDirection, HostFault};
use shakedown_contracts::units::Duration;

use crate::Test;
use crate::agent::Agent;
use crate::resource::{disturb, line, python};

pub const TESTS: &[Test] = &[
    ("a_clock_jumps_forward_and_is_set_back", forward),
    (
        "a_clock_jumps_back_under_threads_that_never_stop_asking",
        back,
    ),
    (
        "a_clock_runs_at_half_its_rate_and_then_true_from_what_it_shows",
        half,
    ),
    ("a_clock_jumps_to_and_fro", strobe),
    (
        "a_second_fault_of_a_clock_is_refused_and_a_dead_node_reads_none",
        refused,
    ),
    (
        "a_static_program_of_another_language_is_told_the_same",
        of_c,
    ),
    (
        "a_program_that_executes_others_all_the_time_survives_being_asked",
        executes,
    ),
];

fn bump(millis: u64, direction: BumpDirection) -> HostFault {
    HostFault::ClockBump {
        delta: Duration::from_millis(millis),
        direction,
    }
}

/// Whenever the number in a file changes, says what five clocks show, in nanoseconds.
const TELLER: &str = r#"
import threading
def busy():
    while True: time.time(); time.monotonic()
if len(sys.argv) > 1:
    for _ in range(3): threading.Thread(target=busy, daemon=True).start()
ready()
asked = ""
while True:
    now = open("ask").read() if os.path.exists("ask") else ""
    if now != asked:
        asked = now
        clocks = [time.CLOCK_REALTIME, time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME, time.CLOCK_PROCESS_CPUTIME_ID]
        print("told", asked, *(time.clock_gettime_ns(one) for one in clocks), int(time.time()), flush=True)
    time.sleep(0.001)
"#;

/// What the program is told, and the true time around that, by clock: wall time, since boot.
fn ask(agent: &Agent, number: u32) -> [Shown; 2] {
    let truth = || {
        [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC].map(|clock| {
            let clock = nix::time::ClockId::from_raw(clock);
            let time = nix::time::clock_gettime(clock).unwrap();
            time.tv_sec() * 1_000_000_000 + time.tv_nsec()
        })
    };
    let before = truth();
    let path = agent.folder.path().join("ask");
    let written = path.with_extension("new");
    std::fs::write(&written, number.to_string()).unwrap();
    std::fs::rename(written, path).unwrap();
    let told = line(agent, &format!("told {number} "));
    let after = truth();
    let numbers: Vec<i64> = told
        .split(' ')
        .skip(2)
        .map(|one| one.parse().unwrap())
        .collect();
    assert!(
        numbers.get(3).is_none_or(|cpu| *cpu < 60_000_000_000),
        "its own time: {told}"
    );
    if let Some(seconds) = numbers.get(4) {
        assert!((seconds - numbers[0] / 1_000_000_000).abs() <= 1, "{told}");
    }
    [0, 1].map(|clock| Shown {
        before: before[clock],
        shown: numbers[clock],
        after: after[clock],
    })
}

#[derive(Debug, Clone, Copy)]
struct Shown {
    before: i64,
    shown: i64,
    after: i64,
}

impl Shown {
    /// Whether it is so many milliseconds ahead, as far as can be told.
    fn is_ahead(self, millis: i64) -> bool {
        let ahead = millis * 1_000_000;
        (self.before + ahead - 1_000_000..=self.after + ahead + 1_000_000).contains(&self.shown)
    }
}

fn healed(agent: &mut Agent, name: &str) -> String {
    match agent.heal(name) {
        FaultReport::Healed { evidence, .. } => evidence.observed,
        other => panic!("{other:?}"),
    }
}

fn forward() {
    let mut agent = python(TELLER);
    agent.start_node();
    assert!(ask(&agent, 1).iter().all(|shown| shown.is_ahead(0)));
    let evidence = disturb(&mut agent, "ahead", bump(1_500, BumpDirection::Forward)).unwrap();
    println!("  {}: {:?}", evidence.observed, evidence.achieved);
    assert!(
        (evidence.achieved[0].achieved - 1_500.0).abs() < 1.0,
        "{evidence:?}"
    );
    let shown = ask(&agent, 2);
    assert!(shown.iter().all(|shown| shown.is_ahead(1_500)), "{shown:?}");
    let observed = healed(&mut agent, "ahead");
    println!("  {observed}");
    assert!(observed.contains("1 have their own vDSO back"));
    let shown = ask(&agent, 3);
    assert!(shown.iter().all(|shown| shown.is_ahead(0)), "{shown:?}");
    // The same process once more.
    disturb(&mut agent, "again", bump(200, BumpDirection::Forward)).unwrap();
    let shown = ask(&agent, 4);
    assert!(shown.iter().all(|shown| shown.is_ahead(200)), "{shown:?}");
    healed(&mut agent, "again");
}

fn back() {
    let mut agent = Agent::with("plain", |node| {
        let made = TELLER.replace("len(sys.argv) > 1", "True");
        let ready = "\nimport os, sys, time\ndef ready(): os.write(5, b'{\"time\":1,\"event\":\"node.ready\"}\\n')\n";
        node.executable = "/usr/bin/env".into();
        node.arguments = vec!["python3".into(), "-c".into(), format!("{ready}{made}")];
    });
    agent.start_node();
    for number in 0..10 {
        let name = format!("back-{number}");
        disturb(&mut agent, &name, bump(700, BumpDirection::Back)).unwrap();
        let shown = ask(&agent, 2 * number + 1);
        assert!(shown.iter().all(|shown| shown.is_ahead(-700)), "{shown:?}");
        healed(&mut agent, &name);
        let shown = ask(&agent, 2 * number + 2);
        assert!(shown.iter().all(|shown| shown.is_ahead(0)), "{shown:?}");
    }
}

fn half() {
    let mut agent = python(TELLER);
    agent.start_node();
    let began = now();
    let evidence = disturb(&mut agent, "slow", HostFault::ClockRate { rate: 0.5 }).unwrap();
    println!("  {}", evidence.observed);
    assert!(
        (evidence.achieved[0].achieved - 0.5).abs() < 0.01,
        "{evidence:?}"
    );
    let first = ask(&agent, 1);
    let second = ask(&agent, 2);
    for (first, second) in first.iter().zip(&second) {
        let (least, most) = (second.before - first.after, second.after - first.before);
        let went = second.shown - first.shown;
        assert!(
            (least / 2 - 1_000..=most / 2 + 1_000).contains(&went),
            "{first:?} {second:?}"
        );
    }
    let observed = healed(&mut agent, "slow");
    println!("  {observed}");
    let lost = now().since(began).as_nanos() as i64 / 2;
    let shown = ask(&agent, 3)[1];
    let behind = shown.before - shown.shown;
    assert!((0..=lost + 1_000_000).contains(&behind), "{shown:?}");
    let later = ask(&agent, 4)[1];
    let (least, most) = (later.before - shown.after, later.after - shown.before);
    assert!(
        (least..=most).contains(&(later.shown - shown.shown)),
        "it runs true again"
    );
}

fn strobe() {
    let mut agent = python(TELLER);
    agent.start_node();
    let fault = HostFault::ClockStrobe {
        delta: Duration::from_millis(900),
        period: Duration::from_millis(20),
    };
    let evidence = disturb(&mut agent, "strobe", fault).unwrap();
    println!("  {}", evidence.observed);
    assert!(
        (evidence.achieved[0].achieved - 900.0).abs() < 1.0,
        "{evidence:?}"
    );
    // Each time the one or the other; of fifty, not always the same.
    let ahead: Vec<bool> = (1..=50)
        .map(|number| {
            let [wall, _] = ask(&agent, number);
            assert!(wall.is_ahead(0) || wall.is_ahead(900), "{wall:?}");
            wall.is_ahead(900)
        })
        .collect();
    assert!(ahead.contains(&true) && ahead.contains(&false), "{ahead:?}");
    let observed = healed(&mut agent, "strobe");
    assert!(
        observed.contains("1 have their own vDSO back"),
        "{observed}"
    );
}

fn refused() {
    let mut agent = python(TELLER);
    agent.start_node();
    disturb(&mut agent, "one", bump(100, BumpDirection::Forward)).unwrap();
    let reason = disturb(&mut agent, "other", HostFault::ClockRate { rate: 2.0 }).unwrap_err();
    assert!(reason.contains("under one"), "{reason}");
    agent.inject("dead", ProcessFault::Kill);
    let observed = healed(&mut agent, "one");
    assert!(observed.contains("have ended"), "{observed}");
    let reason = disturb(&mut agent, "late", bump(100, BumpDirection::Forward)).unwrap_err();
    assert!(reason.contains("dead"), "{reason}");
}

fn of_c() {
    const TELLER: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    char asked[32] = "", now[32];
    struct timespec wall, boot, pause = {0, 1000000};
    const char *ready = "{\"time\":1,\"event\":\"node.ready\"}\n";
    if (write(5, ready, strlen(ready)) < 0) return 1;
    for (;;) {
        memset(now, 0, sizeof now);
        int file = open("ask", O_RDONLY);
        if (file >= 0) { if (read(file, now, 31) < 0) return 1; close(file); }
        if (strcmp(now, asked)) {
            strcpy(asked, now);
            clock_gettime(CLOCK_REALTIME, &wall);
            clock_gettime(CLOCK_MONOTONIC, &boot);
            printf("told %s %ld%09ld %ld%09ld\n", asked, (long)wall.tv_sec, wall.tv_nsec, (long)boot.tv_sec, boot.tv_nsec);
            fflush(stdout);
        }
        nanosleep(&pause, 0);
    }
}
"#;
    let folder = tempfile::tempdir().unwrap();
    let [source, program] = ["teller.c", "teller"].map(|name| folder.path().join(name));
    std::fs::write(&source, TELLER).unwrap();
    let mut compile = std::process::Command::new("cc");
    compile
        .args(["-static", "-O1", "-o"])
        .arg(&program)
        .arg(&source);
    assert!(compile.status().unwrap().success());
    let mut agent = Agent::with("plain", |node| {
        node.executable = program;
        node.arguments = Vec::new();
    });
    agent.start_node();
    let millis = BTreeMap::from([(1, 0), (2, 3_600_000), (3, 0)]);
    assert!(
        ask(&agent, 1)
            .iter()
            .all(|shown| shown.is_ahead(millis[&1]))
    );
    disturb(&mut agent, "hour", bump(3_600_000, BumpDirection::Forward)).unwrap();
    assert!(
        ask(&agent, 2)
            .iter()
            .all(|shown| shown.is_ahead(millis[&2]))
    );
    healed(&mut agent, "hour");
    assert!(
        ask(&agent, 3)
            .iter()
            .all(|shown| shown.is_ahead(millis[&3]))
    );
}

/// A chain of wrappers: each executes the next within a millisecond or two, and has its vDSO elsewhere. The fault may come
/// about or not; the program must not notice that it was asked, and the agent must come to an end.
fn executes() {
    const CHAIN: &str = r#"
N=$((${N:-0} + 1)); export N
[ $N = 1 ] && echo '{"time":1,"event":"node.ready"}' >&5
[ $N -lt 2000 ] && exec sh -c "$CHAIN"
exec sleep 60
"#;
    let mut agent = Agent::with("plain", |node| {
        node.executable = "/usr/bin/env".into();
        let chain = format!("CHAIN={CHAIN}");
        node.arguments = [&chain, "sh", "-c", CHAIN].map(str::to_owned).into();
    });
    let pid = agent.start_node();
    let mut injected = 0;
    for number in 0..40 {
        let name = format!("f{number}");
        if disturb(&mut agent, &name, bump(500, BumpDirection::Forward)).is_ok() {
            injected += 1;
            // A program executed since has the true time and needs no heal, so this may fail too.
            let _ = agent.heal(&name);
        }
    }
    println!("  {injected} of 40 injections came about");
    let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    println!("  the program is at {program:?} now");
    assert_eq!(agent.exits(), []);
}
