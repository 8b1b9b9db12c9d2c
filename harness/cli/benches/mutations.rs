//! Which experiment kills which mutation.
//!
//! A check counts only after it has rejected a planted mistake. Every flaw that the reference
//! cluster's core knows is planted in turn, and every experiment of [`FOLDERS`] is played in
//! virtual time. An experiment (one variant of it) kills a mutation when it goes as expected
//! without the flaw and does not with it. What survives [`TRIALS`]' first number of trials meets
//! the next. One that survives all experiments is planted in the core's own tests (worlds and
//! machines that take a flaw from the environment): the tests that fail then kill it. One that
//! survives those too is equivalent, as far as anybody here can see.
//!
//! `cargo bench -p shakedown-cli --features flaws --bench mutations [-- part of a flaw's name]`
//! prints a table in Markdown, the survivors apart; progress goes to standard error.
//! Invariant: a file is left out for a flaw only if its run without one never came by the flaw's
//! place, so that the run with it would be the same. Nothing is written but temporary folders that
//! are removed.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use shakedown_contracts::verdict::{Outcome, RunVerdict};
use shakedown_run::Flaw;

/// Of each variant. Known answers are made so that one does for most.
const TRIALS: [u32; 3] = [1, 5, 20];
const FOLDERS: [&str; 3] = ["known-answers", "smoke", "strategies"];
/// Programs at once: each has one thread.
const AT_ONCE: usize = 2;

/// What one file does without a flaw.
struct Sound {
    file: PathBuf,
    /// The experiments that go as expected.
    passed: BTreeSet<String>,
    /// The names of the flaws whose places it comes by.
    reached: BTreeSet<String>,
}

impl Sound {
    fn comes_by(&self, flaw: Flaw) -> bool {
        self.reached.contains(flaw.name())
    }
}

/// Who killed a flaw.
#[derive(Default)]
struct Fate {
    /// Of each experiment; `None`: it took the core's tests.
    trials: Option<u32>,
    killers: BTreeSet<String>,
}

fn main() {
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let flaws = wanted();
    let mut fates: BTreeMap<&str, Fate> = BTreeMap::new();
    let mut files = experiments();
    for trials in TRIALS {
        let sound = in_parallel(&files, |file| without_flaw(file, trials));
        for (flaw, killers) in plant(&alive(&flaws, &fates), &sound, trials) {
            let trials = Some(trials);
            fates.insert(flaw.name(), Fate { trials, killers });
        }
        let alive = alive(&flaws, &fates);
        let counts = |sound: &Sound| alive.iter().any(|flaw| sound.comes_by(*flaw));
        let next = sound.into_iter().filter(counts);
        files = next.map(|sound| sound.file).collect();
    }
    let survivors = alive(&flaws, &fates);
    let sound = failing_tests(None);
    for flaw in survivors {
        let failing = failing_tests(Some(flaw));
        let killers = failing.difference(&sound).cloned().collect();
        let trials = None;
        fates.insert(flaw.name(), Fate { trials, killers });
    }
    print(&flaws, &fates);
}

/// The flaws that nobody has killed.
fn alive(flaws: &[Flaw], fates: &BTreeMap<&str, Fate>) -> Vec<Flaw> {
    let is_alive = |flaw: &&Flaw| {
        let fate = fates.get(flaw.name());
        fate.is_none_or(|fate| fate.killers.is_empty())
    };
    flaws.iter().filter(is_alive).copied().collect()
}

/// Tests of the core that fail.
fn failing_tests(flaw: Option<Flaw>) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "test",
            "--release",
            "--no-fail-fast",
            "-p",
            "shakedown-core",
        ])
        .args(["--lib", "--test", "virtual_time"])
        .env("SHAKEDOWN_FLAW", flaw.map_or("", Flaw::name))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("test ")?;
        rest.strip_suffix(" ... FAILED")
    });
    failed.map(|name| format!("core test {name}")).collect()
}

