//! One thread writes `history.jsonl` and `events.jsonl`, so that a slow disk delays no measurement.
//!
//! Lines come over a bounded channel; the thread numbers the history and flushes whenever it has
//! caught up. After a failed write nothing more is accepted and the error is kept for whoever
//! sends next: a run never goes on unrecorded.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::thread::JoinHandle;

use serde::Serialize;
use shakedown_contracts::event::EventRecord;
use shakedown_contracts::history::OperationRecord;
use shakedown_contracts::run_directory::TrialDirectory;
use tokio::sync::mpsc;

use crate::error::RunError;

/// Messages that may wait for the disk. A message holds up to some hundred records, so this is
/// seconds of any load that one machine offers; beyond it the sender waits.
const WAITING_MAX: usize = 1024;

enum Line {
    Operations(Vec<OperationRecord>),
    Event(Box<EventRecord>),
}

/// Where a trial is written down.
#[derive(Debug)]
pub struct Recorder {
    lines: Option<mpsc::Sender<Line>>,
    thread: Option<JoinHandle<Result<u64, RunError>>>,
}

impl Recorder {
    /// Opens the files of a trial, whose folder exists.
    ///
    /// # Errors
    /// [`RunError::Write`] when a file cannot be made, [`RunError::System`] without a thread.
    pub fn start(directory: &TrialDirectory) -> Result<Self, RunError> {
        let mut files = Files {
            history: JsonLines::create(directory.history())?,
            events: JsonLines::create(directory.events())?,
            index: 0,
        };
        let (lines, mut waiting) = mpsc::channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || files.write_all(&mut waiting))
            .map_err(RunError::system::<io::Error>("start the recorder's thread"))?;
        Ok(Recorder {
            lines: Some(lines),
            thread: Some(thread),
        })
    }

    /// Writes an event down.
    ///
    /// # Errors
    /// [`RunError::Write`] when this or an earlier line could not be written.
    pub async fn event(&mut self, record: EventRecord) -> Result<(), RunError> {
        self.send(Line::Event(Box::new(record))).await
    }

    /// Writes records of the history down, in this order.
    ///
    /// # Errors
    /// As [`Recorder::event`].
    pub async fn operations(&mut self, records: Vec<OperationRecord>) -> Result<(), RunError> {
        self.send(Line::Operations(records)).await
    }

    /// Waits until everything is in the files; returns the number of history records.
    ///
    /// # Errors
    /// [`RunError::Write`] when something could not be written.
    pub fn finish(mut self) -> Result<u64, RunError> {
        self.join()
    }

    async fn send(&mut self, line: Line) -> Result<(), RunError> {
        let lines = self.lines.as_ref();
        let sent = match lines {
            Some(lines) => lines.send(line).await.is_ok(),
            None => false,
        };
        if sent {
            return Ok(());
        }
        self.join()?;
        Err(RunError::System {
            action: "record more".to_owned(),
            cause: io::Error::other("the recorder has stopped after an earlier error"),
        })
    }

    fn join(&mut self) -> Result<u64, RunError> {
        self.lines = None;
        match self.thread.take() {
            Some(thread) => thread
                .join()
                .expect("the recorder's thread has nothing that panics"),
            None => Ok(0),
        }
    }
}

struct Files {
    history: JsonLines,
    events: JsonLines,
    index: u64,
}

impl Files {
    /// Until every sender is gone; returns the number of history records.
    fn write_all(&mut self, waiting: &mut mpsc::Receiver<Line>) -> Result<u64, RunError> {
        while let Some(line) = waiting.blocking_recv() {
            self.write(line)?;
            if waiting.is_empty() {
                self.history.flush()?;
                self.events.flush()?;
            }
        }
        self.history.flush()?;
        self.events.flush()?;
        Ok(self.index)
    }

    fn write(&mut self, line: Line) -> Result<(), RunError> {
        match line {
            Line::Event(record) => self.events.write(&record),
            Line::Operations(records) => {
                for mut record in records {
                    record.index = self.index;
                    self.history.write(&record)?;
                    self.index += 1;
                }
                Ok(())
            }
        }
    }
}

struct JsonLines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl JsonLines {
    fn create(path: PathBuf) -> Result<Self, RunError> {
        let file = File::create_new(&path).map_err(RunError::write(&path))?;
        Ok(JsonLines {
            path,
            file: BufWriter::with_capacity(64 << 10, file),
        })
    }

    fn write<T: Serialize>(&mut self, record: &T) -> Result<(), RunError> {
        serde_json::to_writer(&mut self.file, record)
            .map_err(io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(RunError::write(&self.path))
    }

    fn flush(&mut self) -> Result<(), RunError> {
        self.file.flush().map_err(RunError::write(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use shakedown_contracts::event::Event;
    use shakedown_contracts::history::{Operation, RecordKind, Register};
    use shakedown_contracts::time::Moment;

    use super::*;

    fn event() -> EventRecord {
        EventRecord {
            time: Moment(1),
            received: Moment(2),
            source: "n1".into(),
            event: Event::NodeReady {},
        }
    }

    fn read(process: u64) -> OperationRecord {
        OperationRecord {
            index: 99,
            process,
            kind: RecordKind::Invoke,
            operation: Operation::Read(Register {
                key: "k0".into(),
                value: None,
            }),
            time: Moment(1),
            due: None,
            node: None,
            epoch: None,
            error: None,
            final_read: false,
        }
    }

    #[tokio::test]
    async fn records_are_numbered_in_the_order_of_receipt_and_all_are_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let directory = TrialDirectory::new(folder.path());
        let mut recorder = Recorder::start(&directory).unwrap();
        recorder.operations(vec![read(5), read(6)]).await.unwrap();
        recorder.event(event()).await.unwrap();
        recorder.operations(vec![read(7)]).await.unwrap();
        assert_eq!(recorder.finish().unwrap(), 3);
        let history = std::fs::read_to_string(directory.history()).unwrap();
        let records: Vec<OperationRecord> = history
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let seen: Vec<_> = records
            .iter()
            .map(|record| (record.index, record.process))
            .collect();
        assert_eq!(seen, [(0, 5), (1, 6), (2, 7)]);
        let events = std::fs::read_to_string(directory.events()).unwrap();
        assert_eq!(
            serde_json::from_str::<EventRecord>(events.trim()).unwrap(),
            event()
        );
    }

    #[tokio::test]
    async fn a_full_disk_stops_the_recording_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let directory = TrialDirectory::new(folder.path());
        symlink("/dev/full", directory.path().join("full")).unwrap();
        // `create_new` refuses an existing file, so the full one is put in beneath the writer.
        let path = directory.path().join("full");
        let file = File::options().write(true).open(&path).unwrap();
        let mut lines = JsonLines {
            path,
            file: BufWriter::new(file),
        };
        lines.write(&event()).unwrap();
        let message = lines.flush().unwrap_err().to_string();
        assert!(
            message.contains("full: No space left on device; free space"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn nothing_is_accepted_after_a_failed_write() {
        let (lines, waiting) = mpsc::channel(1);
        drop(waiting);
        let failed = RunError::write(std::path::Path::new("events.jsonl"))(
            io::Error::from_raw_os_error(libc::ENOSPC),
        );
        let thread = std::thread::spawn(move || Err(failed));
        let mut recorder = Recorder {
            lines: Some(lines),
            thread: Some(thread),
        };
        let first = recorder.event(event()).await.unwrap_err().to_string();
        assert!(first.contains("cannot write events.jsonl"), "{first}");
        assert!(recorder.event(event()).await.is_err());
    }
}
