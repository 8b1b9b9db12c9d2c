//! How typed messages travel on a pipe: a 4-byte big-endian length, then that many bytes of JSON.
//!
//! Written without I/O: [`encode`] makes the bytes, [`Decoder`] takes whatever a read returned.
//! Input is bounded before it is allocated, since the other end may be broken.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Longest message accepted. A final bank read with its whole journal is the largest real one.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Why bytes are not a frame.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The length says more than [`FRAME_BYTES_MAX`].
    #[error(
        "frame of {0} bytes is over the limit of {FRAME_BYTES_MAX}; the other end is no Shakedown process"
    )]
    TooLong(usize),
    /// The bytes are not the message that was expected.
    #[error("frame does not hold the expected message: {0}; are both ends of one version?")]
    Malformed(#[from] serde_json::Error),
}

/// The message as one frame.
///
/// # Errors
/// [`FrameError::TooLong`] when the message is larger than a reader would accept.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    consumed: usize,
}

impl Decoder {
    /// Takes the bytes a read returned.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes are fed.
    ///
    /// # Errors
    /// See [`FrameError`]; the stream cannot be used after an error.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.consumed..];
        let Some(header) = rest.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = rest.get(4..4 + length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body)?;
        self.consumed += 4 + length;
        Ok(Some(message))
    }

    /// True when bytes of an unfinished message are waiting.
    pub fn is_mid_frame(&self) -> bool {
        self.consumed < self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut_of_the_stream() {
        let mut stream = encode(&"first").unwrap();
        stream.extend(encode(&vec![1, 2, 3]).unwrap());
        for cut in 0..stream.len() {
            let mut decoder = Decoder::default();
            decoder.feed(&stream[..cut]);
            let early: Option<String> = decoder.next_message().unwrap();
            decoder.feed(&stream[cut..]);
            let first = early.or_else(|| decoder.next_message().unwrap());
            assert_eq!(first.as_deref(), Some("first"));
            assert_eq!(
                decoder.next_message::<Vec<u8>>().unwrap(),
                Some(vec![1, 2, 3])
            );
            assert!(!decoder.is_mid_frame());
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_it_is_read() {
        let mut decoder = Decoder::default();
        decoder.feed(&u32::MAX.to_be_bytes());
        assert!(matches!(
            decoder.next_message::<String>(),
            Err(FrameError::TooLong(_))
        ));
    }
}
