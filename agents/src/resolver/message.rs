//! Messages of the domain name system (RFC 1035, section 4), as far as a resolver of a few names needs
//! them: pure functions over bytes.
//!
//! A query is its header and one question; what follows (as EDNS does) is not looked at. Names in a
//! question are written out: a pointer there could only point to itself, and is refused. Every length
//! is checked against the bytes that are there, and nothing is followed, so reading ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// A larger message is no query of ours.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// A name with all its lengths.
const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: usize = 63;
const HEADER_BYTES: usize = 12;
/// Type and class.
const QUESTION_TAIL_BYTES: usize = 4;
/// Name as a pointer, type, class, time to live, length.
const RECORD_BYTES: usize = 12;
/// Answers that are read of one message; more than any of ours has.
const ANSWERS_MAX: u16 = 64;

/// Type of an IPv4 address.
pub const TYPE_A: u16 = 1;
/// Type of an IPv6 address.
pub const TYPE_AAAA: u16 = 28;
const CLASS_INTERNET: u16 = 1;

const RESPONSE: u8 = 0x80;
const OPERATION: u8 = 0x78;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
/// A pointer to the question, which begins behind the header.
const TO_THE_QUESTION: [u8; 2] = [0xc0, HEADER_BYTES as u8];

/// A question that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// By which the asker knows the answer.
    pub id: u16,
    /// In lower case, labels with dots between; bytes that are no letter, digit, `-` or `_` are
    /// written `\DDD`.
    pub name: String,
    /// Such as [`TYPE_A`].
    pub kind: u16,
    recursion_desired: bool,
    /// As it was asked, to be repeated.
    question: Vec<u8>,
}

/// Why bytes are no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The message ends before it is whole.
    #[error("it ends too soon")]
    Short,
    /// More than [`MESSAGE_BYTES_MAX`].
    #[error("it is too long")]
    Long,
    /// An answer, or a request for something else.
    #[error("it is no standard query")]
    NoQuery,
    /// None, or several.
    #[error("it does not ask one question")]
    Questions,
    /// Longer than the standard allows.
    #[error("its name is too long")]
    Name,
    /// A pointer, or a kind of label that is not in use.
    #[error("its name is not written out")]
    Pointer,
    /// Of another class than the internet's.
    #[error("it asks for another class")]
    Class,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// There is such a name.
    Fine,
    /// The question could not be read.
    FormatError,
    /// The resolver failed.
    ServerFailure,
    /// There is no such name.
    NoSuchName,
    /// Another.
    Other(u8),
}

impl Code {
    fn number(self) -> u8 {
        match self {
            Code::Fine => 0,
            Code::FormatError => 1,
            Code::ServerFailure => 2,
            Code::NoSuchName => 3,
            Code::Other(number) => number & 0xf,
        }
    }

    fn of(number: u8) -> Self {
        match number & 0xf {
            0 => Code::Fine,
            1 => Code::FormatError,
            2 => Code::ServerFailure,
            3 => Code::NoSuchName,
            other => Code::Other(other),
        }
    }
}

/// An answer as the asker reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Of the question.
    pub id: u16,
    /// How it went.
    pub code: Code,
    /// All that were given.
    pub addresses: Vec<IpAddr>,
}

/// Reads a query.
///
/// # Errors
/// [`Malformed`]
pub fn decode(bytes: &[u8]) -> Result<Query, Malformed> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Malformed::Long);
    }
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Malformed::Short)?;
    if header[2] & (RESPONSE | OPERATION | TRUNCATED) != 0 {
        return Err(Malformed::NoQuery);
    }
    if header[4..8] != [0, 1, 0, 0] {
        return Err(Malformed::Questions);
    }
    let (name, end) = name(bytes, HEADER_BYTES)?;
    let tail = bytes.get(end..end + QUESTION_TAIL_BYTES);
    let tail: &[u8; QUESTION_TAIL_BYTES] =
        tail.and_then(<[u8]>::first_chunk).ok_or(Malformed::Short)?;
    let [kind, class] = [[tail[0], tail[1]], [tail[2], tail[3]]].map(u16::from_be_bytes);
    if class != CLASS_INTERNET {
        return Err(Malformed::Class);
    }
    Ok(Query {
        id: u16::from_be_bytes([header[0], header[1]]),
        name,
        kind,
        recursion_desired: header[2] & RECURSION_DESIRED != 0,
        question: bytes[HEADER_BYTES..end + QUESTION_TAIL_BYTES].to_vec(),
    })
}

