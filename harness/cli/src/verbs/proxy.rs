//! `shakedown proxy`: toxics on TCP connections, told on standard input.

use std::io::{BufRead, Write};
use std::net::{SocketAddr, ToSocketAddrs};

use clap::Parser;
use serde_json::json;
use shakedown_agents::proxy::toxics::Settings;
use shakedown_agents::proxy::{Command, Proxy, ProxyError, Report, Stream, Toxic};
use shakedown_contracts::verdict::Outcome;

use crate::arguments;
use crate::exit::Failure;

/// A line of standard input.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_version_flag = true)]
enum Line {
    /// Add, change or take away a toxic
    #[command(subcommand)]
    Toxic(ToxicLine),
    /// Refuse connections and end those that are open; or take them again
    Toggle,
    /// Say what there is
    Inspect,
    /// End
    #[command(alias = "exit")]
    Quit,
}

#[derive(Debug, clap::Subcommand)]
enum ToxicLine {
    /// Such as `toxic add -t latency -a latency=100 -a jitter=10`
    Add(Add),
    /// Such as `toxic update -n latency_downstream -a latency=200`
    Update {
        /// Its name.
        #[arg(short = 'n', long = "toxicName", alias = "name")]
        name: String,
        /// `name=value`, for each number of it.
        #[arg(short, long = "attribute", required = true)]
        attributes: Vec<String>,
    },
    /// Such as `toxic remove -n latency_downstream`
    Remove {
        /// Its name.
        #[arg(short = 'n', long = "toxicName", alias = "name")]
        name: String,
    },
}

/// A toxic as `toxiproxy-cli toxic add` takes it.
#[derive(Debug, clap::Args)]
struct Add {
    /// latency, bandwidth, slow_close, timeout, reset_peer, slicer or limit_data.
    #[arg(short = 't', long = "type")]
    kind: String,
    /// `name=value`, for each number of it.
    #[arg(short, long = "attribute")]
    attributes: Vec<String>,
    /// Its name; without it `<type>_<stream>`.
    #[arg(short = 'n', long = "toxicName", alias = "name")]
    name: Option<String>,
    /// Share of connections that meet it.
    #[arg(long, alias = "tox", default_value_t = 1.0)]
    toxicity: f64,
    /// From the client to the server.
    #[arg(short, long, conflicts_with = "downstream")]
    upstream: bool,
    /// From the server to the client; so it is without a word.
    #[arg(short, long)]
    downstream: bool,
}

/// For `--toxic` of the command line.
#[derive(Debug, Parser)]
#[command(name = "--toxic", no_binary_name = true, disable_version_flag = true)]
struct Initial {
    #[command(flatten)]
    add: Add,
}

/// Runs until `quit`, a signal, or for ever once standard input has ended.
///
/// # Errors
/// The user's, for addresses and toxics that cannot be.
pub fn main(arguments: &arguments::Proxy) -> Result<Outcome, Failure> {
    let listen = address(&arguments.listen)?;
    let upstream = address(&arguments.upstream)?;
    if !listen.ip().is_loopback() {
        anstream::eprintln!("warning: {listen} can be reached from other machines");
    }
    let user = |error: ProxyError| Failure::User(format!("error: {error}"));
    let proxy = Proxy::start(listen, upstream, arguments.seed).map_err(user)?;
    for text in &arguments.toxic {
        let told = initial(text).and_then(|toxic| {
            let told = proxy.tell(Command::Add(toxic));
            told.map_err(|error| error.to_string())
        });
        told.map_err(|error| Failure::User(format!("error: --toxic \"{text}\": {error}")))?;
    }
    let report = proxy.tell(Command::Inspect).map_err(user)?;
    say("listening", &report);
    anstream::eprintln!(
        "{} → {upstream}; commands on standard input, `help` tells which",
        proxy.listen()
    );
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else {
            break;
        };
        match obey(&proxy, &line) {
            Ok(true) => {}
            Ok(false) => return Ok(Outcome::Pass),
            Err(message) => {
                println!(
                    "{}",
                    json!({ "event": "refused", "line": line, "error": message })
                );
                anstream::eprintln!("error: {message}");
            }
        }
    }
    // Nobody tells it anything any more; whoever started it ends it by a signal.
    loop {
        std::thread::park();
    }
}

