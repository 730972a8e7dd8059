//! A time of every day.

use std::fmt;

/// How many minutes a day has.
pub(crate) const MINUTES_OF_DAY: u16 = 24 * 60;

/// Hour and minute, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeOfDay {
    hour: u8,
    minute: u8,
}

impl TimeOfDay {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let two_digits = |text: &str| -> Option<u8> {
            (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
        };
        let time = text.split_once(':').and_then(|(hour, minute)| Some((two_digits(hour)?, two_digits(minute)?)));
        match time {
            Some((hour @ 0..24, minute @ 0..60)) => Ok(Self { hour, minute }),
            _ => Err(format!("`{text}` is not a time of day; allowed are 00:00 to 23:59 (UTC)")),
        }
    }

    /// So many minutes later, maybe on the next day.
    pub(crate) fn after(self, minutes: u32) -> Self {
        let of_day = (u32::from(self.minute_of_day()) + minutes) % u32::from(MINUTES_OF_DAY);
        // Both are less than 60.
        let [hour, minute] = [of_day / 60, of_day % 60].map(|part| u8::try_from(part).unwrap_or_default());
        Self { hour, minute }
    }

    /// Minutes since midnight.
    pub(crate) fn minute_of_day(self) -> u16 {
        u16::from(self.hour) * 60 + u16::from(self.minute)
    }

    /// The expression that `EventBridge` and AWS Backup understand (AWS, "Cron expressions reference").
    pub(crate) fn daily(self) -> String {
        format!("cron({} {} * * ? *)", self.minute, self.hour)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_after_midnight_is_of_the_next_day() {
        for (text, minutes, later) in
            [("02:00", 0, "02:00"), ("02:00", 135, "04:15"), ("23:59", 1, "00:00"), ("12:30", 1440, "12:30")]
        {
            assert_eq!(TimeOfDay::parse(text).unwrap().after(minutes).to_string(), later, "{text} and {minutes}");
        }
    }

    #[test]
    fn a_time_of_day_is_a_schedule() {
        for (text, cron) in [("02:00", "cron(0 2 * * ? *)"), ("23:59", "cron(59 23 * * ? *)")] {
            let time = TimeOfDay::parse(text).unwrap();
            assert_eq!((time.daily().as_str(), time.to_string().as_str()), (cron, text));
        }
        for bad in ["", "2:00", "24:00", "02:60", "02:00:00", "+2:00", "02", "02:0a"] {
            assert!(TimeOfDay::parse(bad).is_err(), "{bad}");
        }
    }
}
