//! Orders in, reports out: a thread each, so that a slow pipe never stops the clients.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use serde::de::DeserializeOwned;
use shakedown_contracts::control::{ClientOrder, ClientReport};
use shakedown_contracts::frame::{Decoder, FrameError, encode};
use tokio::sync::mpsc;

use super::WorkloadError;

/// Orders come one at a time; more than a few waiting would be an error of the harness.
const ORDERS_MAX: usize = 16;
/// Reports that may wait for a slow reader: over 20 s at a report every 20 ms.
const REPORTS_MAX: usize = 1024;

/// Blocks until one whole message has been read; `None` at the end of the stream.
///
/// # Errors
/// When the bytes are no frame or reading fails.
pub(crate) fn read_message<T: DeserializeOwned>(
    reader: &mut impl Read,
    decoder: &mut Decoder,
) -> Result<Option<T>, WorkloadError> {
    let mut buffer = [0_u8; 16 << 10];
    loop {
        if let Some(message) = decoder.next_message()? {
            return Ok(Some(message));
        }
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => decoder.feed(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(WorkloadError::System {
                    what: "read orders",
                    source,
                });
            }
        }
    }
}

/// Reads orders on a thread of its own; the channel closes with the stream.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn read_orders<R: Read + Send + 'static>(
    mut reader: R,
    mut decoder: Decoder,
) -> Result<mpsc::Receiver<Result<ClientOrder, WorkloadError>>, WorkloadError> {
    let (sender, receiver) = mpsc::channel(ORDERS_MAX);
    let read = move || {
        while let Some(order) = read_message(&mut reader, &mut decoder).transpose() {
            let broken = order.is_err();
            if sender.blocking_send(order).is_err() || broken {
                return;
            }
        }
    };
    start("orders", read)?;
    Ok(receiver)
}

/// Takes reports and writes them on a thread of its own.
#[derive(Debug)]
pub(crate) struct Reports {
    sender: SyncSender<ClientReport>,
    writer: JoinHandle<()>,
}

impl Reports {
    /// To this pipe.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn new<W: Write + Send + 'static>(writer: W) -> Result<Self, WorkloadError> {
        let (sender, receiver) = sync_channel(REPORTS_MAX);
        let writer = start("reports", move || write_reports(writer, receiver))?;
        Ok(Reports { sender, writer })
    }

    /// Hands a report over; never blocks.
    ///
    /// # Errors
    /// When reports pile up or the pipe is gone.
    pub fn send(&self, report: ClientReport) -> Result<(), WorkloadError> {
        self.sender.try_send(report).map_err(|error| match error {
            TrySendError::Full(_) => WorkloadError::ReportsStuck(REPORTS_MAX),
            TrySendError::Disconnected(_) => WorkloadError::ReportsStuck(0),
        })
    }

    /// Returns once everything handed over has been written or the pipe is gone.
    pub fn finish(self) {
        drop(self.sender);
        if self.writer.join().is_err() {
            eprintln!("the thread that writes reports panicked; the last reports are lost");
        }
    }
}

fn write_reports<W: Write>(mut writer: W, receiver: Receiver<ClientReport>) {
    for report in receiver {
        let (frame, ends) = match encode(&report) {
            Ok(frame) => (Ok(frame), false),
            Err(error) => (encode(&failure(&error)), true),
        };
        let Ok(frame) = frame else { return };
        if let Err(error) = writer.write_all(&frame).and_then(|()| writer.flush()) {
            eprintln!("failed to write a report: {error}; did the harness end?");
            return;
        }
        if ends {
            return;
        }
    }
}

fn failure(error: &FrameError) -> ClientReport {
    ClientReport::Failed {
        message: format!("failed to encode a report: {error}"),
    }
}

fn start(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, WorkloadError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|source| WorkloadError::System {
            what: "start a thread",
            source,
        })
}
