//! How slow a server may be: a least rate for what it sends, and a longest time for what has to come whole.
//!
//! A silent server is given up by the sockets' own timeouts; these bounds are for the one that sends a byte now and
//! then, for ever.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Longest time that one connection may take, however much is to come over it.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Bounds of slowness.
#[derive(Debug, Clone)]
pub struct Pace {
    /// A connection on which fewer bytes than this came ...
    pub least: u64,
    /// ... while they were waited for so long is given up; a download goes on over another one.
    pub window: Duration,
    /// Longest time for the head of an answer, and for the whole of one that is a document.
    pub document: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        // A thousand bytes a second, as dnf and git hosts have it: a modem is faster.
        Self { least: 60_000, window: Duration::from_secs(60), document: Duration::from_secs(120) }
    }
}

impl Pace {
    /// Longest time for `bytes` to go over one connection: what they take at the least rate.
    pub(crate) fn longest(&self, bytes: Option<u64>) -> Duration {
        let windows = bytes.map_or(f64::INFINITY, |bytes| bytes as f64 / self.least.max(1) as f64);
        let moving = Duration::try_from_secs_f64(windows * self.window.as_secs_f64()).unwrap_or(LONGEST);
        self.document.saturating_add(moving).min(LONGEST)
    }
}

/// A body that fails when it comes too slowly. What its reader does in between counts for nothing.
pub(crate) struct Paced<R> {
    inner: R,
    pace: Pace,
    waited: Duration,
    came: u64,
}

impl<R: Read> Paced<R> {
    pub(crate) fn new(inner: R, pace: &Pace) -> Self {
        Self { inner, pace: pace.clone(), waited: Duration::ZERO, came: 0 }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        let n = self.inner.read(buf)?;
        self.waited += begun.elapsed();
        self.came += n as u64;
        if n == 0 || self.waited < self.pace.window {
            return Ok(n);
        }
        if self.came < self.pace.least {
            let why = format!("{} bytes in {:.1} s are too slow", self.came, self.waited.as_secs_f64());
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        (self.waited, self.came) = (Duration::ZERO, 0);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte, or what there is room for, after a while.
    struct Drip(Duration, usize);

    impl Read for Drip {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(self.0);
            Ok(self.1.min(buf.len()))
        }
    }

    fn pace(least: u64) -> Pace {
        Pace { least, window: Duration::from_millis(20), document: Duration::from_secs(1) }
    }

    #[test]
    fn what_drips_is_given_up_and_what_flows_is_not() {
        let mut drip = Paced::new(Drip(Duration::from_millis(5), 1), &pace(100));
        let error = io::copy(&mut drip, &mut io::sink()).expect_err("too slow");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let mut buf = [0; 100];
        let mut flow = Paced::new(Drip(Duration::from_millis(5), 100), &pace(100));
        assert!((0..20).all(|_| flow.read(&mut buf).is_ok_and(|n| n == 100)));
    }

    #[test]
    fn a_reader_that_takes_its_time_is_not_the_server_s_fault() {
        let mut quick = Paced::new(Drip(Duration::ZERO, 1), &pace(100));
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(20));
            assert!(quick.read(&mut [0]).is_ok());
        }
    }

    #[test]
    fn the_longest_time_grows_with_the_size_to_a_day() {
        let pace = Pace::default();
        assert_eq!(pace.longest(Some(0)), pace.document);
        assert_eq!(pace.longest(Some(60_000)), pace.document + pace.window);
        for endless in [Some(u64::MAX), None] {
            assert_eq!(pace.longest(endless), LONGEST);
        }
        assert_eq!(Pace { least: 0, ..pace }.longest(Some(u64::MAX)), LONGEST);
    }
}
