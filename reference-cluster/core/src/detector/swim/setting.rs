//! What does not change while a member runs, and what grows with the logarithm of the group.
//!
//! A claim reaches everybody in about log n rounds of gossip, so the time to object and the number
//! of times a claim is told grow with log n too (SWIM 2002, section 4.1). Logarithms are counted in
//! integers: those of the platform's library differ in the last bit between machines.

use std::sync::Arc;

use shakedown_contracts::strategy::Swim as Options;
use shakedown_contracts::units::Duration;

use crate::detector::Group;
use crate::flaw::Planted;
use crate::interface::Peer;
use crate::node::ConfigError;

/// Largest factor: a probe interval of a minute then still gives moments within 64 bits.
const FACTOR_MAX: u32 = 1_000;
/// Bits behind the point of a logarithm.
const FRACTION_BITS: u32 = 16;

/// Members and options.
#[derive(Debug, Clone)]
pub struct Setting {
    /// As configured.
    pub options: Options,
    /// Names of all members.
    pub names: Arc<[String]>,
    /// This one; a companion has a number behind the members'.
    pub me: Peer,
    /// In tests alone.
    pub planted: Planted,
}

impl Setting {
    /// Of the member `group.me`.
    ///
    /// # Errors
    /// Times and factors that cannot work.
    pub fn new(options: &Options, group: &Group) -> Result<Self, ConfigError> {
        check(options)?;
        Ok(Setting {
            options: options.clone(),
            names: Arc::clone(&group.names),
            me: group.me,
            planted: group.planted,
        })
    }

    /// Members; this one too, unless it is a companion that watches and is not watched.
    pub fn size(&self) -> u32 {
        self.names.len() as u32
    }

    /// There is nobody else to watch.
    pub fn is_alone(&self) -> bool {
        let others = self.size() - u32::from(self.me.0 < self.size());
        others == 0
    }

