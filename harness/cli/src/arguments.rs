//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Put a distributed system through its faults before its users do.
#[derive(Debug, Parser)]
#[command(name = "shakedown", version, about, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  shakedown run experiments/smoke              run a folder of experiments, print a table
  shakedown run my.toml --trials 10 --seed 7   ten trials, drawn from seed 7
  shakedown plan my.toml                       what would happen, without doing it
  shakedown report results/latest              the table of a stored run again
  shakedown doctor                             what this machine can inject, and why not

Exit codes: 0 pass, 1 fail, 2 unknown, 254 your error, 255 the harness's own.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run experiments: inject the faults, record, analyze, report
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Print what a run would do, without doing it
    Plan(Plan),
    /// Judge a recorded run again, from its files alone
    Analyze(Analyze),
    /// Print a judged run again
    Report(Report),
    /// Tell what this machine can inject, by which mechanism, and why not
    Doctor,
    /// Remove what a run left behind that was killed
    Recover,
    /// Stand between clients and a server, and do to connections what Toxiproxy's toxics do
    #[command(after_help = PROXY_EXAMPLES)]
    Proxy(Proxy),
    /// Print shell completions
    #[command(
        after_help = "Example:\n  shakedown completions bash > ~/.local/share/bash-completion/completions/shakedown"
    )]
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// One agent of a run; started by the harness, speaks frames on standard input and output
    #[command(hide = true)]
    Agent {
        /// Which agent.
        #[arg(value_enum)]
        kind: AgentKind,
    },
    /// One node of the reference cluster; started by its agent
    #[command(hide = true)]
    Node(Node),
}

/// Which agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AgentKind {
    /// Rules all links.
    Network,
    /// Owns one node's process.
    Node,
    /// Runs a group of clients.
    Client,
}

const PROXY_EXAMPLES: &str = "\
Examples:
  shakedown proxy --listen 127.0.0.1:26379 --upstream 127.0.0.1:6379 --name redis
  shakedown proxy --listen 127.0.0.1:0 --upstream db:5432 --toxic '-t latency -a latency=100'
  echo 'toxic add -t timeout' | shakedown proxy --listen 127.0.0.1:8081 --upstream 127.0.0.1:8080

Lines of standard input, in the words of toxiproxy-cli:
  toxic add -t latency -a latency=100 -a jitter=10 --toxicity 0.5 --downstream -n slow
  toxic update -n slow -a latency=200
  toxic remove -n slow
  toggle                  down: refuse connections, end those that are open; or up again
  inspect                 what there is, and what it has done
  quit                    end; so do SIGINT and SIGTERM, but not the end of standard input

Toxics, in milliseconds unless said:
  latency (latency, jitter)     bandwidth (rate, in kB/s)      slow_close (delay)
  timeout (timeout; 0: none)    reset_peer (timeout)           limit_data (bytes)
  slicer (average_size, size_variation, in bytes; delay, in µs)
They act at once, on connections that are there, too, and let go of what they hold when removed.

Each event is a line of JSON on standard output: listening, toxic.added, toxic.updated,
toxic.removed (with what it did), toggled, inspected, refused (a wrong line), ended.";

/// Arguments of `proxy`.
#[derive(Debug, Args)]
pub struct Proxy {
    /// Where to take connections; port 0: any that is free
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: String,
    /// Where to hand them on to
    #[arg(long, value_name = "HOST:PORT")]
    pub upstream: String,
    /// What to call it in events
    #[arg(long, default_value = "proxy")]
    pub name: String,
    /// A toxic from the beginning on, as `toxic add` takes it; may be given again
    #[arg(long, value_name = "TOXIC", allow_hyphen_values = true)]
    pub toxic: Vec<String>,
    /// Seed of the draws: which connections meet a toxic, jitter, sizes of slices
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// End when standard input ends
    #[arg(long)]
    pub end_with_input: bool,
}

const RUN_EXAMPLES: &str = "\
Examples:
  shakedown run experiments/smoke
  shakedown run primary-dies.toml --trials 20 --out results/before
  shakedown run experiments/known-answers --stage simulation --trials 200
  shakedown run experiments/known-answers --no-expect --format json > verdict.json

Everything is kept in results/<run>: the plan, each operation and event, logs, verdict.json, junit.xml.";

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Experiment files, or folders of them
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub overrides: PlanOverrides,
    /// Folder for the results; must be new or empty [default: results/UTC-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
    /// Show the raw verdict: do not turn what a variant expects to fail into a pass
    #[arg(long)]
    pub no_expect: bool,
    /// How many simulated trials run at once; real ones run one by one [default: processors]
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

/// Values that take the place of the experiment file's.
#[derive(Debug, Args)]
pub struct PlanOverrides {
    /// Stage to run on, instead of the file's: local (real processes) or simulation (virtual time)
    #[arg(long)]
    pub stage: Option<String>,
    /// Number of trials, instead of the file's
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub trials: Option<u32>,
    /// Seed of all randomness, instead of the file's
    #[arg(long)]
    pub seed: Option<u64>,
}

/// What is printed on standard output.
#[derive(Debug, Args)]
pub struct Output {
    /// Format of standard output
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

impl Output {
    /// The format asked for.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// Formats of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// verdict.json.
    Json,
    /// JUnit XML.
    Junit,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Experiment files, or folders of them
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub overrides: PlanOverrides,
    /// Print plan.json of each instead
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `analyze`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  shakedown analyze results/latest\n\nWrites verdict.json and junit.xml of the run anew."
)]
pub struct Analyze {
    /// Folder of a run, such as results/latest
    #[arg(value_name = "DIR")]
    pub run: PathBuf,
    #[command(flatten)]
    pub output: Output,
    /// Show the raw verdict: do not turn what a variant expects to fail into a pass
    #[arg(long)]
    pub no_expect: bool,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  shakedown report results/latest --format junit > junit.xml")]
pub struct Report {
    /// Folder of a run, such as results/latest
    #[arg(value_name = "DIR")]
    pub run: PathBuf,
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `node`.
#[derive(Debug, Args)]
pub struct Node {
    /// The node's configuration (JSON)
    #[arg(long, value_name = "FILE", required_unless_present = "replay")]
    pub config: Option<PathBuf>,
    /// Inherited descriptor to write events to, one JSON object a line
    #[arg(long, value_name = "NUMBER")]
    pub events_descriptor: Option<i32>,
    /// Take down every input and what the node did about it
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Do not serve: take every step of a recording again, and fail where one comes out differently
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "events_descriptor", "record"])]
    pub replay: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
