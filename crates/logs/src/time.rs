use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment in UTC with nanoseconds, as log lines carry it (RFC 3339).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    seconds: i64,
    /// Nanoseconds after that second, below 10^9.
    nanos: u32,
}

/// 9999-12-31T23:59:59Z, the last second RFC 3339 can write.
const MAX_SECONDS: i64 = 253_402_300_799;

impl Timestamp {
    /// Now.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// A moment by its distance from 1970; none outside the years 0 to 9999.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        ((-62_167_219_200..=MAX_SECONDS).contains(&seconds) && nanos < 1_000_000_000)
            .then_some(Self { seconds, nanos })
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after [`Timestamp::seconds`].
    pub fn nanos(self) -> u32 {
        self.nanos
    }

    /// Reads RFC 3339 (`2006-01-02T15:04:05.999999999Z`, or with an offset); digits after the ninth are dropped.
    /// None when it is anything else. A leap second counts as the second before it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let fixed = bytes.get(..19)?;
        if fixed[4] != b'-'
            || fixed[7] != b'-'
            || !matches!(fixed[10], b'T' | b't' | b' ')
            || fixed[13] != b':'
            || fixed[16] != b':'
        {
            return None;
        }
        let (year, month, day) = (number(&fixed[..4])?, number(&fixed[5..7])?, number(&fixed[8..10])?);
        let (hour, minute, second) =
            (number(&fixed[11..13])?, number(&fixed[14..16])?, number(&fixed[17..19])?);
        if !(1..=12).contains(&month)
            || day < 1
            || day > days_in(year, month)
            || hour > 23
            || minute > 59
            || second > 60
        {
            return None;
        }
        let (nanos, zone) = fraction(&bytes[19..])?;
        let seconds =
            days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second.min(59);
        Self::new(seconds - offset(zone)?, nanos)
    }

    /// Writes it as docker's log files have it: nanoseconds without trailing zeros.
    pub fn write_to(self, out: &mut Vec<u8>) {
        let mut text = self.digits();
        let mut end = 29;
        if self.nanos == 0 {
            end = 19;
        } else {
            while text[end - 1] == b'0' {
                end -= 1;
            }
        }
        text[end] = b'Z';
        out.extend_from_slice(&text[..=end]);
    }

    /// As `docker logs --timestamps` shows it: always nine digits.
    pub fn fixed(self) -> String {
        let mut text = self.digits();
        text[29] = b'Z';
        text.iter().map(|&byte| char::from(byte)).collect()
    }

    /// `2006-01-02T15:04:05.000000000` and one byte of room.
    fn digits(self) -> [u8; 30] {
        let (year, month, day) = civil_from_days(self.seconds.div_euclid(86_400));
        let second = self.seconds.rem_euclid(86_400);
        let mut text = *b"0000-00-00T00:00:00.000000000 ";
        put(&mut text[..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        put(&mut text[11..13], second / 3_600);
        put(&mut text[14..16], second / 60 % 60);
        put(&mut text[17..19], second % 60);
        put(&mut text[20..29], i64::from(self.nanos));
        text
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = (i128::from(self.seconds) - i128::from(earlier.seconds)) * 1_000_000_000
            + i128::from(self.nanos)
            - i128::from(earlier.nanos);
        Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(MAX_SECONDS).min(MAX_SECONDS);
        Self { seconds, nanos: since.subsec_nanos() }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(30);
        self.write_to(&mut text);
        text.iter().try_for_each(|&byte| fmt::Write::write_char(f, char::from(byte)))
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

fn put(digits: &mut [u8], mut value: i64) {
    for digit in digits.iter_mut().rev() {
        // value % 10 is 0..=9, since no part of a valid moment is negative.
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The optional fraction of a second, and what follows it.
fn fraction(rest: &[u8]) -> Option<(u32, &[u8])> {
    let Some(digits) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let nanos = (0..9).fold(0, |sum, i| sum * 10 + if i < count { u32::from(digits[i] - b'0') } else { 0 });
    Some((nanos, &digits[count..]))
}

/// Seconds east of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), hours @ .., b':', m1, m2] if hours.len() == 2 => {
            let (hours, minutes) = (number(hours)?, number(&[*m1, *m2])?);
            let seconds = hours * 3_600 + minutes * 60;
            (hours < 24 && minutes < 60).then_some(if *sign == b'+' { seconds } else { -seconds })
        }
        _ => None,
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. Years are counted from March, so that the leap day is the
/// last of its year; 400 years have 146097 days, and 0000-03-01 lies 719468 days before 1970.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * of_era + of_era / 4 - of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 500_000_000, "2000-02-29T00:00:00.5Z"),
            (1_700_000_000, 1, "2023-11-14T22:13:20.000000001Z"),
            (1_709_164_800, 120_000_000, "2024-02-29T00:00:00.12Z"),
            (MAX_SECONDS, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
            (-1, 0, "1969-12-31T23:59:59Z"),
        ] {
            let time = Timestamp::new(seconds, nanos).unwrap();
            assert_eq!(time.to_string(), text);
            assert_eq!(Timestamp::parse(text), Some(time));
        }
        assert_eq!(Timestamp::new(0, 0).unwrap().fixed(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(Timestamp::parse("1970-01-01T02:00:00.1234567891+02:00").unwrap().nanos(), 123_456_789);
        assert_eq!(Timestamp::parse("1970-01-01T02:00:00+02:00").unwrap().seconds(), 0);
        assert_eq!(Timestamp::parse("1969-12-31T19:00:00-05:00").unwrap().seconds(), 0);
    }

    #[test]
    fn what_is_no_moment() {
        for text in [
            "",
            "x",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-02-29T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00+2:00",
            "1970-01-01T00:00:00+24:00",
            "1970-13-01T00:00:00Z",
            "1970-01-01T00:00:00Zx",
            "+970-01-01T00:00:00Z",
            "1970-01-00T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(seconds in 0i64..=MAX_SECONDS, nanos in 0u32..1_000_000_000) {
            let time = Timestamp::new(seconds, nanos).unwrap();
            prop_assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
            prop_assert_eq!(Timestamp::parse(&time.fixed()), Some(time));
        }

        #[test]
        fn any_text(text in "\\PC{0,40}") {
            let _ = Timestamp::parse(&text);
        }
    }
}
