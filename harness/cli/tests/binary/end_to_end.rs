//! The whole way through with real processes: from an experiment file to a verdict and an exit code.
//!
//! Needs namespaces: as root, or as a user where the kernel allows user namespaces.
//! `SHAKEDOWN_NO_NAMESPACES=1` leaves these tests out, and each says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{PRIMARY_KILLED, Scratch, end_within, wait_for};

/// A run of [`PRIMARY_KILLED`] takes 4 s; a busy machine gets much more before a test gives up.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// True where the tests of this file are left out on demand.
fn left_out() -> bool {
    let left_out = std::env::var_os("SHAKEDOWN_NO_NAMESPACES").is_some();
    if left_out {
        eprintln!("left out: SHAKEDOWN_NO_NAMESPACES is set");
    }
    left_out
}

fn code(output: &Output) -> i32 {
    output
        .status
        .code()
        .unwrap_or_else(|| panic!("ended by a signal: {}", text(output)))
}

fn text(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    format!("{out}\n{}", String::from_utf8_lossy(&output.stderr))
}

fn verdict_of(scratch: &Scratch, run: &str) -> Value {
    let path = scratch.path().join(run).join("verdict.json");
    let json = fs::read_to_string(&path).expect("the run wrote its verdict");
    serde_json::from_str(&json).expect("verdict.json is JSON")
}

