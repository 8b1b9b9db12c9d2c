//! Which experiment kills which mutation.
//!
//! A check counts only after it has rejected a planted mistake. Every flaw that the reference
//! cluster's core knows is planted in turn, and every known answer and every smoke test is played
//! in virtual time. An experiment (one variant of it) kills a mutation when it goes as expected
//! without the flaw and does not with it. One that survives all is either equivalent, as far as
//! any experiment can see, or shows what experiment is missing.
//!
//! `cargo bench -p shakedown-cli --features flaws --bench mutations [-- part of a flaw's name]`, with
//! a number for another number of trials than 20, prints a table in Markdown, the survivors apart; progress goes to standard error.
//! Invariant: nothing is written but a temporary folder that is removed.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use shakedown_contracts::verdict::{Outcome, RunVerdict};
use shakedown_run::Flaw;

/// Of each variant, where no argument says another number. Known answers are made so that a few do.
const TRIALS: u32 = 20;
const FOLDERS: [&str; 2] = ["known-answers", "smoke"];
/// Programs at once: each has one thread.
const AT_ONCE: usize = 2;

fn main() {
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let files = experiments();
    let trials = arguments().find_map(|argument| argument.parse().ok());
    let trials = trials.unwrap_or(TRIALS);
    let (sound, unsound) = as_expected(&files, None, trials);
    for name in &unsound {
        eprintln!("{name} does not go as expected without a flaw: left out");
    }
    let flaws = wanted();
    let killers = in_parallel(&flaws, |flaw| {
        let (passed, _) = as_expected(&files, Some(*flaw), trials);
        let killers: Vec<String> = sound.difference(&passed).cloned().collect();
        eprintln!("{}: {} of {}", flaw.name(), killers.len(), sound.len());
        killers
    });
    println!("{} experiments, {trials} trials each.\n", sound.len());
    print(&flaws, &killers);
}

fn print(flaws: &[Flaw], killers: &[Vec<String>]) {
    println!("| mutation | what is wrong | killed by |\n|---|---|---|");
    let all = || flaws.iter().zip(killers);
    for (flaw, killers) in all().filter(|(_, killers)| !killers.is_empty()) {
        let killers = killers.join("<br>");
        println!("| `{}` | {} | {killers} |", flaw.name(), flaw.about());
    }
    println!("\n| survivor | what is wrong |\n|---|---|");
    for (flaw, _) in all().filter(|(_, killers)| killers.is_empty()) {
        println!("| `{}` | {} |", flaw.name(), flaw.about());
    }
}

/// Without those that cargo adds.
fn arguments() -> impl Iterator<Item = String> {
    let all = std::env::args().skip(1);
    all.filter(|argument| !argument.starts_with("--"))
}

/// The flaws of whose names every argument is a part.
fn wanted() -> Vec<Flaw> {
    let is_name = |argument: &String| argument.parse::<u32>().is_err();
    let parts: Vec<String> = arguments().filter(is_name).collect();
    let is_wanted = |flaw: &Flaw| parts.iter().all(|part| flaw.name().contains(part));
    Flaw::ALL.iter().copied().filter(is_wanted).collect()
}

/// All experiment files of the folders, in order.
fn experiments() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let mut files = Vec::new();
    for folder in FOLDERS {
        let entries = root.join(folder).read_dir().unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    files.sort();
    files
}

/// Which experiments go as expected, and which do not.
fn as_expected(
    files: &[PathBuf],
    flaw: Option<Flaw>,
    trials: u32,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut passed, mut others) = (BTreeSet::new(), BTreeSet::new());
    for file in files {
        let Some(verdict) = run(file, flaw, trials) else {
            others.insert(file.file_stem().unwrap().to_string_lossy().into_owned());
            continue;
        };
        for experiment in verdict.experiments {
            match experiment.verdict {
                Outcome::Pass => passed.insert(experiment.name),
                Outcome::Fail | Outcome::Unknown => others.insert(experiment.name),
            };
        }
    }
    (passed, others)
}

/// Plays one file; `None`: the harness gave up on it.
fn run(file: &Path, flaw: Option<Flaw>, trials: u32) -> Option<RunVerdict> {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_shakedown"))
        .args(["run", "--quiet", "--json", "--stage", "simulation"])
        .args(["--trials", &trials.to_string(), "--out"])
        .arg(folder.path().join("run"))
        .arg(file)
        .env("SHAKEDOWN_FLAW", flaw.map_or("", Flaw::name))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).ok()
}

/// What `work` makes of each item, in order.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            match items.get(index) {
                Some(item) => done.push((index, work(item))),
                None => return done,
            }
        }
    };
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(take)).collect();
        let results = workers.into_iter().map(|worker| worker.join().unwrap());
        results.flatten().collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