/// Plants each flaw in every file that comes by its place: who killed it.
fn plant(flaws: &[Flaw], sound: &[Sound], trials: u32) -> Vec<(Flaw, BTreeSet<String>)> {
    let pairs: Vec<(Flaw, &Sound)> = flaws
        .iter()
        .flat_map(|flaw| {
            let there = sound.iter().filter(|sound| sound.comes_by(*flaw));
            there.map(|sound| (*flaw, sound))
        })
        .collect();
    let dead = in_parallel(&pairs, |(flaw, sound)| {
        let (passed, _) = run(&sound.file, Some(*flaw), trials);
        let dead: BTreeSet<String> = sound.passed.difference(&passed).cloned().collect();
        for killer in &dead {
            eprintln!("{trials} trials: {} is killed by {killer}", flaw.name());
        }
        (*flaw, dead)
    });
    let killers_of = |flaw: &Flaw| {
        let of_it = dead.iter().filter(|(other, _)| other == flaw);
        of_it.flat_map(|(_, killers)| killers.clone()).collect()
    };
    flaws.iter().map(|flaw| (*flaw, killers_of(flaw))).collect()
}

fn without_flaw(file: &Path, trials: u32) -> Sound {
    let (passed, reached) = run(file, None, trials);
    Sound {
        file: file.to_path_buf(),
        passed,
        reached,
    }
}

fn print(flaws: &[Flaw], fates: &BTreeMap<&str, Fate>) {
    println!("| mutation | what is wrong | trials | killed by |\n|---|---|---:|---|");
    let all = || flaws.iter().map(|flaw| (flaw, &fates[flaw.name()]));
    for (flaw, fate) in all().filter(|(_, fate)| !fate.killers.is_empty()) {
        let killers: Vec<&str> = fate.killers.iter().map(String::as_str).collect();
        let (name, about) = (flaw.name(), flaw.about());
        let trials = fate
            .trials
            .map_or("–".to_owned(), |trials| trials.to_string());
        println!("| `{name}` | {about} | {trials} | {} |", killers.join(", "));
    }
    println!("\n| survivor | what is wrong |\n|---|---|");
    for (flaw, _) in all().filter(|(_, fate)| fate.killers.is_empty()) {
        println!("| `{}` | {} |", flaw.name(), flaw.about());
    }
}

/// Without those that cargo adds.
fn arguments() -> impl Iterator<Item = String> {
    let all = std::env::args().skip(1);
    all.filter(|argument| !argument.starts_with("--"))
}

/// The flaws of whose names an argument is a part; all if there is none.
fn wanted() -> Vec<Flaw> {
    let parts: Vec<String> = arguments().collect();
    let is_wanted = |flaw: &Flaw| {
        let is_in = |part: &String| flaw.name().contains(part.as_str());
        parts.is_empty() || parts.iter().any(is_in)
    };
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

/// Plays one file: which experiments go as expected (none where the harness gave up), and the
/// names of the flaws whose places the run came by.
fn run(file: &Path, flaw: Option<Flaw>, trials: u32) -> (BTreeSet<String>, BTreeSet<String>) {
    let folder = tempfile::tempdir().unwrap();
    let reached = folder.path().join("reached");
    let output = Command::new(env!("CARGO_BIN_EXE_shakedown"))
        .args(["run", "--quiet", "--json", "--stage", "simulation"])
        .args(["--trials", &trials.to_string(), "--out"])
        .arg(folder.path().join("run"))
        .arg(file)
        .env("SHAKEDOWN_FLAW", flaw.map_or("", Flaw::name))
        .env("SHAKEDOWN_FLAWS_ASKED", &reached)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let experiments = serde_json::from_slice(&output.stdout)
        .map(|verdict: RunVerdict| verdict.experiments)
        .unwrap_or_default();
    let as_expected = experiments
        .into_iter()
        .filter(|experiment| experiment.verdict == Outcome::Pass);
    let reached = std::fs::read_to_string(reached).unwrap_or_default();
    (
        as_expected.map(|experiment| experiment.name).collect(),
        reached.lines().map(str::to_owned).collect(),
    )
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
