//! The node's event pipe: JSON lines in, [`StampedEvent`]s out.
//!
//! The other end is the program under test and may write anything. A line that is no event is
//! dropped with a warning in the agent's log; a line over the limit is dropped to its end; neither
//! stops the events after it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use shakedown_contracts::event::StampedEvent;

/// Longest line accepted; events are some hundred bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// How much is read at once: as much as a pipe holds by default.
const READ_BYTES: usize = 64 << 10;

/// Reads in one turn of the agent's loop, so that a flood cannot keep orders waiting.
const READS_PER_TURN_MAX: usize = 16;

/// Warnings in full for one process; what follows is only counted.
const WARNINGS_MAX: u64 = 20;

/// The reading end.
#[derive(Debug)]
pub(super) struct EventPipe {
    file: File,
    lines: EventLines,
    ended: bool,
}

/// Cuts what a program writes into events.
#[derive(Debug, Default)]
pub struct EventLines {
    node: String,
    line: Vec<u8>,
    overlong: bool,
    warnings: u64,
}

impl EventPipe {
    /// Reads from this pipe of this node.
    pub fn new(fd: OwnedFd, node: &str) -> io::Result<Self> {
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(EventPipe {
            file: File::from(fd),
            lines: EventLines::new(node),
            ended: false,
        })
    }

    /// The events that have arrived, in order.
    pub fn read(&mut self) -> Vec<StampedEvent> {
        let mut events = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        for _ in 0..READS_PER_TURN_MAX {
            match self.file.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => self.lines.take(&buffer[..count], &mut events),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.lines
                        .warn(&format!("events cannot be read any more: {error}"));
                    self.ended = true;
                    break;
                }
            }
        }
        events
    }

    /// True when the node has closed its end: nothing more will come.
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

impl EventLines {
    /// Nothing has been written by that node yet.
    pub fn new(node: &str) -> Self {
        EventLines {
            node: node.to_owned(),
            ..EventLines::default()
        }
    }

    /// The same, without a word about lines that are no events.
    pub fn quiet() -> Self {
        EventLines {
            warnings: WARNINGS_MAX + 1,
            ..EventLines::default()
        }
    }

    /// Takes more of what it wrote; whole events are added in order.
    pub fn take(&mut self, bytes: &[u8], events: &mut Vec<StampedEvent>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.overlong {
                self.line.extend_from_slice(piece);
            }
            if self.line.len() > LINE_BYTES_MAX {
                self.warn(&format!("event line over {LINE_BYTES_MAX} bytes dropped"));
                self.overlong = true;
                self.line.clear();
            }
            if piece.ends_with(b"\n") {
                if !std::mem::take(&mut self.overlong) {
                    events.extend(self.parse());
                }
                self.line.clear();
            }
        }
    }

    fn parse(&mut self) -> Option<StampedEvent> {
        match serde_json::from_slice(&self.line) {
            Ok(event) => Some(event),
            Err(error) => {
                let text: String = String::from_utf8_lossy(&self.line)
                    .trim_end()
                    .chars()
                    .take(200)
                    .collect();
                self.warn(&format!("event line is not understood ({error}): {text:?}"));
                None
            }
        }
    }

    fn warn(&mut self, text: &str) {
        self.warnings += 1;
        match self.warnings {
            1..=WARNINGS_MAX => eprintln!("warning: {}: {text}", self.node),
            more if more == WARNINGS_MAX + 1 => {
                eprintln!(
                    "warning: {}: more bad event lines are not listed",
                    self.node
                );
            }
            _ => {}
        }
    }
}

impl AsFd for EventPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use shakedown_contracts::event::Event;
    use shakedown_contracts::time::Moment;

    use super::*;

    fn pipe() -> (EventPipe, File) {
        let (read, write) = nix::unistd::pipe().unwrap();
        (EventPipe::new(read, "n1").unwrap(), File::from(write))
    }

    fn line(time: u64) -> Vec<u8> {
        let event = StampedEvent {
            time: Moment(time),
            event: Event::NodeReady {},
        };
        let mut line = serde_json::to_vec(&event).unwrap();
        line.push(b'\n');
        line
    }

    #[test]
    fn bad_lines_are_dropped_and_the_events_around_them_arrive() {
        let (mut pipe, mut writer) = pipe();
        writer.write_all(&line(1)).unwrap();
        writer
            .write_all(b"no event\n\n{\"time\":1,\"event\":\"unheard.of\"}\n\xff\xfe\n")
            .unwrap();
        writer.write_all(&line(2)).unwrap();
        let times: Vec<u64> = pipe.read().iter().map(|event| event.time.0).collect();
        assert_eq!(times, [1, 2]);
        assert_eq!(pipe.lines.warnings, 4);
        assert!(!pipe.has_ended());
        drop(writer);
        assert!(pipe.read().is_empty());
        assert!(pipe.has_ended());
    }

    #[test]
    fn a_line_over_the_limit_is_dropped_to_its_end_without_being_kept() {
        let (mut pipe, mut writer) = pipe();
        let mut times = Vec::new();
        for _ in 0..5 {
            writer.write_all(&vec![b'x'; LINE_BYTES_MAX / 2]).unwrap();
            times.extend(pipe.read());
            assert!(pipe.lines.line.len() <= LINE_BYTES_MAX);
        }
        writer.write_all(b"end\n").unwrap();
        writer.write_all(&line(7)).unwrap();
        times.extend(pipe.read());
        assert_eq!(times.len(), 1);
        assert_eq!(times[0].time, Moment(7));
        assert_eq!(pipe.lines.warnings, 1);
    }

    #[test]
    fn an_event_may_come_in_pieces() {
        let (mut pipe, mut writer) = pipe();
        let line = line(3);
        writer.write_all(&line[..9]).unwrap();
        assert!(pipe.read().is_empty());
        writer.write_all(&line[9..]).unwrap();
        assert_eq!(pipe.read().len(), 1);
    }
}
