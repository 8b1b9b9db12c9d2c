//! One thread that carries out the node's disk operations in the order issued.
//!
//! The loop hands over and goes on: an fsync of 50 ms must not delay a heartbeat. Appends that wait
//! together go to the file in one write; syncs are never merged, since how many there are is what
//! an `fsync` strategy costs.
//!
//! Invariant: completions come in the order of issue, and after the first failure none comes, but
//! after a failed sync where `on_fsync_error = "retry"`.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use shakedown_contracts::strategy::OnFsyncError;
use shakedown_core::interface::{DiskOperation, DiskToken};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::disk::files::Files;
use crate::error::NodeError;

/// Operations that may wait. The core bounds its open requests well below; a queue this long means
/// a disk that no longer answers.
const WAITING_MAX: usize = 64 * 1024;
/// Operations looked at together; bounds the memory of one write.
const BATCH_MAX: usize = 1024;
/// How long the end of a node waits for the operations under way.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// The loop's end of the disk.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    operations: Option<SyncSender<Work>>,
    completions: UnboundedReceiver<Completion>,
    ended: Receiver<()>,
}

/// What the disk held when it was opened.
pub use crate::disk::files::Content as Recovered;

type Work = (DiskToken, DiskOperation);

/// How an operation ended; an error ends the node.
pub type Completion = Result<Completed, NodeError>;

/// How an operation ended that does not end the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completed {
    /// Well.
    Done(DiskToken),
    /// A sync failed, and the node wants to go on.
    Failed(DiskToken),
}

/// How a node treats its disk.
#[derive(Debug, Clone, Copy)]
pub struct Treatment {
    /// Appended bytes stay in the process until they are synced.
    pub hold_unsynced: bool,
    /// What follows a failed sync.
    pub on_fsync_error: OnFsyncError,
}

/// Reads what is there and starts the thread.
pub fn open(directory: &Path, treatment: Treatment) -> Result<(Disk, Recovered), NodeError> {
    let (files, recovered) = Files::open(directory, treatment.hold_unsynced)?;
    let (operations, work) = sync_channel(WAITING_MAX);
    // Unbounded, but never longer than the operations that were let in.
    let (report, completions) = unbounded_channel();
    let (end, ended) = sync_channel(1);
    let thread = thread::Builder::new().name("disk".to_owned());
    let run = move || {
        carry_out_all(files, treatment.on_fsync_error, &work, &report);
        let _nobody_waits_any_more = end.try_send(());
    };
    thread.spawn(run).map_err(NodeError::Runtime)?;
    let directory = directory.to_owned();
    Ok((
        Disk {
            directory,
            operations: Some(operations),
            completions,
            ended,
        },
        recovered,
    ))
}

