//! A node's life on paper: every input with its moment, and what the core wanted done about it.
//!
//! The core is a function of its configuration and its inputs, so a recording can be replayed: the
//! same steps in another process must come to the same outputs. Where they do not, something in the
//! core depends on what is not an input.
//!
//! A file of JSON lines: the configuration, then one [`Step`] a line. A killed node may leave half a
//! line at the end, which stands for a step that nobody outside has seen.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shakedown_contracts::node::NodeConfig;
use shakedown_contracts::time::Moment;
use shakedown_core::interface::{Input, Output};
use shakedown_core::node::Node;

use crate::error::NodeError;

/// One step of the core.
#[derive(Debug, Serialize, Deserialize)]
struct Step<'s> {
    /// When it was taken.
    now: Moment,
    /// What came in.
    input: Cow<'s, Input>,
    /// What went out.
    outputs: Cow<'s, [Output]>,
}

/// Takes down what a running node does.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Recording {
    /// Begins a new file with the node's configuration.
    pub fn begin(path: &Path, config: &NodeConfig) -> Result<Self, NodeError> {
        let created = File::create(path).map_err(|source| unwritable(path, source))?;
        let mut recording = Recording {
            path: path.to_owned(),
            file: BufWriter::new(created),
        };
        recording.line(config)?;
        Ok(recording)
    }

    /// Adds a step; it is in the file when this returns, so that a kill loses none that had effects.
    pub fn step(
        &mut self,
        now: Moment,
        input: &Input,
        outputs: &[Output],
    ) -> Result<(), NodeError> {
        self.line(&Step {
            now,
            input: Cow::Borrowed(input),
            outputs: Cow::Borrowed(outputs),
        })
    }

    fn line(&mut self, content: &impl Serialize) -> Result<(), NodeError> {
        let write = |file: &mut BufWriter<File>| {
            serde_json::to_writer(&mut *file, content)?;
            file.write_all(b"\n")?;
            file.flush()
        };
        write(&mut self.file).map_err(|source| unwritable(&self.path, source))
    }
}

fn unwritable(path: &Path, source: io::Error) -> NodeError {
    NodeError::DiskUnwritable {
        path: path.to_owned(),
        source,
    }
}

/// What came of replaying a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// All of its steps came to the same outputs.
    Identical {
        /// How many there were.
        steps: u64,
    },
    /// One did not.
    Different {
        /// Which, counted from 1; also its line in the file, less the first.
        step: u64,
        /// The input and both outputs, as JSON.
        what: String,
    },
}

/// Takes every step of a recording again, with a new node.
///
/// # Errors
/// When the file cannot be read, or is no recording of this version.
pub fn replay(path: &Path) -> Result<Replayed, NodeError> {
    let unreadable = |source| NodeError::RecordingUnreadable {
        path: path.to_owned(),
        source,
    };
    let file = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut lines = file.split(b'\n').map(|line| line.map_err(unreadable));
    let first = lines.next().transpose()?.unwrap_or_default();
    let config: NodeConfig =
        serde_json::from_slice(&first).map_err(|error| unreadable(error.into()))?;
    let mut node = Node::new(&config).map_err(|error| NodeError::ConfigRefused {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    let mut steps = 0;
    let mut lines = lines.peekable();
    while let Some(line) = lines.next() {
        let line = line?;
        let step: Step<'_> = match serde_json::from_slice(&line) {
            Ok(step) => step,
            Err(_) if lines.peek().is_none() => break,
            Err(error) => return Err(unreadable(error.into())),
        };
        steps += 1;
        let outputs = node.step(step.now, step.input.clone().into_owned());
        if outputs[..] != step.outputs[..] {
            let what = difference(&step, &outputs);
            return Ok(Replayed::Different { step: steps, what });
        }
    }
    if steps == 0 {
        return Err(unreadable(io::Error::other("there is no step in it")));
    }
    Ok(Replayed::Identical { steps })
}

fn difference(step: &Step<'_>, outputs: &[Output]) -> String {
    let again = Step {
        now: step.now,
        input: Cow::Borrowed(&step.input),
        outputs: Cow::Borrowed(outputs),
    };
    let json = |step: &Step<'_>| serde_json::to_string(step).expect("steps are plain data");
    format!("recorded {}\nreplayed {}", json(step), json(&again))
}

#[cfg(test)]
mod tests {
    use shakedown_core::interface::Timer;

    use super::*;
    use crate::config;

    /// A node's first second alone, taken down.
    fn recorded(path: &Path) {
        let config = config::two_members([1, 2], path.parent().unwrap(), 0).node;
        let mut node = Node::new(&config).unwrap();
        let mut recording = Recording::begin(path, &config).unwrap();
        let start = Input::Start {
            checkpoints: Vec::new(),
            log: Vec::new(),
        };
        let beats = (0..20).map(|_| Input::Timer {
            timer: Timer::Heartbeat,
        });
        for (number, input) in std::iter::once(start).chain(beats).enumerate() {
            let now = Moment(1_000_000_000 + 50_000_000 * number as u64);
            let outputs = node.step(now, input.clone());
            recording.step(now, &input, &outputs).unwrap();
        }
    }

    #[test]
    fn a_recording_replays_to_the_same_outputs_also_with_half_a_line_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.recording");
        recorded(&path);
        assert_eq!(replay(&path).unwrap(), Replayed::Identical { steps: 21 });
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 9);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(replay(&path).unwrap(), Replayed::Identical { steps: 20 });
    }

    #[test]
    fn an_altered_output_is_found_at_its_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.recording");
        recorded(&path);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[3] = lines[3].replace("\"sequence\":", "\"sequence\":1");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let replayed = replay(&path).unwrap();
        assert!(
            matches!(replayed, Replayed::Different { step: 3, .. }),
            "{replayed:?}"
        );
    }

    #[test]
    fn a_recording_without_a_step_proves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.recording");
        let config = config::two_members([1, 2], folder.path(), 0).node;
        Recording::begin(&path, &config).unwrap();
        let message = replay(&path).unwrap_err().to_string();
        assert!(message.contains("no step"), "{message}");
    }

    #[test]
    fn what_is_no_recording_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.recording");
        let message = replay(&path).unwrap_err().to_string();
        assert!(message.contains("n1.recording"), "{message}");
        std::fs::write(&path, "{}\n").unwrap();
        let message = replay(&path).unwrap_err().to_string();
        assert!(message.contains("n1.recording"), "{message}");
    }
}
