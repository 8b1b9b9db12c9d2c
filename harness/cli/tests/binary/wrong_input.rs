//! Wrong input gets a clear error with a hint and exit code 254, before anything is started.

use std::process::Output;

use crate::support::{PRIMARY_KILLED, Scratch};

fn refused(scratch: &Scratch, arguments: &[&str]) -> String {
    let output: Output = scratch.run(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(254), "{text}");
    assert!(output.stdout.is_empty(), "an error is not a result");
    text
}

#[test]
fn an_unknown_key_is_refused_with_file_line_column_and_hint() {
    let scratch = Scratch::new("unknown-key");
    scratch.experiment(
        "bad.toml",
        &PRIMARY_KILLED.replace("heartbeat_interval", "hartbeat_interval"),
    );
    let text = refused(&scratch, &["run", "bad.toml"]);
    for part in [
        "bad.toml:10:",
        "hartbeat_interval",
        "heartbeat_interval",
        "^",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn an_unknown_strategy_is_told_apart_from_one_that_is_not_available_yet() {
    let scratch = Scratch::new("unknown-strategy");
    scratch.experiment(
        "unknown.toml",
        &PRIMARY_KILLED.replace("\"fixed-timeout\"", "\"fixed-timeot\""),
    );
    assert!(refused(&scratch, &["plan", "unknown.toml"]).contains("fixed-timeout"));
    let elsewhere = PRIMARY_KILLED.replace("seed = 3", "seed = 3\nstage = \"ssh\"");
    scratch.experiment("elsewhere.toml", &elsewhere);
    assert!(refused(&scratch, &["plan", "elsewhere.toml"]).contains("not available yet"));
}

#[test]
fn a_folder_of_experiments_that_cannot_run_here_is_unknown_and_says_why() {
    let scratch = Scratch::new("skipped");
    std::fs::create_dir(scratch.path().join("folder")).expect("own folder");
    scratch.experiment(
        "folder/later.toml",
        &PRIMARY_KILLED.replace("seed = 3", "seed = 3\nstage = \"ssh\""),
    );
    let output = scratch.run(&["run", "folder"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("later") && text.contains("ssh"), "{text}");
}

#[test]
fn results_are_never_overwritten() {
    let scratch = Scratch::new("overwrite");
    scratch.experiment("good.toml", PRIMARY_KILLED);
    std::fs::create_dir(scratch.path().join("out")).expect("own folder");
    scratch.experiment("out/precious", "kept");
    assert!(refused(&scratch, &["run", "good.toml", "--out", "out"]).contains("not empty"));
    let kept = std::fs::read_to_string(scratch.path().join("out/precious")).expect("still there");
    assert_eq!(kept, "kept");
}

#[test]
fn paths_and_arguments_that_make_no_sense_are_refused_with_what_to_do() {
    let scratch = Scratch::new("paths");
    assert!(refused(&scratch, &["run", "absent.toml"]).contains("does not exist"));
    std::fs::create_dir(scratch.path().join("empty")).expect("own folder");
    assert!(refused(&scratch, &["run", "empty"]).contains("no experiment"));
    assert!(refused(&scratch, &["analyze", "empty"]).contains("not the folder of a run"));
    assert!(refused(&scratch, &["run"]).contains("PATH"));
    assert!(refused(&scratch, &["runn"]).contains("run"));
}
