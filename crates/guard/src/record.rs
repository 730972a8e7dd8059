//! What a holder writes into the lock file: who it is, and a counter that shows it lives.

/// Every record has this length, so that one write replaces all of the one before.
pub(crate) const LENGTH: usize = 512;

/// A holder's record. On the disk it is one line of text, filled up with spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Whether the holder has ended its server and says so.
    pub(crate) signed_off: bool,
    /// Grows with every heartbeat.
    pub(crate) counter: u64,
    /// Since when it holds the lock, in seconds since 1970.
    pub(crate) since: u64,
    /// The task's ARN, or host and process id.
    pub(crate) holder: String,
}

impl Record {
    /// The bytes to write.
    pub(crate) fn encode(&self) -> [u8; LENGTH] {
        let state = if self.signed_off { "signed-off" } else { "held" };
        let mut holder = self.holder.replace(char::is_control, " ");
        while holder.len() > 400 {
            holder.pop();
        }
        let line = format!("guard1 {state} {:020} {} {holder}", self.counter, self.since);
        let mut bytes = [b' '; LENGTH];
        bytes[..line.len()].copy_from_slice(line.as_bytes());
        bytes[LENGTH - 1] = b'\n';
        bytes
    }

    /// What can be read of it: nothing, if nobody ever wrote a whole record.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n').filter(|_| bytes.len() == LENGTH)?;
        let mut parts = text.trim_end().splitn(5, ' ');
        if parts.next() != Some("guard1") {
            return None;
        }
        let signed_off = match parts.next()? {
            "signed-off" => true,
            "held" => false,
            _ => return None,
        };
        let (counter, since) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { signed_off, counter, since, holder: parts.next()?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str) -> Record {
        Record { signed_off: false, counter: 7, since: 1_800_000_000, holder: holder.to_owned() }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for signed_off in [false, true] {
            let record = Record { signed_off, ..record("arn:aws:ecs:eu-west-1:1:task/es/0 1") };
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn a_long_or_odd_name_still_fits() {
        let odd = Record::decode(&record(&"ä\n".repeat(500)).encode()).unwrap();
        assert!(odd.holder.len() <= 400 && !odd.holder.contains('\n'));
    }

    #[test]
    fn what_is_torn_is_not_a_record() {
        let whole = record("x").encode();
        for bytes in [&[][..], &whole[..100], &whole[1..], b"held by somebody\n"] {
            assert_eq!(Record::decode(bytes), None);
        }
    }
}
