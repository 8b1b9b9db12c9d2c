//! `shakedown run`: the whole way through, from experiment files to a verdict.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use nix::unistd::AccessFlags;
use shakedown_contracts::plan::{Plan, Stage};
use shakedown_contracts::run_directory::{self, RunDirectory};
use shakedown_contracts::verdict::{Outcome, RunVerdict, Skipped, VERDICT_FORMAT};

use shakedown_run::Isolation;

use crate::arguments::Run;
use crate::discovery::{self, Discovered};
use crate::exit::Failure;
use crate::progress;
use crate::verbs::{analyze, report};

/// After a harness was killed the kernel needs a moment to end its processes.
const RESIDUE_PATIENCE: Duration = Duration::from_secs(2);

/// Plans, runs, analyzes and reports.
///
/// # Errors
/// The user's for arguments and experiment files, the harness's for what it could not do.
pub fn main(arguments: &Run) -> Result<Outcome, Failure> {
    let discovered = discovery::plans(&arguments.paths, &arguments.overrides)?;
    if discovered.plans.is_empty() {
        return nothing_can_run(arguments, discovered.skipped);
    }
    let ledgers = ledger_root();
    let simulated = |plan: &Plan| plan.stage == Stage::Simulation;
    let all_simulated = discovered.plans.iter().all(simulated);
    if !all_simulated {
        refuse_to_start_on_residue(&ledgers)?;
    }
    let directory = make_run_directory(arguments.out.as_deref())?;
    let executable = std::env::current_exe().context("cannot find this program's own file")?;
    // The user namespace must be entered while this process has one thread.
    let isolation = match all_simulated {
        true => Isolation::Unneeded,
        false => shakedown_run::enter_namespaces().map_err(anyhow::Error::new)?,
    };
    let interrupted = follow(
        &discovered,
        &directory,
        executable,
        ledgers,
        isolation,
        arguments,
    )?;
    let verdict = analyze::judge(&directory, !arguments.no_expect)?;
    report::print(&verdict, arguments.output.format())?;
    if !arguments.quiet {
        anstream::eprintln!("results: {}", directory.path().display());
    }
    if interrupted {
        anstream::eprintln!("stopped before all trials were done; what was recorded is kept");
        return Ok(Outcome::worst([verdict.verdict, Outcome::Unknown]));
    }
    Ok(verdict.verdict)
}

