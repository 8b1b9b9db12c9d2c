//! What happens to packets on their way beside delay and loss; names and meanings are netem's.

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Duration, Rate, Ratio};

/// What goes wrong with packets of a link, with every default filled in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PacketFault {
    /// Some packets arrive twice; the second right after the first.
    Duplicate {
        /// Share of packets.
        duplicate: Ratio,
        /// How much a packet's fate is that of the packet before.
        #[serde(default)]
        correlation: Ratio,
    },
    /// Some packets overtake others: they go on at once, the others wait.
    Reorder {
        /// How long the others wait.
        latency: Duration,
        /// Share of the candidates that go on at once.
        reorder: Ratio,
        /// How much a candidate's fate is that of the candidate before.
        #[serde(default)]
        correlation: Ratio,
        /// After one that went on at once, the next `gap - 1` packets are no candidates.
        gap: u32,
    },
    /// Some packets arrive with one bit flipped behind their IP header, so that checksums notice.
    Corrupt {
        /// Share of packets.
        corrupt: Ratio,
        /// How much a packet's fate is that of the packet before.
        #[serde(default)]
        correlation: Ratio,
    },
    /// The link is narrow: a token bucket (tc-tbf).
    Bandwidth {
        /// Of packets as they are on the wire, IP header and all.
        rate: Rate,
        /// So much passes at once after a pause.
        buffer: Bytes,
        /// So much waits at most; what comes then is lost.
        limit: Bytes,
    },
}

impl PacketFault {
    /// The name an experiment file uses.
    pub const fn name(&self) -> &'static str {
        match self {
            PacketFault::Duplicate { .. } => "duplicate",
            PacketFault::Reorder { .. } => "reorder",
            PacketFault::Corrupt { .. } => "corrupt",
            PacketFault::Bandwidth { .. } => "bandwidth",
        }
    }

    /// Share of all packets that it befalls, in the long run. A narrow link befalls each.
    pub fn share(&self) -> f64 {
        match self {
            PacketFault::Duplicate { duplicate, .. } => duplicate.as_f64(),
            PacketFault::Corrupt { corrupt, .. } => corrupt.as_f64(),
            // `gap - 1` packets, then candidates until one goes.
            PacketFault::Reorder { reorder, gap, .. } => {
                1.0 / (f64::from(gap.saturating_sub(1)) + 1.0 / reorder.as_f64())
            }
            PacketFault::Bandwidth { .. } => 1.0,
        }
    }
}

/// Losses in bursts: a link that is good or bad, each with its own loss (Gilbert 1960, Elliott
/// 1963). Netem's `gemodel p r 1-h 1-k`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GilbertElliott {
    /// Chance, a packet, that a good link turns bad.
    pub p: Ratio,
    /// Chance, a packet, that a bad link turns good: bursts last 1/r packets in the mean.
    pub r: Ratio,
    /// Share lost while bad; netem's 1-h.
    pub bad_loss: Ratio,
    /// Share lost while good; netem's 1-k.
    pub good_loss: Ratio,
}

impl GilbertElliott {
    /// Share of packets lost in the long run.
    pub fn share(&self) -> f64 {
        let bad = self.bad_share();
        bad * self.bad_loss.as_f64() + (1.0 - bad) * self.good_loss.as_f64()
    }

    /// Share of packets that meet a bad link.
    pub fn bad_share(&self) -> f64 {
        let (p, r) = (self.p.as_f64(), self.r.as_f64());
        if p + r > 0.0 { p / (p + r) } else { 0.0 }
    }

    /// Variance of the number lost of `sent` packets in a row, for many of them: that of independent
    /// losses, and what bursts add (a sum of covariances that shrink by 1 - p - r a packet).
    pub fn lost_variance(&self, sent: u32) -> f64 {
        let (bad, share) = (self.bad_share(), self.share());
        let again = 1.0 - self.p.as_f64() - self.r.as_f64();
        let difference = self.bad_loss.as_f64() - self.good_loss.as_f64();
        let bursts = 2.0 * bad * (1.0 - bad) * difference.powi(2) * again / (1.0 - again);
        f64::from(sent) * (share * (1.0 - share) + bursts).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Direction, FaultKind, LinkSelection};

    fn ratio(share: f64) -> Ratio {
        Ratio::new(share).expect("a share")
    }

    #[test]
    fn a_fault_of_packets_stands_in_a_plan_like_any_other() {
        let narrow = PacketFault::Bandwidth {
            rate: "10mbit".parse().expect("a rate"),
            buffer: Bytes(3000),
            limit: Bytes(60_000),
        };
        let links = LinkSelection {
            direction: Direction::From,
            peers: vec!["c1".to_owned()],
            ports: [6379].into_iter().collect(),
        };
        let kind = FaultKind::Packets {
            fault: narrow,
            links,
        };
        let json = serde_json::to_value(&kind).unwrap();
        assert_eq!(json["kind"], "bandwidth");
        assert_eq!(json["rate"], "10mbit");
        assert_eq!(json["ports"], serde_json::json!([6379]));
        assert_eq!(serde_json::from_value::<FaultKind>(json).unwrap(), kind);
    }

    #[test]
    fn shares_are_those_of_the_long_run() {
        let bursts = GilbertElliott {
            p: ratio(0.01),
            r: ratio(0.09),
            bad_loss: ratio(0.5),
            good_loss: ratio(0.0),
        };
        assert!((bursts.share() - 0.05).abs() < 1e-12);
        assert!(bursts.lost_variance(100) > 100.0 * 0.05 * 0.95);
        let reorder = PacketFault::Reorder {
            latency: Duration::from_millis(10),
            reorder: ratio(0.5),
            correlation: ratio(0.0),
            gap: 4,
        };
        assert!((reorder.share() - 0.2).abs() < 1e-12);
    }
}
