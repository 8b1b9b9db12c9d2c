//! The loop's handle on one outgoing connection: a bounded queue that never makes the loop wait.
//!
//! A peer that does not read (paused, partitioned) fills the queue. Then the connection is given
//! up: dropping the handle ends its writer, the core is told that messages were lost and sends
//! again what matters when a new connection stands. Better than dropping single messages, which
//! would break the promise of order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shakedown_contracts::frame::{self, FRAME_BYTES_MAX};
use shakedown_core::message::Message;
use tokio::sync::mpsc;

/// Messages that may wait on one connection.
const QUEUE_MESSAGES_MAX: usize = 4096;
/// Bytes that may wait on one connection; a single message may be larger when nothing waits.
const QUEUE_BYTES_MAX: usize = FRAME_BYTES_MAX;

/// Sends on one connection.
#[derive(Debug)]
pub struct Link {
    queue: mpsc::Sender<Vec<u8>>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: mpsc::Receiver<Vec<u8>>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// The peer does not keep up, or the connection is gone.
#[derive(Debug)]
pub struct LinkIsFull;

pub(super) fn link() -> (Link, Outbox) {
    let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES_MAX);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        queue: receiver,
        waiting_bytes: Arc::clone(&waiting_bytes),
    };
    (
        Link {
            queue: sender,
            waiting_bytes,
        },
        outbox,
    )
}

impl Link {
    /// Queues a message. Never waits; after an error the link is to be dropped.
    ///
    /// # Errors
    /// [`LinkIsFull`].
    pub fn send(&self, message: &Message) -> Result<(), LinkIsFull> {
        match frame::encode(message) {
            Ok(bytes) => self.send_bytes(bytes),
            Err(error) => {
                // The peer can never get it; the core must not believe that it will.
                eprintln!("cannot send a message to a peer: {error}");
                Err(LinkIsFull)
            }
        }
    }

    fn send_bytes(&self, bytes: Vec<u8>) -> Result<(), LinkIsFull> {
        let length = bytes.len();
        let before = self.waiting_bytes.fetch_add(length, Ordering::Relaxed);
        if before > 0 && before + length > QUEUE_BYTES_MAX {
            return Err(LinkIsFull);
        }
        self.queue.try_send(bytes).map_err(|_| LinkIsFull)
    }
}

impl Outbox {
    /// Waits for messages and takes up to `bytes_max` of them (one at least) in one piece; `None`
    /// when the link was dropped. Safe to drop and call again.
    pub(super) async fn take(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        let mut taken = self.queue.recv().await?;
        while taken.len() < bytes_max {
            let Ok(more) = self.queue.try_recv() else {
                break;
            };
            taken.extend(more);
        }
        self.waiting_bytes.fetch_sub(taken.len(), Ordering::Relaxed);
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_link_whose_peer_does_not_read_is_full_and_loses_no_order() {
        let (link, mut outbox) = link();
        let mut sent = 0_u32;
        while link.send_bytes(sent.to_be_bytes().to_vec()).is_ok() {
            sent += 1;
        }
        assert_eq!(sent as usize, QUEUE_MESSAGES_MAX);
        drop(link);
        let mut received = Vec::new();
        while let Some(bytes) = outbox.take(1000).await {
            assert!(bytes.len() <= 1000 + 4);
            received.extend(bytes);
        }
        let expected: Vec<u8> = (0..sent).flat_map(u32::to_be_bytes).collect();
        assert_eq!(received, expected);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn large_messages_are_bounded_by_their_bytes_but_one_always_fits() {
        let (link, mut outbox) = link();
        let half = vec![0; QUEUE_BYTES_MAX / 2 + 1];
        link.send_bytes(half.clone()).unwrap();
        link.send_bytes(half.clone()).unwrap_err();
        assert_eq!(outbox.take(1).await.unwrap().len(), half.len());
    }
}
