//! How often and how long to try again: exponential backoff with jitter, bounded in attempts and in total.

use std::time::Duration;

/// A transfer has got on when this many bytes came through since the last failure: less would let a server
/// that sends a byte at a time keep us for ever.
const PROGRESS: u64 = 1 << 20;

/// Bounds of trying again.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Attempts in a row without progress.
    pub attempts: u32,
    /// Wait after the first failure; each further one doubles it.
    pub base: Duration,
    /// Longest wait of our own choice between two attempts.
    pub cap: Duration,
    /// Longest sum of all waits of one operation, those that a server asks for included.
    pub total: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 6,
            base: Duration::from_millis(300),
            cap: Duration::from_secs(30),
            total: Duration::from_secs(600),
        }
    }
}

/// The state of one operation's attempts.
#[derive(Debug)]
pub(crate) struct Patience {
    retry: Retry,
    failures: u32,
    waited: Duration,
    moved: u64,
}

impl Patience {
    pub(crate) fn new(retry: &Retry) -> Self {
        Self { retry: retry.clone(), failures: 0, waited: Duration::ZERO, moved: 0 }
    }

    /// Notes bytes that came through.
    pub(crate) fn progress(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
        if self.moved >= PROGRESS {
            self.failures = 0;
        }
    }

    /// After a failure: waits, then says whether to try again. A server's own wish is kept to, or, where it
    /// is beyond our bound, we give up at once.
    pub(crate) fn again(&mut self, wish: Option<Duration>) -> bool {
        self.moved = 0;
        self.failures += 1;
        let wait = self.wait(wish);
        let total = self.waited.saturating_add(wait);
        if self.failures >= self.retry.attempts || total > self.retry.total {
            return false;
        }
        self.waited = total;
        std::thread::sleep(wait);
        true
    }

    fn wait(&self, wish: Option<Duration>) -> Duration {
        let doubled = self.retry.base.saturating_mul(1 << (self.failures - 1).min(20)).min(self.retry.cap);
        // Half of it at least, so that the waits grow; the rest by chance, so that many do not return at once.
        let own = doubled.mul_f64(0.5 + fastrand::f64() / 2.0);
        wish.map_or(own, |wish| wish.max(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick(attempts: u32) -> Patience {
        let ms = Duration::from_millis;
        Patience::new(&Retry { attempts, base: ms(1), cap: ms(2), total: ms(50) })
    }

    #[test]
    fn attempts_are_bounded_and_renewed_by_progress() {
        let mut patience = quick(3);
        assert!(patience.again(None) && patience.again(None));
        assert!(!patience.again(None));
        patience.progress(PROGRESS);
        assert!(patience.again(None));
        patience.progress(PROGRESS - 1);
        assert!(patience.again(None));
        patience.progress(PROGRESS - 1);
        assert!(!patience.again(None), "two small steps with a failure between them are no progress");
    }

    #[test]
    fn the_sum_of_waits_is_bounded_and_wishes_count() {
        assert!(!quick(9).again(Some(Duration::from_secs(3600))));
        let mut patience = quick(u32::MAX);
        let mut tries = 0;
        while patience.again(None) {
            tries += 1;
            assert!(tries < 200, "never gives up");
        }
    }

    #[test]
    fn waits_grow_to_the_cap() {
        let mut patience = quick(9);
        for failures in 1..40 {
            patience.failures = failures;
            assert!(patience.wait(None) <= Duration::from_millis(2));
            assert!(patience.wait(None) >= Duration::from_micros(500));
        }
    }
}
