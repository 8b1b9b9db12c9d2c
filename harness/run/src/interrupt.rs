//! Ctrl-C and SIGTERM: the first ends the run cleanly, the second kills what is left at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::RunError;

/// How often the user asked to stop. Clones see the same count.
#[derive(Debug, Clone)]
pub struct Interrupt {
    requests: watch::Receiver<u32>,
}

/// The asking side, for tests and embedders.
#[derive(Debug)]
pub struct InterruptHandle(watch::Sender<u32>);

impl InterruptHandle {
    /// Asks once more.
    pub fn interrupt(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

impl Interrupt {
    /// An interrupt that `handle` raises.
    pub fn by_hand() -> (InterruptHandle, Interrupt) {
        let (sender, requests) = watch::channel(0);
        (InterruptHandle(sender), Interrupt { requests })
    }

    /// Counts SIGINT and SIGTERM of this process. Call it inside the runtime.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn from_signals() -> Result<Interrupt, RunError> {
        let (handle, interrupt) = Interrupt::by_hand();
        let install =
            |kind| signal(kind).map_err(RunError::system::<io::Error>("install a signal handler"));
        let mut keyboard = install(SignalKind::interrupt())?;
        let mut termination = install(SignalKind::terminate())?;
        tokio::spawn(async move {
            // Ends with the runtime; each turn waits for one signal.
            loop {
                tokio::select! {
                    _ = keyboard.recv() => handle.interrupt(),
                    _ = termination.recv() => handle.interrupt(),
                }
            }
        });
        Ok(interrupt)
    }

    /// True when there were at least `count` requests.
    pub fn has_reached(&self, count: u32) -> bool {
        *self.requests.borrow() >= count
    }

    /// Returns once there were at least `count` requests; never when nobody can ask any more.
    pub async fn reached(&mut self, count: u32) {
        if self
            .requests
            .wait_for(|requests| *requests >= count)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_request_is_told_from_the_first() {
        let (handle, mut interrupt) = Interrupt::by_hand();
        assert!(!interrupt.has_reached(1));
        handle.interrupt();
        interrupt.reached(1).await;
        assert!(!interrupt.has_reached(2));
        handle.interrupt();
        interrupt.reached(2).await;
    }
}
