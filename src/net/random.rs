//! Random bits for message identifiers, jitter and names of incarnations. Not for keys.

use std::hash::{BuildHasher, RandomState};

/// 64 bits that nobody outside can guess: SipHash under a key that the kernel chose (getrandom(2),
/// so it needs no /dev) and the standard library moves on with every use.
pub fn bits() -> u64 {
    RandomState::new().hash_one(())
}

/// A number from 0 to 1, for jitter.
pub fn fraction() -> f64 {
    fraction_of(bits())
}

/// The number from 0 to 1 that such bits make.
pub fn fraction_of(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_do_not_repeat() {
        let mut seen: Vec<u64> = (0..1000).map(|_| bits()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
    }
}
