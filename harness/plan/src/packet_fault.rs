//! `[[fault]]` of the kinds that act on packets beside delay and loss, and losses in bursts.

use shakedown_contracts::fault::Loss;
use shakedown_contracts::packet_fault::{GilbertElliott, PacketFault};
use shakedown_contracts::units::{Bytes, Duration, Rate, Ratio};

use crate::reader::TableReader;

/// A narrow link saves up so much unless told otherwise: a few full packets.
const BUFFER: Bytes = Bytes(16 << 10);
/// What waits at a narrow link unless told otherwise, as time at its rate (tc's usual latency).
const LIMIT_AS_TIME: Duration = Duration::from_millis(400);

/// The fault of that kind; `None` where a key that it cannot do without is missing or wrong.
pub(crate) fn read(table: &TableReader<'_>, kind: &str) -> Option<PacketFault> {
    match kind {
        "duplicate" => Some(PacketFault::Duplicate {
            duplicate: share(table, "duplicate", "say how many packets arrive twice")?,
            correlation: table.ratio("correlation").unwrap_or_default(),
        }),
        "corrupt" => Some(PacketFault::Corrupt {
            corrupt: share(table, "corrupt", "say how many packets are altered")?,
            correlation: table.ratio("correlation").unwrap_or_default(),
        }),
        "reorder" => reorder(table),
        _ => bandwidth(table),
    }
}

fn reorder(table: &TableReader<'_>) -> Option<PacketFault> {
    let gap = table.integer("gap", 1_u32, 1_000_000).unwrap_or(1);
    let correlation = table.ratio("correlation").unwrap_or_default();
    let reorder = share(table, "reorder", "say how many packets overtake others");
    if !table.has("latency") {
        table.missing(
            "latency",
            "say how long the others wait: `latency = \"10ms\"`",
        );
    }
    let latency = table.duration_above_zero("latency");
    Some(PacketFault::Reorder {
        latency: latency?.value,
        reorder: reorder?,
        correlation,
        gap,
    })
}

fn bandwidth(table: &TableReader<'_>) -> Option<PacketFault> {
    if !table.has("rate") {
        table.missing("rate", "say how much passes: `rate = \"10mbit\"`");
    }
    let rate = table.quantity::<Rate>("rate");
    let buffer = table.quantity::<Bytes>("buffer");
    let limit = table.quantity::<Bytes>("limit");
    let rate = rate?.value;
    let usual = || Bytes(rate.bytes_in(LIMIT_AS_TIME).ceil() as u64);
    let buffer = buffer.map_or(BUFFER, |buffer| buffer.value);
    let limit = limit.map_or_else(usual, |limit| limit.value);
    // A full packet must pass, or nothing large ever does.
    const PACKET: u64 = 1_514;
    for (key, bytes) in [("buffer", buffer), ("limit", limit)] {
        if bytes.0 < PACKET && table.has(key) {
            let message = format!("`{key}` of {bytes} holds no full packet of {PACKET} bytes");
            table.invalid(key, message, "give more, such as \"16KiB\"");
        }
    }
    Some(PacketFault::Bandwidth {
        rate,
        buffer,
        limit: limit.max(Bytes(PACKET)),
    })
}

/// A share that has an effect.
fn share(table: &TableReader<'_>, key: &'static str, what: &str) -> Option<Ratio> {
    if !table.has(key) {
        table.missing(key, &format!("{what}: `{key} = \"5%\"`"));
    }
    let share = table.ratio(key)?;
    if share.as_f64() == 0.0 {
        let message = format!("a `{key}` of 0% has no effect");
        table.invalid(key, message, "give a share such as \"5%\"");
    }
    Some(share)
}

/// How packets are lost: a share of them, or in bursts by `p` and `r`.
pub(crate) fn read_loss(table: &TableReader<'_>) -> Loss {
    const BURST_KEYS: [&str; 4] = ["p", "r", "bad_loss", "good_loss"];
    let Some(key) = BURST_KEYS.into_iter().find(|key| table.has(key)) else {
        return Loss {
            loss: share(table, "loss", "say how many packets are lost").unwrap_or_default(),
            correlation: table.ratio("correlation").unwrap_or_default(),
            bursts: None,
        };
    };
    for other in ["loss", "correlation"] {
        if table.has(other) {
            let message = format!("`{other}` and `{key}` exclude each other");
            let hint = "give a share of all packets, or bursts by `p` and `r`";
            table.invalid(other, message, hint);
        }
    }
    let p = share(table, "p", "the chance, a packet, that bursts begin").unwrap_or_default();
    let r = share(table, "r", "the chance, a packet, that bursts end").unwrap_or_default();
    let all = Ratio::new(1.0).unwrap_or_default();
    let bursts = GilbertElliott {
        p,
        r,
        bad_loss: table.ratio("bad_loss").unwrap_or(all),
        good_loss: table.ratio("good_loss").unwrap_or_default(),
    };
    // As it prints, so that it survives a plan file.
    let share = Ratio::new(bursts.share()).unwrap_or_default();
    Loss {
        loss: share.to_string().parse().unwrap_or(share),
        correlation: Ratio::default(),
        bursts: Some(bursts),
    }
}
