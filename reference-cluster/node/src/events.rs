//! Reports events as JSON lines, stamped when they are noted.
//!
//! A thread of its own writes them, since a pipe whose reader is slow blocks, and the loop must
//! not. The stamp is taken before the queue, so waiting there changes no measurement.
//!
//! Invariant: events are written in the order noted, and none is dropped silently: a full queue
//! ends the node.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::FromRawFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use shakedown_contracts::event::{Event, StampedEvent};
use shakedown_contracts::time::Moment;

use crate::error::NodeError;

/// Events that may wait for the reader. A node notes a few a second; this is hours of silence.
const WAITING_MAX: usize = 16 * 1024;

/// How long the end of a node waits for the reader of its last events.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// Where a node's events go.
#[derive(Debug)]
pub struct EventSink {
    queue: SyncSender<Entry>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl EventSink {
    /// Takes over an inherited descriptor, or stderr without one.
    pub fn open(descriptor: Option<i32>) -> Result<Self, NodeError> {
        match descriptor {
            None => Self::start(Box::new(io::stderr())),
            Some(number) => {
                let failed = |source| NodeError::Events {
                    descriptor: number,
                    source,
                };
                let open =
                    number > 2 && std::fs::metadata(format!("/proc/self/fd/{number}")).is_ok();
                if !open {
                    return Err(failed(io::ErrorKind::NotFound.into()));
                }
                // SAFETY: the descriptor is open (just checked) and was inherited for this sink
                // alone: nothing else in the process knows its number.
                let file = unsafe { File::from_raw_fd(number) };
                Self::start(Box::new(file))
            }
        }
    }

    fn start(output: Box<dyn Write + Send>) -> Result<Self, NodeError> {
        let (queue, entries) = sync_channel(WAITING_MAX);
        let writer = thread::Builder::new().name("events".to_owned());
        writer
            .spawn(move || write_all(output, &entries))
            .map_err(NodeError::Runtime)?;
        Ok(EventSink { queue })
    }

    /// Notes that `event` happened at `time`. Never waits.
    pub fn note(&self, time: Moment, event: Event) -> Result<(), NodeError> {
        let mut line =
            serde_json::to_vec(&StampedEvent { time, event }).expect("events are plain data");
        line.push(b'\n');
        let queued = self.queue.try_send(Entry::Line(line));
        queued.map_err(|_| NodeError::EventsStalled {
            waiting: WAITING_MAX,
        })
    }

    /// Waits until everything noted so far is written, or for a second.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Entry::Flush(done)).is_ok() {
            // After the patience a reader that does not read has had its chance.
            let _ended_either_way = written.recv_timeout(FLUSH_PATIENCE);
        }
    }
}

/// Writes until the sink is gone. Each line is one `write`: shorter than a pipe's atomic size, it
/// arrives whole or not at all even if the node is killed in the middle.
fn write_all(mut output: Box<dyn Write + Send>, entries: &Receiver<Entry>) {
    let mut reader_is_gone = false;
    for entry in entries {
        match entry {
            Entry::Line(line) if !reader_is_gone => {
                if let Err(error) = output.write_all(&line) {
                    reader_is_gone = true;
                    eprintln!(
                        "cannot report events any more: {error}; start the node under an agent \
                         that reads them"
                    );
                }
            }
            Entry::Line(_) => {}
            Entry::Flush(done) => {
                let _nobody_waits_any_more = done.try_send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn events_arrive_as_lines_in_the_order_noted() {
        let (reader, writer) = io::pipe().unwrap();
        let writer: std::os::fd::OwnedFd = writer.into();
        let sink = EventSink::open(Some(writer.into_raw_fd())).unwrap();
        let subjects = ["n1", "n2", "n3"];
        for (index, subject) in subjects.iter().enumerate() {
            let event = Event::Suspicion {
                subject: (*subject).to_owned(),
            };
            sink.note(Moment(index as u64), event).unwrap();
        }
        sink.flush();
        drop(sink);
        let lines: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
        assert_eq!(lines.len(), subjects.len());
        for ((index, subject), line) in subjects.iter().enumerate().zip(&lines) {
            let read: StampedEvent = serde_json::from_str(line).unwrap();
            assert_eq!(read.time, Moment(index as u64));
            assert_eq!(
                read.event,
                Event::Suspicion {
                    subject: (*subject).to_owned()
                }
            );
        }
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_refused() {
        let message = EventSink::open(Some(9999)).unwrap_err().to_string();
        assert!(message.contains("descriptor 9999"), "{message}");
    }

    #[test]
    fn a_reader_that_never_reads_does_not_hold_up_whoever_notes() {
        let (reader, writer) = io::pipe().unwrap();
        let sink = EventSink::start(Box::new(writer)).unwrap();
        // Far more than a pipe holds (64 KiB), then more than the queue holds: refused, not stuck.
        let noted = (0..4 * WAITING_MAX)
            .map(|at| sink.note(Moment(at as u64), Event::NodeReady {}))
            .find(Result::is_err);
        assert!(matches!(noted, Some(Err(NodeError::EventsStalled { .. }))));
        drop(reader);
    }
}
