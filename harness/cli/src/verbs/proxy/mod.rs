//! `shakedown proxy`: toxics on TCP connections, told on standard input.
//!
//! Standard output is one JSON object a line, an event each; standard error says the same to people.

mod input;
mod line;

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};

use serde_json::{Value, json};
use shakedown_agents::proxy::{Command, Done, Effect, Proxy, ProxyError, Report, Stream, Toxic};
use shakedown_contracts::verdict::Outcome;

use crate::arguments;
use crate::exit::Failure;
use input::{Input, Signals};
use line::Line;

/// Runs until `quit` or a signal; the end of standard input ends it only where that is wanted.
///
/// # Errors
/// The user's, for addresses and toxics that cannot be.
pub fn main(arguments: &arguments::Proxy) -> Result<Outcome, Failure> {
    let signals = Signals::take()?;
    let listen = address("--listen", &arguments.listen)?;
    let upstream = address("--upstream", &arguments.upstream)?;
    let user = |error: ProxyError| Failure::User(format!("error: {error}"));
    let started = Proxy::start(listen, upstream, arguments.seed);
    let told = Told {
        proxy: started.map_err(|error| Failure::User(cannot_listen(&error)))?,
        name: arguments.name.clone(),
    };
    for text in &arguments.toxic {
        let wrong = |error| Failure::User(format!("error: --toxic \"{text}\": {error}"));
        let toxic = line::toxic(text).map_err(wrong)?;
        let added = told.proxy.tell(Command::Add(toxic));
        added.map_err(|error| wrong(error.to_string()))?;
    }
    if !listen.ip().is_loopback() {
        anstream::eprintln!("warning: {listen} can be reached from other machines");
    }
    let report = told.proxy.tell(Command::Inspect).map_err(user)?;
    let at = report.listen;
    told.say("listening", &json!(report));
    anstream::eprintln!(
        "{}: {at} → {upstream}, seed {}; commands on standard input, `help` tells which",
        told.name,
        arguments.seed
    );
    for done in &report.toxics {
        anstream::eprintln!("{}", acts(&done.toxic));
    }
    let mut input = Input::new(signals, !arguments.end_with_input);
    while let Some(line) = input.next()? {
        match told.obey(&line) {
            Ok(true) => {}
            Ok(false) => break,
            Err(message) => {
                told.say("refused", &json!({ "line": line, "error": message }));
                anstream::eprintln!("error: {message}");
            }
        }
    }
    let report = told.proxy.tell(Command::Inspect).map_err(user)?;
    told.say("ended", &json!(report));
    let open = report.connections;
    anstream::eprintln!("{}: ended, {open} connections with it", told.name);
    Ok(Outcome::Pass)
}

/// A proxy under its name.
struct Told {
    proxy: Proxy,
    name: String,
}

impl Told {
    /// Carries a line out; false at the end.
    fn obey(&self, text: &str) -> Result<bool, String> {
        let Some(line) = line::parse(text)? else {
            return Ok(true);
        };
        if let Some(other) = line.proxy().filter(|other| *other != self.name) {
            return Err(format!(
                "this proxy is `{}`, not `{other}`; leave the name out, or start another proxy",
                self.name
            ));
        }
        match line {
            Line::Quit => return Ok(false),
            Line::Toggle { .. } => {
                let report = self.tell(Command::Toggle)?;
                self.say("toggled", &json!(report));
                match report.enabled {
                    true => anstream::eprintln!("up: takes connections again"),
                    false => anstream::eprintln!("down: refuses connections, none is open"),
                }
            }
            Line::Inspect { .. } => {
                let report = self.tell(Command::Inspect)?;
                self.say("inspected", &json!(report));
                self.explain(&report);
            }
            Line::Toxic(line::Toxic::Add(add)) => {
                let done = self.about(Command::Add(add.toxic()?))?;
                self.say("toxic.added", &json!(done));
                let met = done.connections;
                anstream::eprintln!("{}; {met} open connections meet it", acts(&done.toxic));
            }
            Line::Toxic(line::Toxic::Update(update)) => {
                let there = self.find(&update.name)?;
                let done = self.about(update.command(&there.toxic)?)?;
                self.say("toxic.updated", &json!(done));
                anstream::eprintln!("{}", acts(&done.toxic));
            }
            Line::Toxic(line::Toxic::Remove { name, .. }) => {
                let done = self.about(Command::Remove { name })?;
                self.say("toxic.removed", &json!(done));
                anstream::eprintln!("removed {}", did(&done));
            }
        }
        Ok(true)
    }

