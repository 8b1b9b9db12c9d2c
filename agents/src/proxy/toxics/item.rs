//! What travels along a stream: bytes and the stream's end, in order.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use shakedown_contracts::time::Moment;

/// Bytes in a row. Parts of them share one buffer: taking a piece off copies nothing.
#[derive(Clone)]
pub struct Chunk {
    buffer: Arc<Vec<u8>>,
    from: usize,
    to: usize,
}

impl Chunk {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.to - self.from
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes so many bytes off the front, or all if there are fewer.
    pub fn take_front(&mut self, count: usize) -> Chunk {
        let at = self.from + count.min(self.len());
        let front = Chunk {
            buffer: Arc::clone(&self.buffer),
            from: self.from,
            to: at,
        };
        self.from = at;
        front
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Chunk {
            from: 0,
            to: bytes.len(),
            buffer: Arc::new(bytes),
        }
    }
}

impl PartialEq for Chunk {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Chunk {}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len())
    }
}

/// What travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Bytes.
    Bytes(Chunk),
    /// The sender has closed its end: no more will come.
    End,
    /// The sender's side is broken: no more will come, and the receiver is to hear of it.
    Broken,
}

/// A body, and since when a toxic has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub body: Body,
    /// When it came to the toxic that has it: toxics in a row add up.
    pub entered: Moment,
}

impl Item {
    /// Bytes that came at that moment.
    pub fn bytes(bytes: Vec<u8>, entered: Moment) -> Self {
        Item {
            body: Body::Bytes(Chunk::from(bytes)),
            entered,
        }
    }

    /// The end that came at that moment.
    pub fn end(entered: Moment) -> Self {
        Item {
            body: Body::End,
            entered,
        }
    }

    /// How many bytes it is.
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Bytes(chunk) => chunk.len(),
            Body::End | Body::Broken => 0,
        }
    }

    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing comes behind it.
    pub fn is_last(&self) -> bool {
        !matches!(self.body, Body::Bytes(_))
    }
}

/// Items that wait in order, with their bytes counted.
#[derive(Debug, Default)]
pub struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
}

impl Waiting {
    /// Behind all others.
    pub fn push(&mut self, item: Item) {
        self.bytes += item.len();
        self.items.push_back(item);
    }

    /// The first.
    pub fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= item.len();
        Some(item)
    }

    /// So many bytes of the first, or all of it.
    pub fn pop_bytes(&mut self, most: usize) -> Option<Item> {
        let first = self.items.front_mut()?;
        match &mut first.body {
            Body::Bytes(chunk) if chunk.len() > most => {
                self.bytes -= most;
                Some(Item {
                    body: Body::Bytes(chunk.take_front(most)),
                    entered: first.entered,
                })
            }
            _ => self.pop(),
        }
    }

    /// The first, left where it is.
    pub fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether the stream's end waits, too.
    pub fn ends_with_last(&self) -> bool {
        self.items.back().is_some_and(Item::is_last)
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All, in order.
    pub fn release(&mut self) -> VecDeque<Item> {
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_taken_off_are_the_bytes_in_order_and_are_counted() {
        let mut waiting = Waiting::default();
        waiting.push(Item::bytes((0..10).collect(), Moment(1)));
        waiting.push(Item::end(Moment(2)));
        let mut all = Vec::new();
        while let Some(item) = waiting.pop_bytes(4) {
            if let Body::Bytes(chunk) = &item.body {
                all.extend_from_slice(chunk.bytes());
                assert_eq!(waiting.bytes(), 10 - all.len());
            }
        }
        assert_eq!(all, (0..10).collect::<Vec<u8>>());
    }
}
