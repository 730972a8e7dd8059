//! When scavenges are due, and whose turn it is. Only arithmetic on times of UTC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const DAY: u64 = 86_400;
const WEEK: u64 = 7 * DAY;

/// In the order of the days after 1970-01-01, which was a Thursday.
const DAYS: [&str; 7] = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];

/// A moment of every day, or of one day of every week, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From 1970-01-01 to the first moment, in seconds.
    offset: u64,
    /// From one moment to the next, in seconds.
    period: u64,
}

/// It is not such a moment.
#[derive(Debug, PartialEq, Eq)]
pub struct NotASchedule;

impl FromStr for Schedule {
    type Err = NotASchedule;

    /// `03:00` or `03:00:30` for every day, `Sun 03:00` for one day of the week.
    fn from_str(text: &str) -> Result<Self, NotASchedule> {
        let (day, time) = match text.split_once(' ') {
            Some((day, time)) => (Some(day), time.trim_start()),
            None => (None, text),
        };
        let mut parts = time.split(':');
        let mut part = |limit: u64| {
            let part = parts.next()?;
            let is_number = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_digit());
            part.parse().ok().filter(|value| is_number && *value < limit)
        };
        let (hours, minutes) = part(24).zip(part(60)).ok_or(NotASchedule)?;
        let seconds = if time.len() > 5 { part(60).ok_or(NotASchedule)? } else { 0 };
        if parts.next().is_some() {
            return Err(NotASchedule);
        }
        let of_day = (hours * 60 + minutes) * 60 + seconds;
        let Some(day) = day else { return Ok(Self { offset: of_day, period: DAY }) };
        let day = DAYS.iter().position(|name| name.eq_ignore_ascii_case(day)).ok_or(NotASchedule)?;
        Ok(Self { offset: day as u64 * DAY + of_day, period: WEEK })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.period == WEEK {
            let day = usize::try_from(self.offset / DAY).unwrap_or_default();
            write!(f, "{} ", DAYS[day % DAYS.len()])?;
        }
        let of_day = self.offset % DAY;
        write!(f, "{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
    }
}

impl Schedule {
    /// From one moment to the next.
    pub(crate) fn period(self) -> Duration {
        Duration::from_secs(self.period)
    }

    /// The last moment at or before `now`, in seconds since 1970, if `window` is not over since.
    pub(super) fn window(self, now: Duration, window: Duration) -> Option<u64> {
        let begun = now.as_secs().checked_sub(self.offset)? / self.period;
        let start = self.offset + begun * self.period;
        (now.saturating_sub(Duration::from_secs(start)) < window).then_some(start)
    }
}

/// Time is cut into turns of one length from the start of the window on, and the members of the cluster take them one after
/// the other, again and again. Whoever begins does it in a turn of its own and away from its ends: two members cannot
/// begin at once while their clocks differ, and a request takes, less than the margins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns {
    pub(super) length: Duration,
    pub(super) margin: Duration,
}

impl Turns {
    /// Which of `members` may begin so long after the start of the window; nobody in the margins.
    pub(super) fn whose(self, since: Duration, members: usize) -> Option<usize> {
        let (length, margin) = (self.length.as_millis().max(1), self.margin.as_millis());
        let (turn, within) = (since.as_millis() / length, since.as_millis() % length);
        if members == 1 {
            return Some(0);
        }
        let is_inside = within >= margin && within + margin < length;
        let member = usize::try_from(turn % members.max(1) as u128).ok()?;
        is_inside.then_some(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-26T00:00:00Z, a Thursday.
    const THURSDAY: u64 = 1_795_651_200;

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    #[test]
    fn a_time_of_day_or_of_a_day_of_the_week_is_a_schedule() {
        for (text, shown) in [
            ("03:00", "03:00:00"),
            ("23:59:59", "23:59:59"),
            ("Sun 03:00", "sun 03:00:00"),
            ("thu 00:00", "thu 00:00:00"),
        ] {
            assert_eq!(schedule(text).to_string(), shown);
        }
        for bad in [
            "",
            "3:00",
            "24:00",
            "03:60",
            "03:00:60",
            "03",
            "03:00:00:00",
            "Sunday 03:00",
            "Sun",
            "03:0",
            "+3:00",
            "daily",
        ] {
            assert_eq!(bad.parse::<Schedule>(), Err(NotASchedule), "{bad}");
        }
    }

    #[test]
    fn a_window_begins_at_the_moment_and_lasts_its_time() {
        let hour = 3600;
        let long = Duration::from_hours(8);
        for (text, now, start) in [
            ("03:00", THURSDAY + 3 * hour - 1, None),
            ("03:00", THURSDAY + 3 * hour, Some(THURSDAY + 3 * hour)),
            ("03:00", THURSDAY + 11 * hour - 1, Some(THURSDAY + 3 * hour)),
            ("03:00", THURSDAY + 11 * hour, None),
            ("20:00", THURSDAY + 3 * hour, Some(THURSDAY - 4 * hour)),
            ("Thu 03:00", THURSDAY + 4 * hour, Some(THURSDAY + 3 * hour)),
            ("Wed 20:00", THURSDAY + 3 * hour, Some(THURSDAY - 4 * hour)),
            ("Fri 03:00", THURSDAY + 4 * hour, None),
            ("Fri 03:00", THURSDAY + 28 * hour, Some(THURSDAY + 27 * hour)),
        ] {
            assert_eq!(schedule(text).window(Duration::from_secs(now), long), start, "{text} at {now}");
        }
        assert_eq!(schedule("Fri 03:00").window(Duration::from_secs(5), long), None, "before there was a first one");
    }

    #[test]
    fn members_take_turns_and_nobody_begins_in_the_margins() {
        let turns = Turns { length: Duration::from_mins(5), margin: Duration::from_mins(1) };
        for (second, owner) in [
            (0, None),
            (59, None),
            (60, Some(0)),
            (239, Some(0)),
            (240, None),
            (359, None),
            (360, Some(1)),
            (660, Some(2)),
            (960, Some(0)),
            (100_000, Some(0)),
        ] {
            assert_eq!(turns.whose(Duration::from_secs(second), 3), owner, "{second}");
        }
        assert_eq!(turns.whose(Duration::ZERO, 1), Some(0), "a single node need not wait");
        // However clocks differ by up to twice the margin, no two members think that it is theirs.
        for (second, skew) in (0..3600).flat_map(|second| [(second, 60), (second, 119)]) {
            let (one, other) = (Duration::from_secs(second), Duration::from_secs(second + skew));
            let (one, other) = (turns.whose(one, 3), turns.whose(other, 3));
            assert!(one.is_none() || other.is_none() || one == other, "{second} and {skew} later");
        }
    }
}
