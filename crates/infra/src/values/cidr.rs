//! Ranges of addresses.

use std::fmt;
use std::net::Ipv4Addr;

/// A private IPv4 range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

impl Cidr {
    /// The `index`th of the 2^`bits` equal parts of the range.
    pub(crate) fn part(self, bits: u8, index: u8) -> Self {
        debug_assert!(u32::from(index) < 1 << bits, "a part of this range");
        let prefix = self.prefix + bits;
        let offset = u32::from(index) << (32 - prefix);
        Self { address: Ipv4Addr::from(u32::from(self.address) + offset), prefix }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Cidr {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not allowed; allowed is a private range (RFC 1918) of /16 to /24, for example 10.20.0.0/16"
            )
        };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !address.is_private() || !(16..=24).contains(&prefix) {
            return Err(wrong());
        }
        if u32::from(address) << prefix != 0 {
            return Err(format!("`{text}` has bits set behind the prefix; give the first address of the range"));
        }
        Ok(Self { address, prefix })
    }
}

/// A range from which people reach the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdminCidr(Cidr);

impl AdminCidr {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not the range of an office or a VPN; allowed is an IPv4 range of /8 to /32, for example 198.51.100.0/24"
            )
        };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        // A 256th of the internet is the largest that anybody was ever given, and 0.0.0.0/0 is all of it.
        if !(8..=32).contains(&prefix) || address.is_unspecified() {
            return Err(wrong());
        }
        if prefix < 32 && u32::from(address) << prefix != 0 {
            return Err(format!("`{text}` has bits set behind the prefix; give the first address of the range"));
        }
        Ok(Self(Cidr { address, prefix }))
    }
}

impl fmt::Display for AdminCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_private_and_starts_at_its_first_address() {
        for good in ["10.0.0.0/16", "172.16.0.0/20", "192.168.4.0/24"] {
            assert_eq!(Cidr::parse(good).unwrap().to_string(), good);
        }
        for bad in
            ["", "10.0.0.0", "10.0.0.0/8", "10.0.0.0/25", "10.0.1.0/16", "20.10.0.0/16", "172.32.0.0/16", "::/16"]
        {
            assert!(Cidr::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn people_come_from_a_range_and_not_from_everywhere() {
        for good in ["198.51.100.0/24", "10.0.0.0/8", "203.0.113.7/32"] {
            assert_eq!(AdminCidr::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "198.51.100.1/24", "198.51.100.0", "::/0", "a/24"] {
            assert!(AdminCidr::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_has_equal_parts() {
        let range = Cidr::parse("10.20.0.0/16").unwrap();
        let quarters: Vec<_> = (0..4).map(|index| range.part(2, index).to_string()).collect();
        assert_eq!(quarters, ["10.20.0.0/18", "10.20.64.0/18", "10.20.128.0/18", "10.20.192.0/18"]);
        // The smallest part of the smallest range is larger than the smallest subnet of AWS, /28.
        assert_eq!(Cidr::parse("10.20.1.0/24").unwrap().part(3, 7).to_string(), "10.20.1.224/27");
    }
}
