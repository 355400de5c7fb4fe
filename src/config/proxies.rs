//! Whose word about a client's address counts (HARDENING §1): that of proxies which the operator has named, and nobody
//! else's. Anyone can write `X-Forwarded-For`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

use crate::limits::FORWARDED_HOPS_MAX;

/// Addresses that begin alike: `10.0.0.0/8`, `fd00::/8`, or a single one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    /// IPv4 as it is mapped into IPv6, so that both forms of one address are the same.
    address: u128,
    mask: u128,
}

impl Network {
    fn holds(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.address
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a network such as 10.0.0.0/8 or fd00::/8, or an address");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(bits_max);
        if length > bits_max {
            return Err(wrong());
        }
        let mask = u128::MAX.checked_shl(bits_max - length).unwrap_or(0);
        // What the mask says nothing of, above an IPv4 address, is always the same.
        let mask = if address.is_ipv4() { mask | (u128::MAX << 32) } else { mask };
        Ok(Self { address: bits(address) & mask, mask })
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Proxies that say truly where a connection comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(pub Vec<Network>);

impl Proxies {
    /// Whether a proxy of ours is there.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.holds(address))
    }

    /// Where a client is that connected from `peer` and for which `forwarded` was said, the values of `X-Forwarded-For` in
    /// their order. Read from behind, since each proxy adds whom it heard from: the first that is no proxy of ours is the
    /// client, and what stands before it is only its own word.
    pub fn client<'a>(
        &self,
        peer: SocketAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str> + Clone,
    ) -> SocketAddr {
        let mut client = peer;
        let hops = forwarded.rev().flat_map(|value| value.rsplit(','));
        for hop in hops.take(FORWARDED_HOPS_MAX) {
            if !self.trusts(client.ip()) {
                break;
            }
            // A proxy of ours that writes what we cannot read has said nothing.
            let Some(address) = address(hop.trim()) else { break };
            client = address;
        }
        client
    }
}

/// An address as proxies write it, with or without a port.
fn address(text: &str) -> Option<SocketAddr> {
    let whole = text.parse().ok();
    let alone = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 0));
    let bracketed = || {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        Some(SocketAddr::new(inner.parse::<Ipv6Addr>().ok()?.into(), 0))
    };
    whole.or_else(alone).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_declared_proxies_add_counts() {
        let proxies = Proxies(["10.0.0.0/8", "fd00::/8", "192.0.2.7"].map(|text| text.parse().expect(text)).to_vec());
        for (peer, forwarded, client) in [
            // Nobody that we know: whatever it says.
            ("203.0.113.9:5", &["198.51.100.1"][..], "203.0.113.9:5"),
            ("10.1.2.3:5", &[], "10.1.2.3:5"),
            ("10.1.2.3:5", &["198.51.100.1"], "198.51.100.1:0"),
            ("[::ffff:10.1.2.3]:5", &["198.51.100.1"], "198.51.100.1:0"),
            ("[fd00::1]:5", &["198.51.100.1:77"], "198.51.100.1:77"),
            ("192.0.2.7:5", &["[2001:db8::1]:80"], "[2001:db8::1]:80"),
            ("192.0.2.7:5", &["[2001:db8::1]"], "[2001:db8::1]:0"),
            ("192.0.2.8:5", &["198.51.100.1"], "192.0.2.8:5"),
            // The client's own word stands before what our proxies added.
            ("10.1.2.3:5", &["1.1.1.1, 198.51.100.1"], "198.51.100.1:0"),
            ("10.1.2.3:5", &["1.1.1.1", "198.51.100.1"], "198.51.100.1:0"),
            ("10.1.2.3:5", &["1.1.1.1, 198.51.100.1, 10.9.9.9"], "198.51.100.1:0"),
            ("10.1.2.3:5", &["127.0.0.1, 10.9.9.9"], "127.0.0.1:0"),
            ("10.1.2.3:5", &["10.9.9.9"], "10.9.9.9:0"),
            ("10.1.2.3:5", &["1.1.1.1, nonsense"], "10.1.2.3:5"),
            ("10.1.2.3:5", &["nonsense, 198.51.100.1"], "198.51.100.1:0"),
            ("10.1.2.3:5", &[""], "10.1.2.3:5"),
            ("10.1.2.3:5", &["unknown"], "10.1.2.3:5"),
        ] {
            let peer = peer.parse().expect("an address");
            assert_eq!(proxies.client(peer, forwarded.iter().copied()).to_string(), client, "{peer} {forwarded:?}");
        }
        let endless = vec!["10.0.0.1"; 10_000];
        let peer = "10.1.2.3:5".parse().expect("an address");
        assert_eq!(proxies.client(peer, endless.iter().copied()).to_string(), "10.0.0.1:0");
        assert_eq!(Proxies::default().client(peer, ["1.1.1.1"].into_iter()), peer);
    }

    #[test]
    fn networks_are_understood() {
        for (network, within, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("::/0", "2001:db8::1", ""),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.100"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
        ] {
            let parsed: Network = network.parse().expect(network);
            assert!(parsed.holds(within.parse().expect("an address")), "{network} {within}");
            assert!(outside.parse().is_ok_and(|outside| !parsed.holds(outside)) || outside.is_empty(), "{network}");
        }
        for wrong in ["", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "localhost", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