/// Carries a line out; false at the end.
fn obey(proxy: &Proxy, line: &str) -> Result<bool, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.is_empty() {
        return Ok(true);
    }
    let parsed = match Line::try_parse_from(&words) {
        Ok(parsed) => parsed,
        Err(error) if !error.use_stderr() => {
            anstream::eprintln!("{error}");
            return Ok(true);
        }
        Err(error) => return Err(one_line(&error)),
    };
    let (event, command) = match parsed {
        Line::Quit => return Ok(false),
        Line::Toggle => ("toggled", Command::Toggle),
        Line::Inspect => ("inspected", Command::Inspect),
        Line::Toxic(ToxicLine::Add(add)) => ("toxic.added", Command::Add(toxic(add)?)),
        Line::Toxic(ToxicLine::Remove { name }) => ("toxic.removed", Command::Remove { name }),
        Line::Toxic(ToxicLine::Update { name, attributes }) => {
            let settings = changed(proxy, &name, &attributes)?;
            ("toxic.updated", Command::Update { name, settings })
        }
    };
    let report = proxy.tell(command).map_err(|error| error.to_string())?;
    say(event, &report);
    Ok(true)
}

/// The toxic's numbers with some of them changed.
fn changed(proxy: &Proxy, name: &str, attributes: &[String]) -> Result<Settings, String> {
    let report = proxy.tell(Command::Inspect);
    let report = report.map_err(|error| error.to_string())?;
    let there = report
        .toxics
        .into_iter()
        .find(|done| done.toxic.name == name);
    let Some(there) = there else {
        return Err(format!(
            "there is no toxic `{name}`; `inspect` tells which there are"
        ));
    };
    let now = serde_json::to_value(&there.toxic.settings).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    let mut kind = String::new();
    for (key, value) in now.as_object().into_iter().flatten() {
        match value.as_str() {
            Some(text) => text.clone_into(&mut kind),
            None => all.push((key.clone(), value.to_string())),
        }
    }
    all.extend(pairs(attributes)?);
    Settings::from_attributes(&kind, &all)
}

fn initial(text: &str) -> Result<Toxic, String> {
    let parsed = Initial::try_parse_from(text.split_whitespace());
    toxic(parsed.map_err(|error| one_line(&error))?.add)
}

fn toxic(add: Add) -> Result<Toxic, String> {
    if !(0.0..=1.0).contains(&add.toxicity) {
        return Err(format!(
            "a toxicity of {} is no share of 0 to 1",
            add.toxicity
        ));
    }
    let (stream, way) = match add.upstream {
        true => (Stream::Upstream, "upstream"),
        false => (Stream::Downstream, "downstream"),
    };
    let settings = Settings::from_attributes(&add.kind, &pairs(&add.attributes)?)?;
    Ok(Toxic {
        name: add.name.unwrap_or_else(|| format!("{}_{way}", add.kind)),
        stream,
        toxicity: add.toxicity,
        settings,
    })
}

fn pairs(attributes: &[String]) -> Result<Vec<(String, String)>, String> {
    let pair = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is no `name=value`, such as `latency=100`"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    attributes.iter().map(pair).collect()
}

fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let told = text.lines().take_while(|line| !line.starts_with("Usage:"));
    let told: Vec<&str> = told
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    told.join(" ").trim_start_matches("error: ").to_owned()
}

fn say(event: &str, report: &Report) {
    let mut line = json!(report);
    if let Some(fields) = line.as_object_mut() {
        fields.insert("event".to_owned(), json!(event));
    }
    println!("{line}");
    // Whoever reads may be gone; the proxy goes on.
    let _ = std::io::stdout().flush();
}

fn address(text: &str) -> Result<SocketAddr, Failure> {
    let told = |why: String| {
        Failure::User(format!(
            "error: `{text}` is no address: {why}; write host:port"
        ))
    };
    let mut found = text
        .to_socket_addrs()
        .map_err(|error| told(error.to_string()))?;
    found
        .next()
        .ok_or_else(|| told("the name has none".to_owned()))
}
