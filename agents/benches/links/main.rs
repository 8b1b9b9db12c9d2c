//! What links cost while they are healthy, and how exact their faults are.
//!
//! `cargo bench -p shakedown-agents --bench links`, as root; one part with `-- healthy`, `-- faults` or
//! `-- wiring`. The healthy path is compared with the
//! same routed topology without any table, in turn. Delays are measured with every processor busy.
//! The network agent's parts run in this process, with the priorities that they take in a run.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

mod faults;
mod traffic;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shakedown_agents::ledger::Ledger;
use shakedown_agents::network_agent::links::{Links, Scope};
use shakedown_agents::network_agent::topology::Topology;
use shakedown_contracts::control::{Endpoint, Namespace};
use shakedown_contracts::fault::{CutBehavior, FaultId, Link, LinkEffect};
use traffic::{End, round_trip, stream};

/// Measurements of each of a pair.
const ROUNDS: usize = 11;

fn main() -> ExitCode {
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        println!("this benchmark makes namespaces: run it as root or with `unshare -Urnm`");
        return ExitCode::FAILURE;
    }
    let wanted = std::env::args().skip(1).find(|one| !one.starts_with('-'));
    let parts: [(&str, fn()); 3] = [
        ("healthy", healthy_path),
        ("faults", faults::measure),
        ("wiring", wiring),
    ];
    for (name, measure) in parts {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            measure();
        }
    }
    ExitCode::SUCCESS
}

type Order = Box<dyn FnOnce(&mut Links) + Send>;

/// The agent's parts on a thread of their own, which stays in the router.
struct Router {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
    ends: Vec<End>,
}

impl Drop for Router {
    fn drop(&mut self) {
        // The thread ends with the last sender.
        let (orders, _) = channel();
        self.orders = orders;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Router {
    fn start(count: u8) -> Self {
        let (told, ends) = channel();
        let (orders, received) = channel::<Order>();
        let thread = std::thread::spawn(move || {
            let folder = tempfile::tempdir_in("/dev/shm").unwrap();
            let ledger = Ledger::open(&folder.path().join("ledger"), "bench").unwrap();
            let mut links = Links::build(&endpoints(count), ledger, 1).unwrap();
            told.send(ends_of(&links.topology.namespaces())).unwrap();
            while let Ok(order) = received.recv() {
                order(&mut links);
            }
            links.end().unwrap();
        });
        Router {
            orders,
            thread: Some(thread),
            ends: ends.recv().unwrap(),
        }
    }

    fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut Links) -> T + Send + 'static) -> T {
        let (told, answer) = channel();
        let order = move |links: &mut Links| told.send(act(links)).unwrap();
        self.orders.send(Box::new(order)).unwrap();
        answer.recv().unwrap()
    }

    fn apply(&self, effect: LinkEffect) {
        let scope = on(vec![link("n1", "n2")]);
        self.with(move |links| links.apply(&id(), &scope, effect).unwrap());
    }

    fn withdraw(&self) {
        self.with(|links| links.withdraw(&id()).unwrap());
    }
}

fn id() -> FaultId {
    FaultId {
        fault: "bench".to_owned(),
        occurrence: 0,
    }
}

fn link(from: &str, to: &str) -> Link {
    Link {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

fn on(links: Vec<Link>) -> Scope {
    Scope {
        links,
        ports: Default::default(),
    }
}

fn endpoints(count: u8) -> Vec<Endpoint> {
    let endpoint = |number| Endpoint {
        name: format!("n{number}"),
        address: Ipv4Addr::new(10, 77, 0, number),
    };
    (1..=count).map(endpoint).collect()
}

fn ends_of(namespaces: &[Namespace]) -> Vec<End> {
    let ends = namespaces.iter().zip(1..).map(|(namespace, number)| End {
        address: Ipv4Addr::new(10, 77, 0, number),
        namespace: PathBuf::clone(&namespace.path),
    });
    ends.collect()
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// With the table of links, against the same wires without.
fn healthy_path() {
    let (told, plain) = channel();
    let (end, ended) = channel::<()>();
    let bare = std::thread::spawn(move || {
        let topology = Topology::build(&endpoints(2)).unwrap();
        told.send(ends_of(&topology.namespaces())).unwrap();
        // Until the sender is gone.
        let _ = ended.recv();
    });
    let plain = plain.recv().unwrap();
    let router = Router::start(2);
    let second = Duration::from_secs(1);
    let [mut streams, mut trips] = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        let mut of = [(0.0, 0.0); 2];
        for turn in 0..2 {
            let side = (round + turn) % 2;
            let ends = [&plain, &router.ends][side];
            of[side] = (
                stream(&ends[0], &ends[1], second),
                round_trip(&ends[0], &ends[1], 20_000),
            );
        }
        streams.push((of[0].0, of[1].0));
        trips.push((of[0].1, of[1].1));
    }
    drop(end);
    bare.join().unwrap();
    println!(
        "| healthy path | without a table | with it | ratio, median of {ROUNDS} [least, most] |"
    );
    println!("|---|--:|--:|---|");
    println!("| stream, Gbit/s {}", compared(&streams, 1));
    println!("| round trip of 64 bytes, µs {}\n", compared(&trips, 2));
}

fn compared(pairs: &[(f64, f64)], digits: usize) -> String {
    let mut ratios: Vec<f64> = pairs.iter().map(|(without, with)| with / without).collect();
    ratios.sort_by(f64::total_cmp);
    let without = median(pairs.iter().map(|pair| pair.0).collect());
    let with = median(pairs.iter().map(|pair| pair.1).collect());
    let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
    format!(
        "| {without:.digits$} | {with:.digits$} | {:.3} [{least:.3}, {most:.3}] |",
        ratios[ratios.len() / 2]
    )
}

/// How long building takes, and cutting one link or a cluster in two.
fn wiring() {
    println!("| endpoints | wired, ms | one link cut / healed, µs | cluster split / healed, µs |");
    println!("|--:|--:|--:|--:|");
    for count in [3, 5, 50] {
        let wired = |_| {
            let start = Instant::now();
            let router = Router::start(count);
            let took = start.elapsed().as_secs_f64() * 1e3;
            drop(router);
            took
        };
        let wired = median((0..5).map(wired).collect());
        let router = Router::start(count);
        let one = vec![link("n1", "n2")];
        let half = count / 2;
        let across = (1..=half).flat_map(|left| (half + 1..=count).map(move |right| (left, right)));
        let names = across.map(|(left, right)| (format!("n{left}"), format!("n{right}")));
        let split: Vec<Link> = names
            .flat_map(|(left, right)| [link(&left, &right), link(&right, &left)])
            .collect();
        let [one, split] = [one, split].map(|links| {
            let (cuts, heals): (Vec<f64>, Vec<f64>) = router.with(move |links_of| {
                let cycle = |_| {
                    let cut = LinkEffect::Cut(CutBehavior::Drop);
                    let cut = links_of.apply(&id(), &on(links.clone()), cut).unwrap();
                    let heal = links_of.withdraw(&id()).unwrap();
                    let micros = |bracket: shakedown_contracts::time::Bracket| {
                        bracket.width().as_millis_f64() * 1e3
                    };
                    (micros(cut), micros(heal))
                };
                (0..201).map(cycle).unzip()
            });
            format!("{:.0} / {:.0}", median(cuts), median(heals))
        });
        println!("| {count} | {wired:.0} | {one} | {split} |");
    }
}