    fn tell(&self, command: Command) -> Result<Report, String> {
        self.proxy.tell(command).map_err(|error| error.to_string())
    }

    /// Has a command about a toxic obeyed.
    fn about(&self, command: Command) -> Result<Done, String> {
        let concerned = self.tell(command)?.concerned;
        concerned.ok_or_else(|| "the proxy does not say what the toxic did".to_owned())
    }

    fn find(&self, name: &str) -> Result<Done, String> {
        let toxics = self.tell(Command::Inspect)?.toxics;
        let names: Vec<String> = toxics.iter().map(|done| done.toxic.name.clone()).collect();
        let mut toxics = toxics.into_iter();
        let found = toxics.find(|done| done.toxic.name == name);
        found.ok_or_else(|| match names.is_empty() {
            true => format!("there is no toxic `{name}`; there is none"),
            false => format!("there is no toxic `{name}`; there are {}", names.join(", ")),
        })
    }

    /// One line of results.
    fn say(&self, event: &str, what: &Value) {
        let mut line = json!({ "event": event, "proxy": self.name });
        if let (Some(fields), Some(more)) = (line.as_object_mut(), what.as_object()) {
            fields.extend(more.clone());
        }
        let mut output = std::io::stdout().lock();
        // Whoever reads may be gone; the proxy goes on.
        let _ = writeln!(output, "{line}").and_then(|()| output.flush());
    }

    fn explain(&self, report: &Report) {
        let state = match report.enabled {
            true => "up",
            false => "down",
        };
        anstream::eprintln!(
            "{}: {state}, {} → {}, {} connections open, {} taken, {} of them without reaching {}",
            self.name,
            report.listen,
            report.upstream,
            report.connections,
            report.accepted,
            report.unreachable,
            report.upstream
        );
        for done in &report.toxics {
            anstream::eprintln!("{}", did(done));
        }
    }
}

/// What a toxic is there for.
fn acts(toxic: &Toxic) -> String {
    let way = match toxic.stream {
        Stream::Upstream => "to the server",
        Stream::Downstream => "to the client",
    };
    let share = match toxic.toxicity {
        1.0 => "all connections".to_owned(),
        share => format!("{} % of connections", share * 100.0),
    };
    let (name, settings) = (&toxic.name, &toxic.settings);
    format!("`{name}` acts: {settings}, on what goes {way}, {share}")
}

/// What a toxic did.
fn did(done: &Done) -> String {
    let mut parts = vec![
        format!("`{}` ({})", done.toxic.name, done.toxic.settings),
        format!("{} connections met it", done.connections),
        format!("{} bytes passed", done.passed_bytes),
    ];
    if done.held_bytes > 0 {
        parts.push(format!("{} held", done.held_bytes));
    }
    if done.ended_connections > 0 {
        parts.push(format!("{} connections ended", done.ended_connections));
    }
    if let (Some(mean), Some(most)) = (done.delay_mean_ms, done.delay_max_ms) {
        parts.push(format!("delay {mean:.2} ms in the mean, {most:.2} at most"));
    }
    if let Some(rate) = done.bytes_a_second {
        parts.push(format!("{:.1} kB/s", rate / 1e3));
    }
    if done.effect == Effect::Unverified {
        parts.push("its effect was NOT seen: nothing met it that it could act on".to_owned());
    }
    parts.join(", ")
}

fn cannot_listen(error: &ProxyError) -> String {
    let in_use = matches!(error, ProxyError::System { source, .. }
        if source.kind() == std::io::ErrorKind::AddrInUse);
    match in_use {
        true => format!("error: {error}; choose another port, or 0 for any that is free"),
        false => format!("error: {error}"),
    }
}

fn address(option: &str, text: &str) -> Result<SocketAddr, Failure> {
    let told = |why: String| {
        Failure::User(format!(
            "error: {option} {text}: {why}; write host:port, such as 127.0.0.1:6379"
        ))
    };
    let found = text.to_socket_addrs();
    let found: Vec<SocketAddr> = found.map_err(|error| told(error.to_string()))?.collect();
    // `localhost` is both, and most servers listen on the older one alone.
    let older = found.iter().find(|address| address.is_ipv4());
    let address = older.or(found.first()).copied();
    address.ok_or_else(|| told("that name has no address".to_owned()))
}
