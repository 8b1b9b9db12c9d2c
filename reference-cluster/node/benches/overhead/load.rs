//! What is asked, and two ways to ask: as fast as answers come, and by a schedule.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::local_cluster::{Client, Cluster, value};

/// Connections, a thread each.
pub const CONNECTIONS: usize = 16;
/// In every account at first; more than a bench can move.
const BALANCE: i64 = 1 << 40;

/// What is asked again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A write of a key, one a connection.
    Write,
    /// A transfer between two accounts, two a connection.
    Transfer,
    /// A call that keeps nothing.
    Call,
}

impl Operation {
    /// Makes a fresh group ready for it; the port to ask.
    pub fn prepare(self, cluster: &Cluster) -> u16 {
        let member = match self {
            Operation::Write => cluster.ask_primary("PUT", "/v1/keys/k", &value(0)).1,
            Operation::Transfer => {
                let accounts = (0..CONNECTIONS).flat_map(accounts);
                let accounts: Vec<_> = accounts.map(|account| (account, BALANCE)).collect();
                let body = json!({ "accounts": accounts });
                cluster.ask_primary("POST", "/v1/accounts", &body).1
            }
            Operation::Call => cluster.ask_primary("POST", "/v1/call/k", &Value::Null).1,
        };
        cluster.client_ports[member]
    }

    /// Asks once, on a connection's own keys.
    pub fn ask(self, client: &mut Client, connection: usize) {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (method, path, body) = match self {
            Operation::Write => ("PUT", format!("/v1/keys/k{connection}"), value(number)),
            Operation::Transfer => {
                let [from, to] = accounts(connection);
                let body = json!({ "id": number, "from": from, "to": to, "amount": 1 });
                ("POST", "/v1/transfer".to_owned(), body)
            }
            Operation::Call => ("POST", format!("/v1/call/k{connection}"), Value::Null),
        };
        let (code, answer) = client.ask(method, &path, &body).unwrap();
        assert_eq!(code, 200, "{answer}");
    }
}

/// The accounts between which a connection moves money.
fn accounts(connection: usize) -> [String; 2] {
    ["from", "to"].map(|side| format!("{side}{connection}"))
}

/// What came of asking as fast as answers come.
pub struct Round {
    /// Operations a second.
    pub rate: f64,
    /// Operations.
    pub done: usize,
}

/// Asks as fast as answers come.
pub fn closed(operation: Operation, port: u16, length: Duration) -> Round {
    let start = Instant::now();
    let done = threads(|number| {
        let mut client = Client::connect(port).unwrap();
        let mut done = 0u64;
        while start.elapsed() < length {
            operation.ask(&mut client, number);
            done += 1;
        }
        vec![done]
    });
    let done = done.into_iter().sum::<u64>() as usize;
    let rate = done as f64 / start.elapsed().as_secs_f64();
    Round { rate, done }
}

/// Asks `rate` times a second; latencies from when each was due.
pub fn open(operation: Operation, port: u16, rate: f64, length: Duration) -> Vec<Duration> {
    let start = Instant::now();
    let step = Duration::from_secs_f64(CONNECTIONS as f64 / rate);
    threads(|number| {
        // Sleeps end within microseconds of what was asked for, instead of within 50.
        nix::sys::prctl::set_timerslack(1).unwrap();
        let mut client = Client::connect(port).unwrap();
        let mut due = step.mul_f64(number as f64 / CONNECTIONS as f64);
        let mut latencies = Vec::new();
        while due < length {
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            operation.ask(&mut client, number);
            latencies.push(start.elapsed().saturating_sub(due));
            due += step;
        }
        latencies
    })
}

fn threads<T: Send>(work: impl Fn(usize) -> Vec<T> + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    })
}
