//! A line of standard input, in the words of `toxiproxy-cli`.

use clap::Parser;
use shakedown_agents::proxy::toxics::Settings;
use shakedown_agents::proxy::{self, Command, Stream};

/// A line.
#[derive(Debug, Parser)]
#[command(
    name = "",
    no_binary_name = true,
    disable_version_flag = true,
    infer_long_args = true,
    about = "Commands, one a line"
)]
pub enum Line {
    /// Add, change or take away a toxic
    #[command(subcommand, alias = "t")]
    Toxic(Toxic),
    /// Refuse connections and end those that are open; or take them again
    #[command(aliases = ["tog"])]
    Toggle {
        /// Name of the proxy, for those who are used to it.
        proxy: Option<String>,
    },
    /// Say what there is and what it has done
    #[command(aliases = ["i", "ins", "list", "l", "ls"])]
    Inspect {
        /// Name of the proxy, for those who are used to it.
        proxy: Option<String>,
    },
    /// End
    #[command(alias = "exit")]
    Quit,
}

/// About a toxic.
#[derive(Debug, clap::Subcommand)]
pub enum Toxic {
    /// Such as `toxic add -t latency -a latency=100 -a jitter=10`
    #[command(alias = "a")]
    Add(Add),
    /// Such as `toxic update -n latency_downstream -a latency=200`
    #[command(alias = "u")]
    Update(Update),
    /// Such as `toxic remove -n latency_downstream`
    #[command(aliases = ["r", "delete", "d"])]
    Remove {
        /// Its name.
        #[arg(short = 'n', long = "toxicName", alias = "name")]
        name: String,
        /// Name of the proxy, for those who are used to it.
        proxy: Option<String>,
    },
}

/// A toxic as `toxiproxy-cli toxic add` takes it.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// latency, bandwidth, slow_close, timeout, reset_peer, slicer or limit_data.
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    kind: String,
    /// A number of it; those not given are 0.
    #[arg(short, long = "attribute", value_name = "NAME=VALUE")]
    attributes: Vec<String>,
    /// Its name; without it TYPE_STREAM.
    #[arg(short = 'n', long = "toxicName", alias = "name")]
    name: Option<String>,
    /// Share of connections that meet it, from 0 to 1.
    #[arg(long, alias = "tox", default_value_t = 1.0, value_parser = share)]
    toxicity: f64,
    /// Acts on what goes from the client to the server.
    #[arg(short, long, conflicts_with = "downstream")]
    upstream: bool,
    /// Acts on what goes from the server to the client; so it is without a word.
    #[arg(short, long)]
    downstream: bool,
    /// Name of the proxy, for those who are used to it.
    proxy: Option<String>,
}

/// Other numbers, as `toxiproxy-cli toxic update` takes them.
#[derive(Debug, clap::Args)]
pub struct Update {
    /// Its name.
    #[arg(short = 'n', long = "toxicName", alias = "name")]
    pub name: String,
    /// A number that changes; the others stay.
    #[arg(
        short,
        long = "attribute",
        value_name = "NAME=VALUE",
        required_unless_present = "toxicity"
    )]
    attributes: Vec<String>,
    /// Another share of connections, from 0 to 1.
    #[arg(long, alias = "tox", value_parser = share)]
    toxicity: Option<f64>,
    /// Name of the proxy, for those who are used to it.
    proxy: Option<String>,
}

/// For `--toxic` of the command line.
#[derive(Debug, Parser)]
#[command(name = "--toxic", no_binary_name = true, disable_version_flag = true)]
struct Initial {
    #[command(flatten)]
    add: Add,
}

/// Reads a line; none if there is nothing to do but what has been done, such as `help`.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn parse(text: &str) -> Result<Option<Line>, String> {
    let words = text.split_whitespace();
    // A line may be pasted as it stands in a shell.
    let words: Vec<&str> = match words.clone().next() {
        Some("toxiproxy-cli") => words.skip(1).collect(),
        _ => words.collect(),
    };
    if words.first().is_none_or(|word| word.starts_with('#')) {
        return Ok(None);
    }
    match Line::try_parse_from(&words) {
        Ok(line) => Ok(Some(line)),
        Err(error) if error.use_stderr() => Err(one_line(&error)),
        Err(error) => {
            anstream::eprint!("{error}");
            Ok(None)
        }
    }
}

/// Reads a toxic as `toxic add` takes it.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn toxic(text: &str) -> Result<proxy::Toxic, String> {
    let words = text.split_whitespace();
    // Whoever has the whole line at hand may give it.
    let words: Vec<&str> = match text.trim_start().strip_prefix("toxic add ") {
        Some(rest) => rest.split_whitespace().collect(),
        None => words.collect(),
    };
    let parsed = Initial::try_parse_from(words);
    parsed.map_err(|error| one_line(&error))?.add.toxic()
}

