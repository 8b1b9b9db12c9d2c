//! A cluster for tests: nodes on loopback that answer as a script says.
//!
//! Real sockets and the real API, but every answer is decided by a test. A request that is left
//! hanging is counted, so that a test can wait until it hangs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration as StdDuration;

use serde_json::{Value, json};
use shakedown_contracts::control::Endpoint;

/// No wait of a test is longer; far above what any needs, so that only a hang reaches it.
const PATIENCE: StdDuration = StdDuration::from_secs(20);

/// How a node treats requests for operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Serves if it is primary, refuses with a hint otherwise.
    Serve,
    /// Reads the request and never answers; not even a question for its status.
    Hang,
    /// Reads the request and closes the connection.
    Drop,
    /// Answers with this error, done or not.
    Error(u16),
}

#[derive(Debug)]
pub(crate) struct Script {
    /// Position of the primary, and its epoch.
    pub primary: (usize, u64),
    /// How each node behaves.
    pub manners: Vec<Manner>,
    /// The registers.
    pub registers: BTreeMap<String, u64>,
    /// A rival is always first: every compare-and-set finds another value.
    pub rival: bool,
    /// Bodies of transfers that were carried out.
    pub transfers: Vec<Value>,
    /// Requests for operations that are hanging, or have been dropped.
    pub unanswered: u32,
}

/// Nodes `n1`, `n2`, … on 127.0.0.1, 127.0.0.2, … and one port.
pub(crate) struct FakeCluster {
    pub port: u16,
    state: Arc<(Mutex<Script>, Condvar)>,
    nodes: usize,
}

impl FakeCluster {
    /// Starts the nodes; `n1` is primary in epoch 1 and all serve.
    pub fn start(nodes: usize) -> FakeCluster {
        let script = Script {
            primary: (0, 1),
            manners: vec![Manner::Serve; nodes],
            registers: BTreeMap::new(),
            rival: false,
            transfers: Vec::new(),
            unanswered: 0,
        };
        let state = Arc::new((Mutex::new(script), Condvar::new()));
        let (port, listeners) = (0..100).find_map(|_| listen(nodes)).expect("a free port");
        for (node, listener) in listeners.into_iter().enumerate() {
            let state = Arc::clone(&state);
            // Ends with the test's process, like the threads of its connections.
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || converse(node, &stream, &state));
                }
            });
        }
        FakeCluster { port, state, nodes }
    }

    /// The nodes, and after them one more that is down: nothing listens at its address.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |node: usize| Endpoint {
            name: name(node),
            address: address(node),
        };
        (0..=self.nodes).map(endpoint).collect()
    }

    /// Changes the script.
    pub fn change<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        let result = change(&mut self.state.0.lock().unwrap());
        self.state.1.notify_all();
        result
    }

    /// Blocks until the script is in this state.
    pub fn wait_until(&self, condition: impl Fn(&Script) -> bool) {
        let script = self.state.0.lock().unwrap();
        let (script, waited) = self
            .state
            .1
            .wait_timeout_while(script, PATIENCE, |script| !condition(script))
            .unwrap();
        assert!(
            !waited.timed_out(),
            "never came to be; the script is {script:?}"
        );
    }
}

fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, node as u8 + 1)
}

/// One port that is free on every node's address.
fn listen(nodes: usize) -> Option<(u16, Vec<TcpListener>)> {
    let first = TcpListener::bind((address(0), 0)).ok()?;
    let port = first.local_addr().ok()?.port();
    let mut listeners = vec![first];
    for node in 1..nodes {
        listeners.push(TcpListener::bind((address(node), port)).ok()?);
    }
    Some((port, listeners))
}

/// Answers requests on one connection until the client closes it.
fn converse(node: usize, stream: &TcpStream, state: &(Mutex<Script>, Condvar)) {
    let mut reader = BufReader::new(stream);
    while let Some((method, path, body)) = read_request(&mut reader) {
        let answer = {
            let mut script = state.0.lock().unwrap();
            let answer = answer(node, &mut script, &method, &path, &body);
            if answer.is_none() && !path.ends_with("/status") {
                script.unanswered += 1;
            }
            let drop = script.manners[node] == Manner::Drop;
            state.1.notify_all();
            match answer {
                None if drop => {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
                // Hangs: nothing is said until the client goes away.
                None => continue,
                Some(answer) => answer,
            }
        };
        let (status, body) = (answer.0, answer.1.to_string());
        let head = format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut writer: &TcpStream = stream;
        if writer.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<(String, String, Value)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((key, value)) = line.split_once(':') else {
            break;
        };
        if key.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((
        method,
        path,
        serde_json::from_slice(&body).unwrap_or(Value::Null),
    ))
}

/// Status and body, or nothing.
fn answer(
    node: usize,
    script: &mut Script,
    method: &str,
    path: &str,
    body: &Value,
) -> Option<(u16, Value)> {
    let (primary, epoch) = script.primary;
    let path = path.strip_prefix("/v1").expect("the API's prefix");
    let manner = script.manners[node];
    if manner == Manner::Hang || (manner == Manner::Drop && path != "/status") {
        return None;
    }
    let by = json!({ "node": name(node), "epoch": epoch });
    if path == "/status" {
        let role = if node == primary { "primary" } else { "backup" };
        return Some((
            200,
            json!({ "node": name(node), "role": role, "epoch": epoch, "primary": name(primary),
                "position": 0, "committed": 0 }),
        ));
    }
    let error = |status, kind: &str| {
        let message = format!("scripted {kind}");
        Some((
            status,
            json!({ "error": kind, "message": message, "node": name(node), "epoch": epoch,
                "primary": name(primary) }),
        ))
    };
    if let Manner::Error(status) = manner {
        return error(
            status,
            if status == 503 {
                "unavailable"
            } else {
                "indeterminate"
            },
        );
    }
    if node != primary {
        return error(421, "not-primary");
    }
    match (method, path.trim_start_matches("/keys/")) {
        ("GET", key) => {
            let value = script.registers.get(key);
            Some((
                200,
                json!({ "value": value, "node": name(node), "epoch": epoch }),
            ))
        }
        ("PUT", key) => {
            script
                .registers
                .insert(key.to_owned(), body["value"].as_u64().unwrap());
            Some((200, by))
        }
        ("POST", "/transfer") => {
            script.transfers.push(body.clone());
            Some((200, by))
        }
        ("POST", "/accounts") => Some((200, by)),
        ("POST", "/accounts/read") => {
            let account = |key: &Value| {
                let complete = body["journal"].is_null();
                json!({ "key": key, "balance": 10, "journal": [], "journal_complete": complete })
            };
            let accounts: Vec<_> = body["keys"]
                .as_array()
                .unwrap()
                .iter()
                .map(account)
                .collect();
            Some((
                200,
                json!({ "accounts": accounts, "node": name(node), "epoch": epoch }),
            ))
        }
        ("POST", key) => {
            let key = key.trim_end_matches("/cas");
            let current = script.registers.get(key).copied();
            if script.rival || current != body["expected"].as_u64() {
                return error(409, "mismatch");
            }
            script
                .registers
                .insert(key.to_owned(), body["new"].as_u64().unwrap());
            Some((200, by))
        }
        other => panic!("the API has no {other:?}"),
    }
}
