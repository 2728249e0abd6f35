use std::io::Write;

use engine::{ContainerId, Engine};
use fault::{Fault, Kind};
use jiff::{SignedDuration, Timestamp};
use logs::{Entry, LogReader, ReadOptions, Stream};
use monitor::{LogDriver, Request, Session, WaitFor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{Failed, Outcome};

/// How often a container without a monitor is looked at: its state changes only when somebody starts it.
const IDLE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or id
    container: String,
    /// Go on with what it writes later, until it ends
    #[arg(short, long)]
    follow: bool,
    /// Only what was written since a time, such as 2026-01-02T13:23:37Z, 1700000000 or 42m (ago)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was written before a time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "N", default_value = "all")]
    tail: String,
    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Accepted for docker's sake: there are no details
    #[arg(long)]
    details: bool,
}

/// The output is not kept.
#[derive(Debug, thiserror::Error)]
#[error("configured logging driver does not support reading")]
struct NotKept;

impl Fault for NotKept {
    fn kind(&self) -> Kind {
        Kind::Unsupported
    }

    fn hint(&self) -> Option<String> {
        Some("it was created with --log-driver none; only an attached client sees its output".into())
    }
}

/// A time or number that is none.
#[derive(Debug, thiserror::Error)]
#[error("invalid value for \"{flag}\": {value:?} is {why}")]
struct BadValue {
    flag: &'static str,
    value: String,
    why: &'static str,
}

impl Fault for BadValue {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        let id = engine.resolve(&self.container)?;
        let now = Timestamp::now();
        let time =
            |flag, text: &Option<String>| text.as_deref().map(|text| parse_time(flag, text, now)).transpose();
        let options = ReadOptions {
            tail: parse_tail(&self.tail)?,
            since: time("since", &self.since)?,
            until: time("until", &self.until)?,
            follow: self.follow,
        };
        if engine.inspect(&id)?.spec.log.driver == LogDriver::None {
            return Err(NotKept.into());
        }
        let dir = engine.log_of(&id);
        if self.follow {
            // There is nothing to watch before the first start.
            std::fs::create_dir_all(&dir)?;
        }
        let mut reader = LogReader::open(&dir, options)?;
        loop {
            // Before what is there is read: what was written by an end that is known now is in the file already.
            let waiting = if self.follow { waiter(engine, &id)? } else { None };
            self.print_all(&mut reader)?;
            if !self.follow || reader.is_finished() {
                return Ok(0);
            }
            match waiting {
                Some(session) => self.until_end(&mut reader, session)?,
                None => return self.print_all(&mut reader).map(|()| 0),
            }
        }
    }

    fn print_all(&self, reader: &mut LogReader) -> Result<(), Failed> {
        let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
        while let Some(entry) = reader.try_next()? {
            match entry.stream {
                Stream::Stdout => self.print(&mut out, &entry)?,
                Stream::Stderr => self.print(&mut err, &entry)?,
            }
        }
        out.flush()?;
        Ok(())
    }

    fn print(&self, to: &mut impl Write, entry: &Entry) -> std::io::Result<()> {
        if self.timestamps {
            write!(to, "{} ", entry.time)?;
        }
        to.write_all(&entry.log)
    }

    /// Prints what comes until the container has ended.
    fn until_end(&self, reader: &mut LogReader, mut session: Session) -> Result<(), Failed> {
        loop {
            let ended = match session.try_next() {
                Ok(Some(
                    monitor::Incoming::Closed | monitor::Incoming::Event(monitor::Event::Exited { .. }, _),
                )) => true,
                Ok(Some(_)) => continue,
                Ok(None) => false,
                Err(error) => return Err(error.into()),
            };
            self.print_all(reader)?;
            if ended || reader.is_finished() {
                return Ok(());
            }
            let mut fds = vec![PollFd::new(&session, PollFlags::IN)];
            let watch = reader.watch_fd();
            fds.extend(watch.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
            match poll(&mut fds, Some(&IDLE)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(std::io::Error::from(errno).into()),
            }
        }
    }
}

/// A session that hears of the end of a container that runs; none where it does not run.
fn waiter(engine: &Engine, id: &ContainerId) -> Result<Option<Session>, Failed> {
    let Some(session) = engine.live_session(id)? else { return Ok(None) };
    match session.send(&Request::Wait { condition: WaitFor::NotRunning }, &[]) {
        Ok(()) => Ok(Some(session)),
        // It has ended meanwhile.
        Err(monitor::Error::Gone) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn parse_tail(text: &str) -> Result<Option<u64>, BadValue> {
    match text.parse::<i64>() {
        _ if text == "all" => Ok(None),
        // docker takes a negative number as all.
        Ok(number) => Ok(u64::try_from(number).ok()),
        Err(_) => Err(BadValue { flag: "tail", value: text.into(), why: "neither a number nor all" }),
    }
}

/// docker's times: RFC 3339 (a date alone, or without a zone, in local time), Unix seconds, or how long ago.
fn parse_time(flag: &'static str, text: &str, now: Timestamp) -> Result<logs::Timestamp, BadValue> {
    let bad = || BadValue { flag, value: text.into(), why: "no time" };
    let seconds = || {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
        Timestamp::new(whole.parse().ok()?, nanos).ok()
    };
    let local = || {
        let time = text.parse::<jiff::civil::DateTime>().or_else(|_| {
            text.parse::<jiff::civil::Date>().map(|date| date.to_datetime(jiff::civil::Time::midnight()))
        });
        time.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    let ago = || {
        let duration: SignedDuration = text.parse().ok()?;
        now.checked_sub(duration).ok()
    };
    let time = text.parse::<Timestamp>().ok().or_else(seconds).or_else(local).or_else(ago).ok_or_else(bad)?;
    logs::Timestamp::parse(&time.to_string()).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_docker_takes_them() {
        let now = "2026-01-02T03:04:05Z".parse::<Timestamp>().unwrap();
        for (text, expected) in [
            ("2026-01-01T00:00:00Z", Some("2026-01-01T00:00:00Z")),
            ("2026-01-01T00:00:00", Some("2026-01-01T00:00:00Z")),
            ("2026-01-01", Some("2026-01-01T00:00:00Z")),
            ("1700000000", Some("2023-11-14T22:13:20Z")),
            ("1700000000.12", Some("2023-11-14T22:13:20.12Z")),
            ("10m", Some("2026-01-02T02:54:05Z")),
            ("1h30m", Some("2026-01-02T01:34:05Z")),
            ("yesterday", None),
            ("", None),
        ] {
            let time = parse_time("since", text, now).ok().map(|time| time.to_string());
            assert_eq!(time.as_deref(), expected, "{text}");
        }
        assert_eq!(parse_tail("all").unwrap(), None);
        assert_eq!(parse_tail("7").unwrap(), Some(7));
        assert_eq!(parse_tail("-1").unwrap(), None);
        assert!(parse_tail("x").is_err());
    }
}
