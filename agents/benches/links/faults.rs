//! How exact delays, shares and rates are, over many packets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shakedown_agents::network_agent::priority::take_priority;
use shakedown_contracts::fault::{Delay, Distribution, LinkEffect, Loss};
use shakedown_contracts::packet_fault::PacketFault;
use shakedown_contracts::units::{self, Bytes, Rate, Ratio};

use super::traffic::{End, processors, receive, receiver, sender, stream, wall};
use super::{Router, median};

/// Datagrams whose delay is measured, a setting.
const DATAGRAMS: u64 = 1_000;
/// Packets of which shares are counted.
const PACKETS: u64 = 1_000_000;
/// Nothing has come for so long: nothing comes any more.
const SILENCE: Duration = Duration::from_millis(500);

pub fn measure() {
    let router = Router::start(2);
    delays(&router);
    throughput(&router);
    shares(&router);
    rates(&router);
}

fn late(millis: u64) -> LinkEffect {
    LinkEffect::Delay(Delay {
        latency: units::Duration::from_millis(millis),
        jitter: units::Duration::ZERO,
        correlation: Ratio::default(),
        distribution: Distribution::Uniform,
    })
}

/// Error of the added delay, with two busy threads a processor.
fn delays(router: &Router) {
    println!("| added delay, ms | error, mean ms | p50 | p99 | largest |");
    println!("|--:|--:|--:|--:|--:|");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 * processors() {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    std::hint::black_box(0_u64.wrapping_add(1));
                }
            });
        }
        let healthy = median(one_way(&router.ends));
        for millis in [1, 10, 50, 200] {
            router.apply(late(millis));
            let added = one_way(&router.ends).into_iter();
            let errors = added.map(|took| took - healthy - millis as f64);
            let mut errors: Vec<f64> = errors.map(f64::abs).collect();
            router.withdraw();
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            errors.sort_by(f64::total_cmp);
            let rank = |share: f64| errors[((errors.len() - 1) as f64 * share) as usize];
            println!(
                "| {millis} | {mean:.3} | {:.3} | {:.3} | {:.3} |",
                rank(0.5),
                rank(0.99),
                rank(1.0)
            );
        }
        ended.store(true, Ordering::Relaxed);
    });
    println!();
}

/// Milliseconds of each datagram's way, by the kernel's stamp of its arrival. Who sends is real-time
/// too, so that nobody takes the processor from it between its own stamp and the call.
fn one_way(ends: &[End]) -> Vec<f64> {
    let to = receiver(&ends[1]);
    let from = sender(&ends[0], to.local_addr().unwrap());
    ends[0].inside(0, || {
        take_priority(3);
        for _ in 0..DATAGRAMS {
            from.send(&wall().to_be_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let arrived = (0..DATAGRAMS).map(|_| receive(&to).unwrap());
    arrived
        .map(|(sent, _, at)| (at - sent as i64) as f64 / 1e6)
        .collect()
}

fn throughput(router: &Router) {
    let length = Duration::from_secs(2);
    let healthy = stream(&router.ends[0], &router.ends[1], length);
    println!("| stream | Gbit/s |\n|---|--:|\n| healthy | {healthy:.1} |");
    let lossless = LinkEffect::Packets(PacketFault::Duplicate {
        duplicate: Ratio::new(1e-9).unwrap(),
        correlation: Ratio::default(),
    });
    let effects = [
        ("1 ms later", late(1)),
        ("each packet copied to the agent", lossless),
    ];
    for (name, effect) in effects {
        router.apply(effect);
        let reached = stream(&router.ends[0], &router.ends[1], length);
        router.withdraw();
        println!("| {name} | {reached:.1} |");
    }
    println!();
}

fn shares(router: &Router) {
    println!("| of {PACKETS} packets | asked | achieved | standard errors off |");
    println!("|---|--:|--:|--:|");
    for share in [0.01, 0.1, 0.5] {
        let ratio = Ratio::new(share).unwrap();
        let loss = LinkEffect::Loss(Loss {
            loss: ratio,
            correlation: Ratio::default(),
            bursts: None,
        });
        let duplicate = LinkEffect::Packets(PacketFault::Duplicate {
            duplicate: ratio,
            correlation: Ratio::default(),
        });
        for (name, effect) in [("lost", loss), ("doubled", duplicate)] {
            router.apply(effect);
            let (once, twice) = counted(&router.ends);
            router.withdraw();
            let met = match name {
                "lost" => PACKETS - once,
                _ => twice,
            };
            let count = PACKETS as f64;
            let off = (met as f64 - count * share) / (count * share * (1.0 - share)).sqrt();
            println!(
                "| {name} | {:.0} % | {:.3} % | {off:.2} |",
                share * 100.0,
                met as f64 / count * 100.0
            );
        }
    }
    println!();
}

/// How many of the packets arrived, and how many of those again.
fn counted(ends: &[End]) -> (u64, u64) {
    let to = receiver(&ends[1]);
    to.set_read_timeout(Some(SILENCE)).unwrap();
    let from = sender(&ends[0], to.local_addr().unwrap());
    std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut seen = vec![false; PACKETS as usize];
            let (mut once, mut twice) = (0, 0);
            while let Some((number, ..)) = receive(&to) {
                let before = std::mem::replace(&mut seen[number as usize], true);
                if before {
                    twice += 1;
                } else {
                    once += 1;
                }
            }
            (once, twice)
        });
        ends[0].inside(0, || {
            for number in 0..PACKETS {
                from.send(&number.to_be_bytes()).unwrap();
                if number % 100 == 99 {
                    // A hundred thousand a second: less than agent and receiver can take.
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
        });
        counting.join().unwrap()
    })
}

/// Offered twice of what passes, for two seconds.
fn rates(router: &Router) {
    const PACKET: usize = 1_400;
    const ON_WIRE: usize = PACKET + 28;
    println!("| rate asked, Mbit/s | achieved | error |");
    println!("|--:|--:|--:|");
    for megabits in [1, 10, 100] {
        let rate = Rate::from_bits(megabits * 1_000_000).unwrap();
        router.apply(LinkEffect::Packets(PacketFault::Bandwidth {
            rate,
            buffer: Bytes(ON_WIRE as u64),
            limit: Bytes(64 << 10),
        }));
        let (from_end, to_end) = (&router.ends[0], &router.ends[1]);
        let to = receiver(to_end);
        to.set_read_timeout(Some(SILENCE.max(Duration::from_secs(1))))
            .unwrap();
        let from = sender(from_end, to.local_addr().unwrap());
        let packets = (rate.bytes_in(units::Duration::from_secs(4)) / ON_WIRE as f64) as usize;
        let start = Instant::now();
        from_end.inside(0, || {
            for number in 0..packets {
                let due = Duration::from_secs_f64(2.0 * number as f64 / packets as f64);
                std::thread::sleep(due.saturating_sub(start.elapsed()));
                from.send(&[7; PACKET]).unwrap();
            }
        });
        let arrived: Vec<i64> = std::iter::from_fn(|| receive(&to).map(|(_, _, at)| at)).collect();
        router.withdraw();
        let took = (arrived[arrived.len() - 1] - arrived[0]) as f64 / 1e9;
        let achieved = ((arrived.len() - 1) * ON_WIRE * 8) as f64 / took / 1e6;
        let error = 100.0 * (achieved / megabits as f64 - 1.0);
        println!("| {megabits} | {achieved:.3} | {error:+.2} % |");
    }
    println!();
}
