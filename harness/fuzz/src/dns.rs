//! Queries of programs that look names up, and answers to them.

use shakedown_agents::resolver::message::{
    Code, decode, decode_reply, encode_answer, encode_query, encode_refusal,
};

/// A query that is read can be answered, the answer says whose it is, and a query for the name that
/// was read, where it can be written, is read alike.
pub(crate) fn hold(bytes: &[u8]) {
    decode_reply(bytes);
    if let Some(refusal) = encode_refusal(bytes) {
        decode_reply(&refusal).expect("a refusal is an answer");
    }
    let Ok(query) = decode(bytes) else { return };
    let address = std::net::Ipv4Addr::LOCALHOST;
    let answer = encode_answer(&query, Code::Fine, &[address]);
    let reply = decode_reply(&answer).expect("an answer is one");
    assert_eq!((reply.id, reply.addresses.len()), (query.id, 1));
    let plain = !query.name.contains('\\');
    if let Some(again) = encode_query(query.id, &query.name, query.kind).filter(|_| plain) {
        let again = decode(&again).expect("a query is one");
        assert_eq!(
            (again.id, again.kind, again.name),
            (query.id, query.kind, query.name)
        );
    }
}
