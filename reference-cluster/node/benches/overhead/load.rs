//! Two ways to ask: as fast as answers come, and by a schedule.

use std::time::{Duration, Instant};

use super::local_cluster::{Client, value};

/// Connections, a thread each.
const CONNECTIONS: usize = 16;

/// What came of asking as fast as answers come.
pub struct Round {
    /// Operations a second.
    pub rate: f64,
    /// Operations.
    pub done: usize,
}

/// Writes as fast as they are acknowledged.
pub fn closed(port: u16, length: Duration) -> Round {
    let start = Instant::now();
    let done = threads(|number| {
        let mut client = Client::connect(port).unwrap();
        let mut done = 0;
        while start.elapsed() < length {
            put(&mut client, number, done);
            done += 1;
        }
        vec![done]
    });
    let done = done.into_iter().sum::<u64>() as usize;
    let rate = done as f64 / start.elapsed().as_secs_f64();
    Round { rate, done }
}

/// Writes `rate` times a second; latencies from when each was due.
pub fn open(port: u16, rate: f64, length: Duration) -> Vec<Duration> {
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
            put(&mut client, number, latencies.len() as u64);
            latencies.push(start.elapsed().saturating_sub(due));
            due += step;
        }
        latencies
    })
}

fn put(client: &mut Client, number: usize, content: u64) {
    let path = format!("/v1/keys/k{number}");
    let (code, answer) = client.ask("PUT", &path, &value(content)).unwrap();
    assert_eq!(code, 200, "{answer}");
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
