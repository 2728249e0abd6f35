//! When a container starts again by itself: docker's rules.

use std::time::Duration;

use crate::task::{RestartOn, RestartPolicy};

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length makes the next pause the first again.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// The pauses between the runs of one container.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// The pause after a run of the length `ran`.
    pub(super) fn next(&mut self, ran: Duration) -> Duration {
        let pause = match self.last {
            Some(last) if ran < GOOD_RUN => (last * 2).min(LONGEST),
            _ => FIRST,
        };
        self.last = Some(pause);
        pause
    }
}

/// Whether a container that ended with `exit_code` after `restarts` automatic restarts starts again.
pub(super) fn wanted(policy: RestartPolicy, exit_code: i32, stopped_by_user: bool, restarts: u32) -> bool {
    if stopped_by_user {
        return false;
    }
    match policy.policy {
        RestartOn::No => false,
        RestartOn::Always | RestartOn::UnlessStopped => true,
        RestartOn::OnFailure => exit_code != 0 && (policy.max == 0 || restarts < policy.max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_good_run() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..12).map(|_| backoff.next(Duration::from_secs(1)).as_millis()).collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[9..], [51_200, 60_000, 60_000]);
        assert_eq!(backoff.next(Duration::from_secs(10)).as_millis(), 100);
        assert_eq!(backoff.next(Duration::from_secs(9)).as_millis(), 200);
    }

    #[test]
    fn policies() {
        let policy = |policy, max| RestartPolicy { policy, max };
        for (policy, code, by_user, restarts, expected) in [
            (policy(RestartOn::No, 0), 1, false, 0, false),
            (policy(RestartOn::Always, 0), 0, false, 9, true),
            (policy(RestartOn::Always, 0), 137, true, 0, false),
            (policy(RestartOn::UnlessStopped, 0), 0, false, 0, true),
            (policy(RestartOn::UnlessStopped, 0), 0, true, 0, false),
            (policy(RestartOn::OnFailure, 0), 0, false, 0, false),
            (policy(RestartOn::OnFailure, 0), 1, false, 99, true),
            (policy(RestartOn::OnFailure, 2), 1, false, 1, true),
            (policy(RestartOn::OnFailure, 2), 1, false, 2, false),
        ] {
            assert_eq!(wanted(policy, code, by_user, restarts), expected, "{policy:?} {code}");
        }
    }
}