/// A name that is written out, and where it ends.
fn name(bytes: &[u8], begin: usize) -> Result<(String, usize), Malformed> {
    let mut text = String::new();
    let mut at = begin;
    loop {
        let length = usize::from(*bytes.get(at).ok_or(Malformed::Short)?);
        at += 1;
        if length == 0 {
            return Ok((text, at));
        }
        if length > LABEL_BYTES_MAX {
            return Err(Malformed::Pointer);
        }
        let label = bytes.get(at..at + length).ok_or(Malformed::Short)?;
        at += length;
        // With the empty label that is still to come.
        if at + 1 - begin > NAME_BYTES_MAX {
            return Err(Malformed::Name);
        }
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {
                    text.push(char::from(byte.to_ascii_lowercase()));
                }
                other => text.push_str(&format!("\\{other:03}")),
            }
        }
    }
}

/// A query for a name; `None` where it cannot be written as one.
pub fn encode_query(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([RECURSION_DESIRED, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok();
        let length = length.filter(|length| (1..=LABEL_BYTES_MAX).contains(&usize::from(*length)));
        bytes.push(length?);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    if bytes.len() - HEADER_BYTES > NAME_BYTES_MAX {
        return None;
    }
    bytes.extend(kind.to_be_bytes());
    bytes.extend(CLASS_INTERNET.to_be_bytes());
    Some(bytes)
}

/// The answer to a query. Whoever asked is not to remember it.
pub fn encode_answer(query: &Query, code: Code, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let mut bytes = query.id.to_be_bytes().to_vec();
    let desired = match query.recursion_desired {
        true => RECURSION_DESIRED,
        false => 0,
    };
    bytes.extend([RESPONSE | desired, RECURSION_AVAILABLE | code.number()]);
    bytes.extend([0, 1]);
    bytes.extend((addresses.len() as u16).to_be_bytes());
    bytes.extend([0, 0, 0, 0]);
    bytes.extend(&query.question);
    for address in addresses {
        bytes.extend(TO_THE_QUESTION);
        bytes.extend(TYPE_A.to_be_bytes());
        bytes.extend(CLASS_INTERNET.to_be_bytes());
        bytes.extend(0_u32.to_be_bytes());
        bytes.extend(4_u16.to_be_bytes());
        bytes.extend(address.octets());
    }
    bytes
}

/// The answer to bytes that are no query, if they asked for any: that they cannot be read.
pub fn encode_refusal(bytes: &[u8]) -> Option<Vec<u8>> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let asked = header[2] & RESPONSE == 0;
    let mut answer = vec![header[0], header[1], RESPONSE | header[2], 0];
    answer[3] = RECURSION_AVAILABLE | Code::FormatError.number();
    answer.extend([0; 8]);
    asked.then_some(answer)
}

/// Reads an answer; `None` where it is none.
pub fn decode_reply(bytes: &[u8]) -> Option<Reply> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if header[2] & RESPONSE == 0 || word(4) > 1 || word(6) > ANSWERS_MAX {
        return None;
    }
    let mut at = HEADER_BYTES;
    if word(4) == 1 {
        at = name(bytes, at).ok()?.1 + QUESTION_TAIL_BYTES;
    }
    let mut addresses = Vec::new();
    for _ in 0..word(6) {
        let record: &[u8; RECORD_BYTES] = bytes.get(at..)?.first_chunk()?;
        // Names of answers are pointers to the question, as ours are.
        if record[..2] != TO_THE_QUESTION {
            return None;
        }
        at += RECORD_BYTES;
        let length = usize::from(u16::from_be_bytes([record[10], record[11]]));
        let data = bytes.get(at..at + length)?;
        at += length;
        match (u16::from_be_bytes([record[2], record[3]]), data.len()) {
            (TYPE_A, 4) => addresses.push(Ipv4Addr::from(*data.first_chunk::<4>()?).into()),
            (TYPE_AAAA, 16) => addresses.push(Ipv6Addr::from(*data.first_chunk::<16>()?).into()),
            _ => {}
        }
    }
    Some(Reply {
        id: word(0),
        code: Code::of(header[3]),
        addresses,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str) -> Vec<u8> {
        encode_query(7, name, TYPE_A).unwrap()
    }

    #[test]
    fn a_query_is_read_and_its_answer_repeats_the_question_and_says_not_to_remember() {
        let mut bytes = query("DB.Example");
        // As EDNS: one more record, which is not looked at.
        bytes[11] = 1;
        bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let read = decode(&bytes).unwrap();
        assert_eq!((read.id, read.kind, &*read.name), (7, TYPE_A, "db.example"));
        let address = Ipv4Addr::new(10, 0, 0, 2);
        let answer = encode_answer(&read, Code::Fine, &[address]);
        assert_eq!(&answer[12..24], &bytes[12..24], "letters as they were");
        assert_eq!(answer[answer.len() - 10..answer.len() - 6], [0; 4]);
        let reply = decode_reply(&answer).unwrap();
        assert_eq!(reply.addresses, [IpAddr::from(address)]);
        assert_eq!((reply.id, reply.code), (7, Code::Fine));
        let failed = encode_answer(&read, Code::ServerFailure, &[]);
        assert_eq!(decode_reply(&failed).unwrap().code, Code::ServerFailure);
        assert_eq!(decode(&query("a b.c")).unwrap().name, "a\\032b.c");
    }

    #[test]
    fn each_malformed_message_is_refused_for_its_reason() {
        let whole = query("n1.example");
        let with = |at: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            decode(&bytes)
        };
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), Err(Malformed::Short), "{length}");
        }
        assert_eq!(with(2, 0x81), Err(Malformed::NoQuery), "an answer");
        assert_eq!(with(2, 0x28), Err(Malformed::NoQuery), "an update");
        assert_eq!(with(5, 0), Err(Malformed::Questions));
        assert_eq!(with(5, 2), Err(Malformed::Questions));
        assert_eq!(with(7, 1), Err(Malformed::Questions), "with an answer");
        assert_eq!(with(12, 0xc0), Err(Malformed::Pointer));
        assert_eq!(with(12, 0x40), Err(Malformed::Pointer), "a kind not in use");
        assert_eq!(with(12, 60), Err(Malformed::Short), "beyond the end");
        assert_eq!(with(whole.len() - 1, 3), Err(Malformed::Class));
        assert_eq!(decode(&vec![0; 5_000]), Err(Malformed::Long));
        let mut long = whole[..12].to_vec();
        for _ in 0..5 {
            long.push(60);
            long.extend([b'x'; 60]);
        }
        long.extend([0, 0, 1, 0, 1]);
        assert_eq!(decode(&long), Err(Malformed::Name));
        assert!(encode_query(1, &"x".repeat(64), TYPE_A).is_none());
        assert!(encode_query(1, "a..b", TYPE_A).is_none());
    }

    #[test]
    fn what_cannot_be_read_is_answered_so_and_an_answer_never_is() {
        let mut two = query("n1");
        two[5] = 2;
        let refusal = decode_reply(&encode_refusal(&two).unwrap()).unwrap();
        assert_eq!((refusal.id, refusal.code), (7, Code::FormatError));
        two[2] |= RESPONSE;
        assert_eq!(encode_refusal(&two), None);
        assert_eq!(encode_refusal(&two[..5]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_survived_and_what_is_read_can_be_answered(bytes: Vec<u8>) {
            decode_reply(&bytes);
            encode_refusal(&bytes);
            if let Ok(query) = decode(&bytes) {
                let answer = encode_answer(&query, Code::NoSuchName, &[]);
                prop_assert_eq!(decode_reply(&answer).unwrap().id, query.id);
            }
        }
    }
}
