//! Networks in CIDR notation, and the addresses in them.
//!
//! An IPv4 address that IPv6 carries (`::ffff:192.0.2.7`) is the IPv4 address, in networks as
//! in addresses, because a listener of both families reports it in that form.

use std::{
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net};

/// Number of bits before the IPv4 address in an IPv6 address that carries one.
const MAPPED: u8 = 96;

/// A network, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

/// The reason why a text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("not an address, or a network in CIDR notation such as 192.0.2.0/24")]
    Syntax,
    #[error("has bits beyond its prefix; the network is {0}")]
    HostBits(IpNet),
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if let Some(address) = address(text) {
            return Ok(Self(address.into()));
        }
        let network = canonical(network(text).ok_or(NetworkError::Syntax)?);
        if network.addr() != network.network() {
            return Err(NetworkError::HostBits(network.trunc()));
        }
        Ok(Self(network))
    }
}

/// The address in a text that consists of nothing else.
pub fn address(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

/// The network in a text that consists of nothing else. The standard library reads the address,
/// because it refuses a leading zero, which some programs read as octal.
fn network(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|_| is_number)?;
    IpNet::new(address.parse().ok()?, prefix).ok()
}

/// The IPv4 network that an IPv6 network carries, or the network itself.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(carrier) = network else {
        return network;
    };
    let mapped: Option<Ipv4Addr> = carrier.addr().to_ipv4_mapped();
    let prefix = carrier.prefix_len().checked_sub(MAPPED);
    let within = mapped.zip(prefix);
    let within = within.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    within.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        let network: Network = network.parse().unwrap();
        network.contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_contains_its_addresses_in_either_form() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.0/24", "::ffff:192.0.2.1", "::ffff:192.0.3.1"),
            ("::ffff:192.0.2.0/120", "192.0.2.1", "192.0.3.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
        ] {
            assert!(holds(network, inside), "{network} {inside}");
            assert!(!holds(network, outside), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_reason() {
        for text in [
            "",
            "192.0.2",
            "192.0.2.0/33",
            "192.0.2.0/",
            "192.0.2.0/-1",
            "example.com",
            "2001:db8::/129",
            " 192.0.2.0/24",
            "192.0.2.7:80",
            "fe80::1%eth0",
            "192.000.2.0/24",
            "*",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Syntax), "{text}");
        }
        let error = "192.0.2.7/24".parse::<Network>().unwrap_err();
        assert!(error.to_string().contains("192.0.2.0/24"), "{error}");
        assert!("::ffff:192.0.2.7/120".parse::<Network>().is_err());
    }
}
