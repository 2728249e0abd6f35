//! When a request is sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// How long a call waits in all because a registry asks for it.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often a request that changes nothing is sent.
pub(crate) const TRIES: u32 = 3;

/// Tells running calls to end. Clones tell the same calls.
///
/// A call looks at it before every request, in every pause, and at every read of a blob: a registry that is silent is
/// waited for until its timeout.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// One that nobody has used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the calls.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the calls are to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Sleeps; false if it was ended.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            if self.is_cancelled() {
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

/// The pause before try `n`, which counts from one.
pub(crate) fn growing(unit: Duration, n: u32) -> Duration {
    unit.saturating_mul(1 << n.saturating_sub(1).min(6))
}

/// How long `Retry-After` says to wait: seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if header.len() > 64 || header.is_empty() {
        return None;
    }
    if header.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 has is longer than anyone waits.
        return Some(Duration::from_secs(header.parse().unwrap_or(u64::MAX)));
    }
    let date = jiff::fmt::rfc2822::parse(header).ok()?;
    let now = jiff::Timestamp::try_from(now).ok()?;
    let seconds = date.timestamp().as_second().saturating_sub(now.as_second());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_000); // Wed, 21 Oct 2015 07:20:00 GMT
        for (header, expected) in [
            ("0", Some(0)),
            (" 12 ", Some(12)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(480)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(header, now), expected.map(Duration::from_secs), "{header}");
        }
    }

    #[test]
    fn a_pause_ends_when_cancelled() {
        let cancel = Cancel::new();
        let other = cancel.clone();
        let thread = std::thread::spawn(move || other.pause(Duration::from_secs(30)));
        cancel.cancel();
        assert!(!thread.join().unwrap());
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_none(text in "\\PC{0,80}|[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{1,9} [0-9:]{0,9} GMT") {
            let _ = retry_after(&text, SystemTime::now());
        }
    }
}
