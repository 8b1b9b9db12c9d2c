//! Effects on a link, alone and together.

use shakedown_contracts::fault::{Delay, Distribution, Loss};
use shakedown_contracts::units::Ratio;

use super::*;

const WAY: Way = Way { from: 0, to: 1 };
const NAME: &str = "n1>n2";
const PACKET: Packet = Packet::Reset { epoch: 1 };

fn links() -> Links {
    Links::new(7, NetworkModel::default())
}

fn id(fault: &str) -> FaultId {
    FaultId {
        fault: fault.to_owned(),
        occurrence: 0,
    }
}

fn delay(ms: u64) -> LinkEffect {
    LinkEffect::Delay(Delay {
        latency: Duration::from_millis(ms),
        jitter: Duration::ZERO,
        correlation: Ratio::default(),
        distribution: Distribution::Uniform,
    })
}

fn at(ms: u64) -> Moment {
    Moment(ms * 1_000_000)
}

fn apply(links: &mut Links, fault: &str, effect: LinkEffect) {
    links.apply(WAY, NAME, (&id(fault), effect));
}

fn reset(epoch: u32) -> Packet {
    Packet::Reset { epoch }
}

fn epoch(packet: Option<Packet>) -> Option<u32> {
    match packet? {
        Packet::Reset { epoch } => Some(epoch),
        _ => None,
    }
}

#[test]
fn a_healthy_link_takes_its_latency_and_each_packet_its_own() {
    let links = links();
    let draw = |moment| links.latency(WAY, Moment(moment));
    assert_eq!(draw(5), draw(5));
    let draws: Vec<Duration> = (0..1_000).map(draw).collect();
    assert!(draws.iter().all(|draw| *draw >= Duration::from_micros(30)));
    let mean = draws.iter().map(|draw| draw.as_millis_f64()).sum::<f64>();
    // 50 µs; the standard error of 1,000 exponentials of 20 µs is 0.6 µs.
    assert!((mean - 50.0).abs() < 4.0, "{mean} µs");
    assert_ne!(draw(5), links.latency(WAY.back(), Moment(5)));
}

#[test]
fn a_cut_beats_delay_and_loss_and_silence_beats_a_refusal() {
    let mut links = links();
    apply(&mut links, "slow", delay(10));
    assert_eq!(links.pass(WAY, at(0), &PACKET), Passage::Held(at(10)));
    apply(&mut links, "no", LinkEffect::Cut(CutBehavior::Reject));
    assert_eq!(links.pass(WAY, at(1), &PACKET), Passage::Refused);
    apply(&mut links, "dead", LinkEffect::Cut(CutBehavior::Drop));
    assert_eq!(links.pass(WAY, at(1), &PACKET), Passage::Lost);
    assert!(links.is_cut(WAY) && !links.is_cut(WAY.back()));
    links.withdraw(WAY, NAME, &id("dead"));
    assert_eq!(links.pass(WAY, at(2), &PACKET), Passage::Refused);
    links.withdraw(WAY, NAME, &id("no"));
    assert_eq!(links.pass(WAY, at(3), &PACKET), Passage::Held(at(13)));
    // What was held when the link was cut is lost with it.
    assert_eq!(epoch(links.release(WAY, at(12))), None);
    assert_eq!(epoch(links.release(WAY, at(13))), Some(1));
    links.withdraw(WAY, NAME, &id("slow"));
    assert!(!links.is_troubled(WAY));
}

#[test]
fn healing_lets_held_packets_go_in_the_order_they_came_and_leaves_other_delays() {
    let mut links = links();
    apply(&mut links, "long", delay(1_000));
    links.pass(WAY, at(0), &reset(1));
    links.pass(WAY, at(1), &reset(2));
    apply(&mut links, "short", delay(30));
    assert_eq!(links.pass(WAY, at(2), &reset(3)), Passage::Held(at(1_032)));
    let (gone, dues) = links.withdraw(WAY, NAME, &id("long"));
    assert!(gone.is_empty());
    // The first two were never under the short one.
    assert_eq!(dues, [at(0), at(1), at(32)]);
    assert_eq!(epoch(links.release(WAY, at(3))), Some(1));
    let (gone, _) = links.withdraw(WAY, NAME, &id("short"));
    let gone: Vec<_> = gone.into_iter().map(Some).map(epoch).collect();
    assert_eq!(gone, [Some(2), Some(3)]);
}

#[test]
fn a_lossy_link_loses_its_share() {
    let mut links = links();
    let loss = Ratio::new(0.3).unwrap();
    let correlation = Ratio::default();
    apply(
        &mut links,
        "lossy",
        LinkEffect::Loss(Loss {
            loss,
            correlation,
            bursts: None,
        }),
    );
    let lost = (0..10_000)
        .filter(|n| links.pass(WAY, Moment(*n), &PACKET) == Passage::Lost)
        .count();
    // Five standard errors of 0.46 %.
    assert!((2_770..=3_230).contains(&lost), "{lost}");
}