    /// Time to object of a suspect that enough members suspect.
    pub fn suspicion_least(&self) -> Duration {
        let size = u64::from(self.size().max(10));
        let unit = self.options.probe_interval.as_nanos();
        let product = u128::from(unit)
            * u128::from(self.options.suspicion_mult)
            * u128::from(binary_logarithm(size));
        let nanos = product / u128::from(binary_logarithm(10));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Members whose suspicion shortens the time to object, beside the first; 0 where it is the
    /// least from the beginning: without `dogpile`, and where nobody is left to confirm.
    pub fn confirmations(&self) -> u32 {
        let wanted = self.options.suspicion_mult.saturating_sub(2);
        // The suspect and the first to suspect it confirm nothing.
        let enough = self.size().saturating_sub(2) >= wanted;
        match self.options.dogpile && enough {
            true => wanted,
            false => 0,
        }
    }

    /// Time to object after `confirmed` confirmations (Lifeguard 2018, section IV.B):
    /// max(least, longest − (longest − least) · log(confirmed + 1) ÷ log(confirmations + 1)).
    pub fn suspicion(&self, confirmed: u32) -> Duration {
        let least = self.suspicion_least();
        let wanted = self.confirmations();
        if confirmed >= wanted {
            return least;
        }
        let factor = u64::from(self.options.suspicion_max_timeout_mult);
        let longest = Duration::from_nanos(least.as_nanos().saturating_mul(factor));
        let shrinks = u128::from(longest.saturating_sub(least).as_nanos())
            * u128::from(binary_logarithm(u64::from(confirmed) + 1))
            / u128::from(binary_logarithm(u64::from(wanted) + 1));
        longest.saturating_sub(Duration::from_nanos(shrinks as u64))
    }

    /// Times that a member tells one claim.
    pub fn transmissions_max(&self) -> u32 {
        // ⌈log₁₀(n + 1)⌉ is the number of decimal digits of n.
        let digits = self.size().max(1).ilog10() + 1;
        self.options.retransmit_mult.saturating_mul(digits)
    }

    /// How long a member that probes for another waits before it says that it heard nothing: 80 % of
    /// what its answer may take to be of use.
    pub fn patience_for_others(&self) -> Duration {
        let timeout = self.options.probe_timeout;
        let rest = self.options.probe_interval.saturating_sub(timeout);
        Duration::from_nanos(timeout.min(rest).as_nanos() / 5 * 4)
    }
}

fn check(options: &Options) -> Result<(), ConfigError> {
    let refused = |key, value: String, hint| Err(ConfigError::Value { key, value, hint });
    let (interval, timeout) = (options.probe_interval, options.probe_timeout);
    if interval < Duration::from_millis(1) || interval > Duration::from_secs(60) {
        let hint = "give 1ms to 1m";
        return refused("detector.probe_interval", interval.to_string(), hint);
    }
    if timeout.is_zero() || timeout >= interval {
        let hint = "give less than the probe interval, so that others can be asked within it";
        return refused("detector.probe_timeout", timeout.to_string(), hint);
    }
    if options.gossip_interval < Duration::from_millis(1) {
        let hint = "give at least 1ms";
        let value = options.gossip_interval.to_string();
        return refused("detector.gossip_interval", value, hint);
    }
    let factors = [
        ("detector.suspicion_mult", options.suspicion_mult, 0),
        (
            "detector.suspicion_max_timeout_mult",
            options.suspicion_max_timeout_mult,
            1,
        ),
        (
            "detector.awareness_max_multiplier",
            options.awareness_max_multiplier,
            1,
        ),
        ("detector.retransmit_mult", options.retransmit_mult, 1),
        ("detector.indirect_checks", options.indirect_checks, 0),
    ];
    for (key, factor, least) in factors {
        if !(least..=FACTOR_MAX).contains(&factor) {
            let hint = "give 1 to 1000; only suspicion_mult and indirect_checks may be 0";
            return refused(key, factor.to_string(), hint);
        }
    }
    Ok(())
}

/// log₂ of a number above 0, in units of 2⁻¹⁶, rounded down.
fn binary_logarithm(number: u64) -> u64 {
    let whole = number.ilog2();
    // Between 1 and 2, with 63 bits behind the point.
    let mut rest = u128::from(number) << 63 >> whole;
    let mut logarithm = u64::from(whole);
    for _ in 0..FRACTION_BITS {
        // Squaring doubles the logarithm: what comes to 2 or more has the next bit set.
        rest = (rest * rest) >> 63;
        let bit = rest >> 64;
        rest >>= bit;
        logarithm = logarithm << 1 | bit as u64;
    }
    logarithm
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn setting(size: u32, change: impl FnOnce(&mut Options)) -> Setting {
        let mut options = Options::default();
        change(&mut options);
        Setting::new(&options, &Group::of_size(size)).unwrap()
    }

    #[test]
    fn logarithms_are_those_of_the_library_to_sixteen_bits() {
        for number in (1..2_000).chain([10_000, 1 << 40, u64::MAX]) {
            let exact = (number as f64).log2();
            let counted = binary_logarithm(number) as f64 / 65_536.0;
            assert!(
                (exact - counted).abs() < 2.0 / 65_536.0,
                "{number}: {counted}, not {exact}"
            );
        }
    }

    #[test]
    fn time_to_object_and_tellings_grow_with_the_logarithm_of_the_group() {
        for (size, seconds, tellings) in [
            (2, 4.0, 4),
            (9, 4.0, 4),
            (10, 4.0, 8),
            (99, 7.98, 8),
            (100, 8.0, 12),
            (10_000, 16.0, 20),
        ] {
            let setting = setting(size, |_| {});
            let least = setting.suspicion_least().as_secs_f64();
            assert!((least - seconds).abs() < 0.01, "{size}: {least} s");
            assert_eq!(setting.transmissions_max(), tellings, "{size}");
        }
    }

    #[test]
    fn time_to_object_shrinks_from_six_times_the_least_with_each_confirmation() {
        let setting = setting(10, |options| options.suspicion_mult = 5);
        assert_eq!(setting.confirmations(), 3);
        let seconds: Vec<f64> = (0..5)
            .map(|confirmed| setting.suspicion(confirmed).as_secs_f64())
            .collect();
        // 30 − 25 · log(c + 1) ÷ log 4.
        for (counted, exact) in seconds.iter().zip([30.0, 17.5, 10.188, 5.0, 5.0]) {
            assert!((counted - exact).abs() < 0.01, "{seconds:?}");
        }
    }

    #[test]
    fn without_dogpile_or_with_too_few_members_the_least_is_all_there_is() {
        let alone = setting(3, |_| {});
        let fixed = setting(10, |options| options.dogpile = false);
        for setting in [alone, fixed] {
            assert_eq!(setting.suspicion(0), setting.suspicion_least());
        }
    }

    #[test]
    fn times_and_factors_that_cannot_work_are_refused() {
        let wrong: [fn(&mut Options); 6] = [
            |options| options.probe_interval = Duration::ZERO,
            |options| options.probe_timeout = options.probe_interval,
            |options| options.probe_timeout = Duration::ZERO,
            |options| options.gossip_interval = Duration::ZERO,
            |options| options.awareness_max_multiplier = 0,
            |options| options.indirect_checks = FACTOR_MAX + 1,
        ];
        for change in wrong {
            let mut options = Options::default();
            change(&mut options);
            assert!(
                Setting::new(&options, &Group::of_size(3)).is_err(),
                "{options:?}"
            );
        }
    }
}
