//! The sender of a request: the address of its connection, or the one that a trusted proxy
//! reports.
//!
//! Proxies append to `X-Forwarded-For`, or to `Forwarded` (RFC 7239), the address that they
//! have the request from. The sender is the first address from the end that is no trusted
//! proxy's, because only what trusted proxies appended is true: all that stands before it, the
//! sender may have written. Where a part is no address (`unknown`, an obfuscated identifier, a
//! Unix socket, a line with a broken quote), the proxy that has reported it is the sender.
//!
//! A proxy that appends to one of the headers passes on the other one as its client wrote it.
//! If both are there and lead to two addresses, neither counts.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use tidings_core::network::{Network, address};

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

/// The sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// The port, if the sender has connected to the worker itself.
    port: Option<u16>,
}

impl From<SocketAddr> for Peer {
    fn from(connection: SocketAddr) -> Self {
        Self {
            address: connection.ip().to_canonical(),
            port: Some(connection.port()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

/// The networks of proxies whose word for the sender counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Arc<[Network]>);

impl Proxies {
    pub(crate) fn new(networks: &[Network]) -> Self {
        Self(networks.into())
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The sender of a request that came over this connection; `values` are the lines of a
    /// header, in their order.
    pub(crate) fn sender<'h, V>(
        &self,
        connection: SocketAddr,
        values: impl Fn(&'static str) -> V,
    ) -> Peer
    where
        V: IntoIterator<Item = &'h [u8]>,
    {
        let own = Peer::from(connection);
        if !self.trusts(own.address) {
            return own;
        }
        let lines = |name: &'static str| -> Vec<Cow<'h, str>> {
            let values = values(name).into_iter();
            values.map(String::from_utf8_lossy).collect()
        };
        let (listed, described) = (lines(X_FORWARDED_FOR), lines(FORWARDED));
        let listed = self.nearest(&listed, own.address, |line| {
            line.split(',').map(node).collect()
        });
        let described = self.nearest(&described, own.address, described_hops);
        let address = match (listed, described) {
            (Some(one), Some(other)) if one != other => return own,
            (Some(found), _) | (None, Some(found)) => found,
            (None, None) => return own,
        };
        if address == own.address {
            return own;
        }
        Peer {
            address,
            port: None,
        }
    }

    /// The first address from the end that is no trusted proxy's, or the last one before a
    /// part that is none; `None` if there is no such header.
    fn nearest(
        &self,
        lines: &[Cow<'_, str>],
        own: IpAddr,
        hops: impl Fn(&str) -> Vec<Option<IpAddr>>,
    ) -> Option<IpAddr> {
        let mut nearest = (!lines.is_empty()).then_some(own)?;
        let from_the_end = lines.iter().rev().flat_map(|line| {
            let mut hops = hops(line);
            hops.reverse();
            hops
        });
        for hop in from_the_end {
            let Some(hop) = hop else {
                break;
            };
            nearest = hop;
            if !self.trusts(hop) {
                break;
            }
        }
        Some(nearest)
    }
}

/// The address of a node, with or without its port.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, port) = rest.split_once(']')?;
        let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return address(inside).filter(|_| is_whole);
    }
    address(text).or_else(|| {
        let (host, port) = text.split_once(':')?;
        address(host).filter(|_| is_port(port))
    })
}

fn is_port(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && text.chars().all(is_part)
}

/// The nodes of one line of `Forwarded`; a single `None` if the line is malformed.
fn described_hops(line: &str) -> Vec<Option<IpAddr>> {
    hops(line).unwrap_or_else(|| vec![None])
}

/// The nodes that the elements of a line are from; `None` if the line is malformed.
fn hops(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut hops = Vec::new();
    let mut rest = line;
    loop {
        let (mut from, mut is_twice) = (None, false);
        loop {
            let (name, after) = word(rest.trim_start(), "=;,\"");
            // An element may be empty, and a pair may be.
            rest = after;
            if let Some(after) = after.strip_prefix('=') {
                let (value, after) = value(after)?;
                if name.eq_ignore_ascii_case("for") {
                    is_twice |= from.is_some();
                    from = Some(value);
                }
                rest = after.trim_start();
            } else if !name.trim().is_empty() {
                return None;
            }
            match rest.strip_prefix(';') {
                Some(after) => rest = after,
                None => break,
            }
        }
        hops.push(from.filter(|_| !is_twice).and_then(|from| node(&from)));
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return rest.is_empty().then_some(hops),
        }
    }
}

/// A value, and what follows it. Values that should be quoted, because they have a colon or
/// brackets, are often not.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = word(text, ";,\" \t");
        return Some((value.into(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let rest = quoted.get(at + 1..)?;
                return Some((value.into(), rest));
            }
            '\\' => value.push(characters.next()?.1),
            character => value.push(character),
        }
    }
    None
}

/// The text before the first of these characters, and the rest.
fn word<'a>(text: &'a str, ends: &str) -> (&'a str, &'a str) {
    let end = text.find(|c: char| ends.contains(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.1:4711";

    fn proxies() -> Proxies {
        Proxies::new(&["10.0.0.0/8", "2001:db8:1::/48"].map(|text| text.parse().unwrap()))
    }

    /// The sender, if these lines come over a connection from there.
    fn sender(connection: &str, lines: &[(&str, &str)]) -> String {
        let values = |name: &'static str| {
            let lines = lines.iter().filter(move |(given, _)| *given == name);
            lines.map(|(_, value)| value.as_bytes())
        };
        let sender = proxies().sender(connection.parse().unwrap(), values);
        sender.to_string()
    }

    #[test]
    fn without_a_trusted_proxy_the_sender_is_who_has_connected() {
        for name in [X_FORWARDED_FOR, FORWARDED] {
            let forged = [(name, "192.0.2.7"), (name, "for=192.0.2.7")];
            assert_eq!(sender("203.0.113.9:80", &forged), "203.0.113.9:80");
        }
        assert_eq!(sender(PROXY, &[]), PROXY);
        assert_eq!(sender("[::ffff:203.0.113.9]:80", &[]), "203.0.113.9:80");
        let nobody = Proxies::default();
        let forged = |_| [b"192.0.2.7".as_slice()];
        let own = nobody.sender(PROXY.parse().unwrap(), forged);
        assert_eq!(own.to_string(), PROXY);
    }

    #[test]
    fn the_sender_is_the_last_address_that_is_no_proxys() {
        for (line, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("forged, 192.0.2.7", "192.0.2.7"),
            ("198.51.100.1, 192.0.2.7", "192.0.2.7"),
            ("192.0.2.7, 10.1.2.3, 10.0.0.2", "192.0.2.7"),
            ("192.0.2.7:4712", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:80, 2001:db8:1::1", "2001:db8::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            // All of them are proxies: the first one has sent it itself.
            ("10.2.2.2, 10.1.1.1", "10.2.2.2"),
            // Who is behind these, nobody knows.
            ("192.0.2.7, unknown", PROXY),
            ("192.0.2.7, unix:, 10.0.0.2", "10.0.0.2"),
            ("192.0.2.7, _hidden, 10.0.0.2", "10.0.0.2"),
            ("192.0.2.7,", PROXY),
            ("", PROXY),
            ("192.0.2.7, 192.0.2.999", PROXY),
        ] {
            assert_eq!(
                sender(PROXY, &[(X_FORWARDED_FOR, line)]),
                expected,
                "{line}"
            );
        }
        let lines = [
            (X_FORWARDED_FOR, "192.0.2.7"),
            (X_FORWARDED_FOR, "10.0.0.3"),
        ];
        assert_eq!(sender(PROXY, &lines), "192.0.2.7");
        assert_eq!(sender("[2001:db8:1::9]:1", &lines), "192.0.2.7");
    }

    #[test]
    fn forwarded_is_read_as_its_grammar_has_it() {
        for (line, expected) in [
            ("for=192.0.2.7", "192.0.2.7"),
            ("For=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            ("for=[2001:db8::7]:4711", "2001:db8::7"),
            ("for=192.0.2.7:80;proto=https;by=10.0.0.1", "192.0.2.7"),
            (
                "proto=https ; host=\"a,b;c=\\\"d\" ; for=\"192.0.2.7\"",
                "192.0.2.7",
            ),
            ("for=198.51.100.1, for=192.0.2.7, for=10.0.0.2", "192.0.2.7"),
            ("for=192.0.2.7, for=unknown", PROXY),
            ("for=192.0.2.7, for=_secret, for=10.0.0.2", "10.0.0.2"),
            ("for=192.0.2.7, proto=https", PROXY),
            ("for=192.0.2.7;for=198.51.100.1", PROXY),
            // A quote that the client left open takes in what the proxy appended.
            ("for=\"198.51.100.1, for=192.0.2.7", PROXY),
            ("for=\"x, for=\"192.0.2.7\"", PROXY),
            ("for=198.51.100.1\", for=192.0.2.7", PROXY),
            ("192.0.2.7", PROXY),
        ] {
            assert_eq!(sender(PROXY, &[(FORWARDED, line)]), expected, "{line}");
        }
        // A line of the proxy's own is not touched by what the client wrote.
        let lines = [(FORWARDED, "for=\"x"), (FORWARDED, "for=192.0.2.7")];
        assert_eq!(sender(PROXY, &lines), "192.0.2.7");
    }

    /// The proxy has written one of them, and passed on the other as it came.
    #[test]
    fn two_headers_that_disagree_count_for_nothing() {
        let both =
            |listed, described| sender(PROXY, &[(X_FORWARDED_FOR, listed), (FORWARDED, described)]);
        assert_eq!(both("192.0.2.7", "for=192.0.2.7"), "192.0.2.7");
        assert_eq!(both("203.0.113.9", "for=192.0.2.7"), PROXY);
        assert_eq!(both("192.0.2.7", "for=203.0.113.9"), PROXY);
        assert_eq!(both("203.0.113.9", "for=unknown"), PROXY);
    }

    proptest! {
        /// A client can write nothing that changes what the proxy appends in a line of its own.
        #[test]
        fn whatever_a_client_writes_it_is_the_address_that_the_proxy_saw(
            name in prop::sample::select(vec![X_FORWARDED_FOR, FORWARDED]),
            forged in "[ -~]{0,60}",
        ) {
            let seen = if name == FORWARDED { "for=203.0.113.9" } else { "203.0.113.9" };
            let own_line = [(name, forged.as_str()), (name, seen)];
            prop_assert_eq!(sender(PROXY, &own_line), "203.0.113.9");
            // Appended to the same line, it is that address, or that of the proxy.
            let appended = format!("{forged}, {seen}");
            let found = sender(PROXY, &[(name, &appended)]);
            prop_assert!(["203.0.113.9", PROXY].contains(&found.as_str()), "{}", found);
        }
    }
}