/// Runs the plans; true when the user stopped it.
fn follow(
    discovered: &Discovered,
    directory: &RunDirectory,
    executable: PathBuf,
    ledger_root: PathBuf,
    isolation: Isolation,
    arguments: &Run,
) -> Result<bool, Failure> {
    if !discovered.skipped.is_empty() {
        let json = serde_json::to_string_pretty(&discovered.skipped).context("skipped.json")?;
        fs::write(directory.skipped(), json)
            .with_context(|| format!("cannot write {}", directory.skipped().display()))?;
    }
    let options = shakedown_run::RunOptions {
        directory: directory.clone(),
        executable,
        ledger_root,
        isolation,
        jobs: arguments.jobs.unwrap_or_else(processors),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let progress = progress::on_stderr(arguments.quiet);
    let outcome = runtime
        .block_on(async {
            let interrupt = shakedown_run::Interrupt::from_signals()?;
            shakedown_run::run(discovered.plans.clone(), options, progress, interrupt).await
        })
        .map_err(anyhow::Error::new)?;
    Ok(outcome.interrupted)
}

/// As many as this process may use; one where the machine does not say.
fn processors() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// All experiments of the folder were skipped: unknown.
fn nothing_can_run(arguments: &Run, skipped: Vec<Skipped>) -> Result<Outcome, Failure> {
    let verdict = RunVerdict {
        format: VERDICT_FORMAT,
        verdict: Outcome::Unknown,
        experiments: Vec::new(),
        skipped,
    };
    report::print(&verdict, arguments.output.format())?;
    Ok(Outcome::Unknown)
}

/// Where ledgers lie for this user; the same for every verb.
///
/// In memory where that can be had: a synced line then costs microseconds, and a ledger need not
/// outlive the machine, since nothing that it names does.
pub fn ledger_root() -> PathBuf {
    let uid = nix::unistd::getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let memory = Path::new("/dev/shm");
    let in_memory = run_directory::ledger_root(None, memory, uid);
    // Root of a user namespace meets the folder of the machine's root, which is not its own.
    let own = fs::metadata(&in_memory).map_or(true, |folder| folder.uid() == uid);
    if runtime.is_none() && own && nix::unistd::access(memory, AccessFlags::W_OK).is_ok() {
        return in_memory;
    }
    run_directory::ledger_root(runtime.as_deref(), &std::env::temp_dir(), uid)
}

/// Refuses to start while something of an earlier run lives. Ledgers whose processes have all ended
/// name nothing that is left on the machine, and are cleared.
fn refuse_to_start_on_residue(ledgers: &Path) -> Result<(), Failure> {
    let told = || format!("cannot read the ledgers in {}", ledgers.display());
    let deadline = Instant::now() + RESIDUE_PATIENCE;
    loop {
        let residue = shakedown_agents::recover::residue(ledgers).with_context(told)?;
        if residue.is_empty() {
            return Ok(());
        }
        if residue.iter().all(|one| one.living.is_empty()) {
            shakedown_agents::recover::recover(ledgers).with_context(told)?;
            return Ok(());
        }
        if Instant::now() >= deadline {
            let lines: Vec<String> = residue.iter().map(|one| format!("  {one}")).collect();
            return Err(Failure::Harness(anyhow!(
                "an earlier run left this behind:\n{}\nhelp: remove it with `shakedown recover`, then run again",
                lines.join("\n")
            )));
        }
        // A poll of /proc, bounded by the deadline: there is no descriptor to wait on for
        // processes of another, dead parent.
        thread::sleep(Duration::from_millis(20));
    }
}

/// `--out DIR`, which must be new or empty, or `results/UTC-TIME` with `results/latest` beside it.
fn make_run_directory(out: Option<&Path>) -> Result<RunDirectory, Failure> {
    if let Some(out) = out {
        let holds_something = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
        if holds_something {
            return Err(Failure::User(format!(
                "error: --out {} is not empty\nhelp: name a new folder; nothing is ever overwritten",
                out.display()
            )));
        }
        fs::create_dir_all(out)
            .map_err(|error| Failure::User(format!("error: --out {}: {error}", out.display())))?;
        return Ok(RunDirectory::new(out));
    }
    let results = Path::new("results");
    fs::create_dir_all(results)
        .context("cannot make the folder results here; name another with --out DIR")?;
    let name = new_folder(results)?;
    point_latest_to(results, &name);
    Ok(RunDirectory::new(results.join(name)))
}

/// Two runs may begin in the same second; the folder's creation decides who has the name.
fn new_folder(results: &Path) -> Result<String, Failure> {
    let stamp = chrono::Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
    for attempt in 1..=1000 {
        let name = if attempt == 1 {
            stamp.clone()
        } else {
            format!("{stamp}-{attempt}")
        };
        match fs::create_dir(results.join(&name)) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let what = format!("cannot make {}", results.join(&name).display());
                return Err(Failure::Harness(anyhow::Error::new(error).context(what)));
            }
        }
    }
    Err(Failure::Harness(anyhow!(
        "no free name for the run in {}",
        results.display()
    )))
}

/// `results/latest` is a convenience: where links cannot be made the run goes on without.
fn point_latest_to(results: &Path, name: &str) {
    let temporary = results.join(format!(".latest-{}", std::process::id()));
    let made = symlink(name, &temporary);
    if made.is_ok() && fs::rename(&temporary, results.join("latest")).is_err() {
        let _ = fs::remove_file(&temporary);
    }
}
