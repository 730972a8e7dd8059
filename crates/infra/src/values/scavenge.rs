//! When scavenges begin, as bootstrap reads it (`--scavenge-at`, `--scavenge-window`).

use std::fmt;

use super::MINUTES_OF_DAY;

const DAY: u32 = 86_400;
const WEEK: u32 = 7 * DAY;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A moment of every day, or of one day of every week, UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScavengeTime {
    text: String,
    /// Seconds since midnight.
    of_day: u32,
    weekly: bool,
}

/// How long after that moment a node may still begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScavengeWindow {
    text: String,
    /// Seconds, rounded up.
    seconds: u32,
}

impl ScavengeTime {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (day, time) = match text.split_once(' ') {
            Some((day, time)) => (Some(day), time.trim_start()),
            None => (None, text),
        };
        let two_digits = |text: &str, limit: u32| {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number: &u32| digits && *number < limit)
        };
        let parts: Vec<_> = time.split(':').collect();
        let of_day = match parts.as_slice() {
            [hours, minutes] => two_digits(hours, 24).zip(two_digits(minutes, 60)).map(|(h, m)| (h * 60 + m) * 60),
            [hours, minutes, seconds] => two_digits(hours, 24)
                .zip(two_digits(minutes, 60))
                .zip(two_digits(seconds, 60))
                .map(|((h, m), s)| (h * 60 + m) * 60 + s),
            _ => None,
        };
        let known = day.is_none_or(|day| DAYS.iter().any(|name| name.eq_ignore_ascii_case(day)));
        match of_day.filter(|_| known) {
            Some(of_day) => Ok(Self { text: text.to_owned(), of_day, weekly: day.is_some() }),
            None => Err(format!(
                "`{text}` is not a time of UTC; allowed are for example 03:00 for every day and Sun 03:00 for one day of the week"
            )),
        }
    }

    /// Seconds from one moment to the next.
    pub(crate) fn period(&self) -> u32 {
        if self.weekly { WEEK } else { DAY }
    }

    /// Whether a node may begin, or may have begun a window ago, in the minutes of every day from `minute` on.
    pub(crate) fn meets(&self, window: &ScavengeWindow, minute: u16, minutes: u32) -> bool {
        let day = i64::from(MINUTES_OF_DAY) * 60;
        let (from, until) = (i64::from(self.of_day), i64::from(self.of_day) + i64::from(window.seconds));
        let (other, length) = (i64::from(minute) * 60, i64::from(minutes) * 60);
        // The other comes every day, so that a window of a day or more always meets it.
        until - from >= day || [-day, 0, day].iter().any(|shift| other + shift < until && from < other + shift + length)
    }
}

impl ScavengeWindow {
    /// 1 ms to 168 h.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "ms" => Some(1),
            "s" => Some(1000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let count = digits.parse::<u32>().ok().filter(|_| plain).map(u64::from);
        let millis = count.zip(unit).map(|(count, unit): (u64, u64)| count * unit);
        let seconds = millis.filter(|millis| (1..=u64::from(WEEK) * 1000).contains(millis)).map(|ms| ms.div_ceil(1000));
        match seconds.and_then(|seconds| u32::try_from(seconds).ok()) {
            Some(seconds) => Ok(Self { text: text.to_owned(), seconds }),
            None => Err(format!("`{text}` is not a time of 1ms to 168h, for example 30m, 8h")),
        }
    }

    /// Seconds, rounded up.
    pub(crate) fn seconds(&self) -> u32 {
        self.seconds
    }
}

impl fmt::Display for ScavengeTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ScavengeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_meets_what_comes_every_day() {
        for (at, window, minute, minutes, meets) in [
            ("03:00", "1h", 120, 60, false),
            ("03:00", "1h", 120, 61, true),
            ("03:00", "1h", 240, 60, false),
            ("03:00", "1h", 239, 60, true),
            ("Sun 23:00", "2h", 30, 10, true),
            ("23:00", "30m", 1430, 60, false),
            ("00:30", "1h", 1380, 100, true),
            ("Sun 03:00", "24h", 0, 1, true),
        ] {
            let (at, window) = (ScavengeTime::parse(at).unwrap(), ScavengeWindow::parse(window).unwrap());
            assert_eq!(at.meets(&window, minute, minutes), meets, "{at} {window}, {minute} and {minutes}");
        }
    }
}
