//! A length of time with its unit.

/// Seconds that ECS waits for a server before its health counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CatchUp(u32);

impl CatchUp {
    /// The most that ECS takes for `HealthCheckGracePeriodSeconds` (AWS, "Amazon ECS service definition parameters").
    const MOST: u32 = 2_147_483_647;

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            "d" => Some(24 * 3600),
            _ => None,
        };
        // A sign is no digit.
        let count = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok()).flatten();
        let seconds = count.zip(unit).and_then(|(count, unit)| count.checked_mul(unit));
        seconds.filter(|seconds| (1..=Self::MOST).contains(seconds)).map(Self).ok_or_else(|| {
            format!("`{text}` is not a time that ECS waits; allowed are 1s to 24855d, for example 90m, 3h, 2d")
        })
    }

    /// The seconds.
    pub(crate) fn seconds(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_is_one_that_ecs_takes() {
        for (text, seconds) in
            [("1s", 1), ("90m", 5400), ("3h", 10_800), ("24855d", 2_147_472_000), ("2147483647s", 2_147_483_647)]
        {
            assert_eq!(CatchUp::parse(text).unwrap().seconds(), seconds, "{text}");
        }
        for bad in [
            "",
            "0s",
            "3",
            "h",
            "-1h",
            "+1h",
            "1.5h",
            "3H",
            "3 h",
            "24856d",
            "2147483648s",
            "4294967296s",
            "1ms",
            "1h1",
        ] {
            assert!(CatchUp::parse(bad).is_err(), "{bad}");
        }
    }
}