impl Line {
    /// The proxy that it names.
    pub fn proxy(&self) -> Option<&str> {
        let proxy = match self {
            Line::Toggle { proxy } | Line::Inspect { proxy } => proxy,
            Line::Toxic(Toxic::Add(add)) => &add.proxy,
            Line::Toxic(Toxic::Update(update)) => &update.proxy,
            Line::Toxic(Toxic::Remove { proxy, .. }) => proxy,
            Line::Quit => &None,
        };
        proxy.as_deref()
    }
}

impl Add {
    /// What it means.
    pub fn toxic(self) -> Result<proxy::Toxic, String> {
        let (stream, way) = match self.upstream {
            true => (Stream::Upstream, "upstream"),
            false => (Stream::Downstream, "downstream"),
        };
        let settings = Settings::new(&self.kind, &pairs(&self.attributes)?)?;
        Ok(proxy::Toxic {
            name: self.name.unwrap_or_else(|| format!("{}_{way}", self.kind)),
            stream,
            toxicity: self.toxicity,
            settings,
        })
    }
}

impl Update {
    /// What it means for that toxic.
    pub fn command(self, there: &proxy::Toxic) -> Result<Command, String> {
        Ok(Command::Update {
            settings: there.settings.with(&pairs(&self.attributes)?)?,
            name: self.name,
            toxicity: self.toxicity,
        })
    }
}

fn pairs(attributes: &[String]) -> Result<Vec<(&str, &str)>, String> {
    if let Some(wrong) = attributes.iter().find(|text| !text.contains('=')) {
        return Err(format!("`{wrong}` is no NAME=VALUE, such as `latency=100`"));
    }
    let split = attributes.iter().filter_map(|text| text.split_once('='));
    Ok(split.collect())
}

fn share(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    let number = number.filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "a share is a number from 0 to 1, such as 0.5".to_owned())
}

/// What clap says, without the usage behind it.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let told = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let told = told.collect::<Vec<&str>>().join(" ");
    let told = told.trim_start_matches("error: ").trim_end();
    match told.contains("For more information") {
        true => told.split(" For more").next().unwrap_or(told).to_owned(),
        false => format!("{told}; `help` tells what there is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_in_the_words_of_toxiproxy_cli() {
        let line = "toxic add -t latency -n slow -a latency=100 -a jitter=10 --toxicity 0.5 --upstream redis";
        for text in [line.to_owned(), format!("toxiproxy-cli {line}")] {
            let line = parse(&text).unwrap().unwrap();
            assert_eq!(line.proxy(), Some("redis"));
            let Line::Toxic(Toxic::Add(add)) = line else {
                panic!("{line:?}");
            };
            let toxic = add.toxic().unwrap();
            assert_eq!(toxic.settings.to_string(), "latency latency=100 jitter=10");
            assert_eq!((toxic.name.as_str(), toxic.toxicity), ("slow", 0.5));
            assert_eq!(toxic.stream, Stream::Upstream);
        }
        let named = toxic("-t timeout").unwrap();
        assert_eq!(named.name, "timeout_downstream");
        for text in [
            "toxic update -n slow -a jitter=25",
            "toxic update --toxicName slow --tox 0.1",
            "toxic delete -n slow redis",
            "toxic r -n slow",
            "toggle redis",
            "inspect",
            "list",
            "quit",
        ] {
            assert!(parse(text).unwrap().is_some(), "{text}");
        }
        assert!(parse("  ").unwrap().is_none());
        assert!(parse("# a remark").unwrap().is_none());
    }

    #[test]
    fn wrong_lines_are_told_what_is_wrong_and_what_would_be_right() {
        let wrong = |text: &str| match parse(text) {
            Err(error) => error,
            Ok(Some(Line::Toxic(Toxic::Add(add)))) => add.toxic().unwrap_err(),
            Ok(other) => panic!("{text}: {other:?}"),
        };
        for (text, told) in [
            ("toxic ad -t latency", "'add'"),
            ("toxc add", "'toxic'"),
            ("toxic add -t latnecy", "there are latency, bandwidth"),
            ("toxic add -t latency -a lag=1", "it has latency, jitter"),
            ("toxic add -t latency -a latency", "NAME=VALUE"),
            (
                "toxic add -t latency -a latency=1s",
                "such as `latency=100`",
            ),
            ("toxic add -t latency --toxicity 2", "from 0 to 1"),
            ("toxic add -a latency=1", "--type"),
            ("toxic add -t latency -u -d", "--downstream"),
            ("toxic remove", "--toxicName"),
            ("toxic update -n slow", "--attribute"),
        ] {
            let error = wrong(text);
            assert!(error.contains(told), "{text}: {error}");
            assert!(!error.contains('\n') && !error.contains("Usage"), "{error}");
        }
    }
}