impl Disk {
    /// Hands an operation over. Never waits.
    pub fn submit(&self, token: DiskToken, operation: DiskOperation) -> Result<(), NodeError> {
        let operations = self.operations.as_ref().expect("taken only on drop");
        match operations.try_send((token, operation)) {
            Err(TrySendError::Full(_)) => {
                let path = self.directory.clone();
                Err(NodeError::DiskStalled {
                    path,
                    waiting: WAITING_MAX,
                })
            }
            // The thread ended after a failure, which is the next completion.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// A completion, if one is there.
    pub fn try_completed(&mut self) -> Option<Completion> {
        self.completions.try_recv().ok()
    }

    /// The next completion. Safe to drop and call again.
    pub async fn completed(&mut self) -> Completion {
        match self.completions.recv().await {
            Some(completion) => completion,
            // The thread ended: after a failure, which was received before.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.operations = None;
        if self.ended.recv_timeout(END_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!(
                "the disk of {} does not answer; the node ends without it",
                self.directory.display()
            );
        }
    }
}

fn carry_out_all(
    mut files: Files,
    on_fsync_error: OnFsyncError,
    work: &Receiver<Work>,
    report: &UnboundedSender<Completion>,
) {
    while let Ok(first) = work.recv() {
        let batch = std::iter::once(first)
            .chain(work.try_iter())
            .take(BATCH_MAX)
            .collect();
        if let Err(error) = carry_out(&mut files, on_fsync_error, batch, |completed| {
            let _the_loop_is_gone = report.send(Ok(completed));
        }) {
            let _the_loop_is_gone = report.send(Err(error));
            return;
        }
    }
}

/// Carries out in order; neighbouring appends become one write.
fn carry_out(
    files: &mut Files,
    on_fsync_error: OnFsyncError,
    batch: Vec<Work>,
    mut done: impl FnMut(Completed),
) -> Result<(), NodeError> {
    let mut batch = batch.into_iter().peekable();
    while let Some((token, operation)) = batch.next() {
        let mut tokens = vec![token];
        let mut synced = Ok(());
        match operation {
            DiskOperation::Append { mut bytes } => {
                while let Some((token, more)) = batch.next_if(|(_, next)| is_append(next)) {
                    let DiskOperation::Append { bytes: more } = more else {
                        unreachable!()
                    };
                    tokens.push(token);
                    bytes.extend(more);
                }
                files.append(&bytes)?;
            }
            DiskOperation::Sync => {
                files.write_held()?;
                synced = files.sync();
            }
            DiskOperation::Probe { position } => synced = files.probe(position),
            DiskOperation::TruncateLog { length } => files.truncate(length)?,
            DiskOperation::Checkpoint { bytes, log } => files.checkpoint(&bytes, &log)?,
        }
        match (synced, on_fsync_error) {
            (Ok(()), _) => tokens.into_iter().map(Completed::Done).for_each(&mut done),
            (Err(_), OnFsyncError::Retry) => done(Completed::Failed(token)),
            (Err(error), OnFsyncError::Panic) => return Err(error),
        }
    }
    Ok(())
}

fn is_append(operation: &DiskOperation) -> bool {
    matches!(operation, DiskOperation::Append { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn treatment(hold_unsynced: bool) -> Treatment {
        Treatment {
            hold_unsynced,
            on_fsync_error: OnFsyncError::Panic,
        }
    }

    fn append(text: &str) -> DiskOperation {
        DiskOperation::Append {
            bytes: text.as_bytes().to_vec(),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn operations_complete_in_the_order_issued_and_are_on_disk_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let (mut disk, recovered) = open(folder.path(), treatment(true)).unwrap();
        assert_eq!(recovered, Recovered::default());
        let operations = [
            append("a"),
            append("b"),
            DiskOperation::Sync,
            append("c"),
            DiskOperation::TruncateLog { length: 1 },
            append("d"),
            append("e"),
            DiskOperation::Sync,
            append("lost"),
        ];
        let count = operations.len() as u64;
        for (token, operation) in (0..).zip(operations) {
            disk.submit(DiskToken(token), operation).unwrap();
        }
        for token in 0..count {
            assert_eq!(
                disk.completed().await.unwrap(),
                Completed::Done(DiskToken(token))
            );
        }
        drop(disk);
        let (_disk, recovered) = open(folder.path(), treatment(true)).unwrap();
        assert_eq!(recovered.log, b"ade");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_failure_is_reported_once_and_nothing_completes_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let (mut disk, _) = open(folder.path(), treatment(false)).unwrap();
        // A folder where the temporary file goes: it cannot be removed as a file nor opened.
        std::fs::create_dir(folder.path().join("checkpoint.new")).unwrap();
        disk.submit(DiskToken(1), append("a")).unwrap();
        let checkpoint = DiskOperation::Checkpoint {
            bytes: vec![1],
            log: Vec::new(),
        };
        disk.submit(DiskToken(2), checkpoint).unwrap();
        disk.submit(DiskToken(3), DiskOperation::Sync).unwrap();
        assert_eq!(
            disk.completed().await.unwrap(),
            Completed::Done(DiskToken(1))
        );
        let message = disk.completed().await.unwrap_err().to_string();
        assert!(message.contains("checkpoint.new"), "{message}");
        assert!(disk.completions.recv().await.is_none());
    }

    /// What becomes of a write and its sync where the log is a device that cannot be synced.
    async fn after_a_failed_sync(on_fsync_error: OnFsyncError) -> Vec<Completion> {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.path().join("log")).unwrap();
        let treatment = Treatment {
            hold_unsynced: false,
            on_fsync_error,
        };
        let (mut disk, _) = open(folder.path(), treatment).unwrap();
        for (token, operation) in [(1, append("a")), (2, DiskOperation::Sync), (3, append("b"))] {
            disk.submit(DiskToken(token), operation).unwrap();
        }
        disk.operations = None;
        let mut completions = Vec::new();
        while let Some(completion) = disk.completions.recv().await {
            completions.push(completion);
        }
        completions
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_failed_sync_ends_the_thread_or_is_handed_over_as_the_node_wants_it() {
        let done = |token| Completed::Done(DiskToken(token));
        let panic = after_a_failed_sync(OnFsyncError::Panic).await;
        assert_eq!(panic.len(), 2);
        assert_eq!(*panic[0].as_ref().unwrap(), done(1));
        assert!(panic[1].is_err());
        let retry = after_a_failed_sync(OnFsyncError::Retry).await;
        let retry: Vec<Completed> = retry.into_iter().map(Result::unwrap).collect();
        assert_eq!(retry, [done(1), Completed::Failed(DiskToken(2)), done(3)]);
    }
}