#[test]
fn a_killed_primary_is_detected_and_taken_over_and_the_run_passes() {
    if left_out() {
        return;
    }
    let scratch = Scratch::new("passes");
    scratch.experiment("killed.toml", PRIMARY_KILLED);
    let output = scratch.run(&["run", "killed.toml", "--out", "out"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let verdict = verdict_of(&scratch, "out");
    assert_eq!(verdict["verdict"], "pass");
    let metrics = &verdict["experiments"][0]["metrics"];
    // The detector's configuration bounds what a true measurement can be: not before
    // timeout − interval, and a takeover cannot precede its detection.
    let detected = metrics["detection.first"]["min"]
        .as_f64()
        .expect("a detection was measured");
    let recovered = metrics["recovery.first_success"]["max"]
        .as_f64()
        .expect("a recovery too");
    assert!(
        detected >= 240.0,
        "detected after {detected} ms, before the timeout could pass"
    );
    assert!(
        recovered > detected,
        "recovered after {recovered} ms, before {detected} ms"
    );
    assert!(scratch.path().join("out/junit.xml").exists());
    scratch.assert_nothing_lives_after(Duration::from_secs(2));

    let again = scratch.run(&["analyze", "out"]);
    assert_eq!(code(&again), 0, "{}", text(&again));
    let report = scratch.run(&["report", "out", "--json"]);
    let reported: Value = serde_json::from_slice(&report.stdout).expect("--json prints JSON");
    assert_eq!(reported, verdict_of(&scratch, "out"));
}

#[test]
fn a_gate_that_does_not_hold_fails_the_run_and_an_expectation_turns_it_round() {
    if left_out() {
        return;
    }
    let scratch = Scratch::new("fails");
    let weak = PRIMARY_KILLED.replace(
        "seed = 3",
        "seed = 3\nexpect = { verdict = \"fail\", gates = [\"recovery.first_success\"] }",
    );
    let weak = weak.replace(
        r#"{ kind = "fixed-timeout", heartbeat_interval = "50ms", timeout = "300ms" }"#,
        r#"{ kind = "none" }"#,
    );
    let weak = weak.replace("duration = \"1s\"", "");
    scratch.experiment("weak.toml", &weak);
    let expected = scratch.run(&["run", "weak.toml", "--out", "expected"]);
    assert_eq!(code(&expected), 0, "{}", text(&expected));
    let raw = scratch.run(&["analyze", "expected", "--no-expect"]);
    assert_eq!(code(&raw), 1, "{}", text(&raw));
}

#[test]
fn an_unprivileged_user_gets_the_same_run_in_a_user_namespace() {
    if left_out() {
        return;
    }
    let scratch = Scratch::new("unprivileged");
    // Not beside the results: what lies in memory may not be executable.
    let programs = TempDir::new().expect("a temporary folder");
    for folder in [scratch.path(), programs.path()] {
        let everybodys = fs::Permissions::from_mode(0o777);
        fs::set_permissions(folder, everybodys).expect("own folder");
    }
    scratch.experiment("killed.toml", PRIMARY_KILLED);
    let copy = programs.path().join("shakedown");
    fs::copy(env!("CARGO_BIN_EXE_shakedown"), &copy).expect("the binary can be copied");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("own file");
    let mut command = scratch.command_of(&copy, &["run", "killed.toml", "--out", "out"]);
    command.env_remove("XDG_RUNTIME_DIR");
    if nix::unistd::geteuid().is_root() {
        const NOBODY: u32 = 65_534;
        command.uid(NOBODY).gid(NOBODY);
    }
    let child = command.spawn().expect("the copy starts");
    let output = end_within(child, RUN_LIMIT);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert_eq!(verdict_of(&scratch, "out")["verdict"], "pass");
    scratch.assert_nothing_lives_after(Duration::from_secs(2));
}

#[test]
fn ctrl_c_stops_cleanly_keeps_what_was_recorded_and_is_unknown() {
    if left_out() {
        return;
    }
    let scratch = Scratch::new("interrupted");
    scratch.experiment("killed.toml", PRIMARY_KILLED);
    let child = scratch
        .command(&["run", "killed.toml", "--trials", "20", "--out", "out"])
        .spawn()
        .expect("the binary starts");
    let events = scratch.path().join("out/killed/1/events.jsonl");
    wait_for(RUN_LIMIT, || {
        let text = fs::read_to_string(&events).unwrap_or_default();
        if text.contains("fault.effective") {
            Ok(())
        } else {
            Err("no fault yet".to_owned())
        }
    });
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it lives");
    let output = end_within(child, Duration::from_secs(15));
    assert_eq!(code(&output), 2, "{}", text(&output));
    scratch.assert_nothing_lives_after(Duration::from_secs(2));
    let again = scratch.run(&["analyze", "out"]);
    assert_eq!(code(&again), 2, "{}", text(&again));
}

#[test]
fn a_node_that_dies_by_itself_fails_the_run() {
    if left_out() {
        return;
    }
    let scratch = Scratch::new("node-dies");
    // No fault of its own: the only death is the one nobody planned.
    let quiet = PRIMARY_KILLED
        .split("[[fault]]")
        .next()
        .expect("a text before the fault");
    scratch.experiment(
        "quiet.toml",
        &format!("{quiet}\n[[gate]]\nmetric = \"writes.lost\"\nrequire = \"= 0\"\n"),
    );
    let child = scratch
        .command(&["run", "quiet.toml", "--out", "out"])
        .spawn()
        .expect("the binary starts");
    let pid = wait_for(RUN_LIMIT, || {
        let is_node = |pid: &i32| scratch.describe(&[*pid]).contains(" node --config");
        let ready = fs::read_to_string(scratch.path().join("out/quiet/1/events.jsonl"))
            .is_ok_and(|events| events.contains("\"fault\""));
        let node = scratch.processes().into_iter().find(is_node);
        node.filter(|_| ready)
            .ok_or_else(|| "no node in the fault phase yet".to_owned())
    });
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the node lives");
    let output = end_within(child, RUN_LIMIT);
    assert_eq!(code(&output), 1, "{}", text(&output));
    assert!(
        text(&output).contains("died by itself"),
        "{}",
        text(&output)
    );
    scratch.assert_nothing_lives_after(Duration::from_secs(2));
}

#[test]
fn an_agent_that_dies_never_lets_the_run_pass() {
    if left_out() {
        return;
    }
    let scratch = Scratch::new("agent-dies");
    scratch.experiment("killed.toml", PRIMARY_KILLED);
    let child = scratch
        .command(&["run", "killed.toml", "--out", "out"])
        .spawn()
        .expect("the binary starts");
    let pid = wait_for(RUN_LIMIT, || {
        let is_agent = |pid: &i32| scratch.describe(&[*pid]).contains(" agent network");
        let warm = fs::read_to_string(scratch.path().join("out/killed/1/events.jsonl"))
            .is_ok_and(|events| events.contains("warm-up"));
        let agent = scratch.processes().into_iter().find(is_agent);
        agent
            .filter(|_| warm)
            .ok_or_else(|| "no network agent at work yet".to_owned())
    });
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the agent lives");
    let output = end_within(child, RUN_LIMIT);
    assert!([2, 255].contains(&code(&output)), "{}", text(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains("broke off: network-agent died"),
        "{}",
        text(&output)
    );
    scratch.assert_nothing_lives_after(Duration::from_secs(2));
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    if left_out() {
        return;
    }
    let scratch = Scratch::new("two-at-once");
    scratch.experiment("killed.toml", PRIMARY_KILLED);
    let start = |out: &str| {
        scratch
            .command(&["run", "killed.toml", "--out", out])
            .spawn()
            .expect("the binary starts")
    };
    let runs = [start("first"), start("second")];
    for run in runs {
        let output = end_within(run, RUN_LIMIT);
        assert_eq!(code(&output), 0, "{}", text(&output));
    }
}

#[test]
fn a_full_disk_is_told_clearly_and_what_was_recorded_stays_readable() {
    if left_out() {
        return;
    }
    let scratch = Scratch::new("full-disk");
    scratch.experiment("killed.toml", PRIMARY_KILLED);
    let binary = env!("CARGO_BIN_EXE_shakedown");
    // A file system of 64 KiB in a mount namespace that ends with the command.
    let script = format!(
        "mkdir small && mount -t tmpfs -o size=64k tmpfs small && {binary} run killed.toml --out small/out; code=$?; \
         {binary} analyze small/out; test $? -ne 0 || exit 99; test -s small/out/killed/1/events.jsonl || exit 98; exit $code"
    );
    let mut command = std::process::Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let output = command
        .args(["--mount", "sh", "-c", &script])
        .current_dir(scratch.path())
        .output()
        .expect("unshare (util-linux) is installed");
    assert_eq!(code(&output), 255, "{}", text(&output));
    assert!(
        text(&output).contains("No space left on device"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_simulated_run_needs_no_namespaces_and_repeats_byte_for_byte() {
    let scratch = Scratch::new("simulated");
    scratch.experiment("killed.toml", PRIMARY_KILLED);
    let run = |out: &str| {
        let arguments = [
            "run",
            "killed.toml",
            "--stage",
            "simulation",
            "--trials",
            "3",
        ];
        let output = scratch.run(&[&arguments[..], &["--out", out]].concat());
        assert_eq!(code(&output), 0, "{}", text(&output));
    };
    // Two processes, so that nothing can hang on addresses or on a hash's seed.
    run("first");
    run("second");
    for trial in ["1", "2", "3"] {
        for file in ["history.jsonl", "events.jsonl"] {
            let read = |out: &str| {
                let path = scratch
                    .path()
                    .join(out)
                    .join("killed")
                    .join(trial)
                    .join(file);
                fs::read_to_string(path).expect("every trial is recorded")
            };
            let first = read("first");
            assert!(first.lines().count() > 10, "{file} of trial {trial}");
            assert_eq!(first, read("second"), "{file} of trial {trial}");
        }
    }
    let seeds = |out: &str| verdict_of(&scratch, out)["experiments"][0]["metrics"].clone();
    let spread = seeds("first")["detection.first"].clone();
    assert_ne!(
        spread["min"], spread["max"],
        "trials have seeds of their own"
    );
}

#[test]
fn every_experiment_of_the_project_goes_as_it_expects_in_simulation() {
    let scratch = Scratch::new("experiments");
    let experiments = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments");
    let arguments = ["--stage", "simulation", "--trials", "2", "--out", "out"];
    let output = scratch.run(&[&["run", experiments, "--quiet"][..], &arguments].concat());
    assert_eq!(code(&output), 0, "{}", text(&output));
}

/// Medians of one experiment in both stages, and how far they may lie apart.
///
/// Detection is anywhere within one heartbeat interval (50 ms), so medians of few trials may differ by
/// that much; recovery adds the takeover's round and the clients' question, at most 100 ms of waiting
/// each. Real trials may moreover be late by what their canary saw, which voids them beyond 100 ms.
const AGREEMENT: &[(&str, f64)] = &[
    ("detection.first", 50.0 + 100.0),
    ("recovery.first_success", 50.0 + 200.0 + 100.0),
];

#[test]
fn the_same_experiment_agrees_in_both_stages() {
    if left_out() {
        return;
    }
    let scratch = Scratch::new("agreement");
    scratch.experiment("killed.toml", PRIMARY_KILLED);
    let run = |stage: &str, trials: &str| {
        let arguments = ["run", "killed.toml", "--stage", stage, "--trials", trials];
        let output = scratch.run(&[&arguments[..], &["--out", stage]].concat());
        assert_eq!(code(&output), 0, "{}", text(&output));
        verdict_of(&scratch, stage)["experiments"][0].clone()
    };
    let (real, simulated) = (run("local", "3"), run("simulation", "30"));
    for (metric, tolerance_ms) in AGREEMENT {
        let median = |experiment: &Value| {
            let median = experiment["metrics"][metric]["p50"].as_f64();
            median.unwrap_or_else(|| panic!("{metric} was not measured"))
        };
        let (real, simulated) = (median(&real), median(&simulated));
        assert!(
            (real - simulated).abs() <= *tolerance_ms,
            "{metric}: {real} ms with real processes, {simulated} ms simulated"
        );
    }
    for exact in [
        "writes.lost",
        "detection.missed",
        "roles.concurrent_primaries",
    ] {
        let worst = |experiment: &Value| experiment["metrics"][exact]["max"].clone();
        assert_eq!(worst(&real), worst(&simulated), "{exact}");
    }
}

#[test]
fn a_reader_who_leaves_ends_a_report_quietly_and_does_not_fail_a_run() {
    let scratch = Scratch::new("reader-leaves");
    scratch.experiment("killed.toml", PRIMARY_KILLED);
    let without_reader = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = scratch.command(arguments);
        command.stdout(writer);
        command.output().expect("the binary starts")
    };
    let arguments = [
        "run",
        "killed.toml",
        "--stage",
        "simulation",
        "--out",
        "out",
    ];
    let run = without_reader(&arguments);
    assert_eq!(code(&run), 0, "{}", text(&run));
    for arguments in [&["report", "out"][..], &["completions", "fish"]] {
        let output = without_reader(arguments);
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(signal, Some(Signal::SIGPIPE as i32), "{}", text(&output));
        assert!(output.stderr.is_empty(), "{}", text(&output));
    }
}
