//! Sizes and times as people read them, in docker's words.

use jiff::Timestamp;

/// `4.19MB`: decimal units, four digits at the most, as docker prints sizes.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    // Go's %.4g, without an exponent.
    let digits = match value {
        v if v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// `5 minutes ago`, from an RFC 3339 time; `N/A` for a text that is none.
pub(crate) fn ago(time: &str, now: Timestamp) -> String {
    if time.parse::<Timestamp>().is_err() {
        return "N/A".into();
    }
    format!("{} ago", since(time, now))
}

/// `5 minutes`, from an RFC 3339 time; `N/A` for a text that is none.
pub(crate) fn since(time: &str, now: Timestamp) -> String {
    let Ok(time) = time.parse::<Timestamp>() else { return "N/A".into() };
    duration(now.duration_since(time).as_secs().max(0))
}

/// docker's `HumanDuration`: one unit, rounded down, with words for the small ones.
fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (4_190_000, "4.19MB"),
            (123_456_789, "123.5MB"),
            (7_000_000_000, "7GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 21, "3 weeks"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(ago("yesterday", Timestamp::UNIX_EPOCH), "N/A");
        assert_eq!(ago("1970-01-01T00:00:00Z", Timestamp::from_second(30).unwrap()), "30 seconds ago");
    }
}
