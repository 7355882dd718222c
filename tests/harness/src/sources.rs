//! The sources that the emulator plays to, with the secrets it uses.

use anyhow::{Context as _, Result};
use postgres::Client;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;

/// One source of the demo.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub name: &'static str,
    pub provider: &'static str,
    pub secret: &'static str,
}

pub const SOURCES: [Source; 5] = [
    Source {
        name: "ppoppo",
        provider: "ppoppo",
        secret: "ppoppo-dev-token",
    },
    Source {
        name: "pushwoosh",
        provider: "pushwoosh",
        secret: "Bearer pushwoosh-dev-token",
    },
    Source {
        name: "pushwoosh-grpc",
        provider: "pushwoosh",
        secret: "Bearer pushwoosh-grpc-dev-token",
    },
    Source {
        name: "arpoone",
        provider: "arpoone",
        secret: "arpoone-dev-token",
    },
    Source {
        name: "pushpushgo",
        provider: "pushpushgo",
        secret: "5d411352784425000bd02a15",
    },
];

/// Ppoppo's second stream, which is played only where it is asked for.
pub const CHANNELS: Source = Source {
    name: "ppoppo-channels",
    provider: "ppoppo",
    secret: "ppoppo-dev-token",
};

/// Changes to one of the sources for a test.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    pub source: &'a str,
    /// Joined to the source's own options.
    pub options: Value,
    /// Instead of the source's own.
    pub secret: Option<&'a str>,
}

/// Adds them all, the stream pointed at the emulator.
pub fn add_all(client: &mut Client, ppoppo: SocketAddr) -> Result<()> {
    add_all_with(client, ppoppo, &[])
}

/// As [`add_all`], with more options for some.
pub fn add_all_with(client: &mut Client, ppoppo: SocketAddr, wishes: &[Wish<'_>]) -> Result<()> {
    SOURCES
        .into_iter()
        .try_for_each(|source| add(client, ppoppo, source, wishes))
}

/// Adds [`CHANNELS`], with more options if they are wished for.
pub fn add_channels(client: &mut Client, ppoppo: SocketAddr, wishes: &[Wish<'_>]) -> Result<()> {
    add(client, ppoppo, CHANNELS, wishes)
}

fn add(client: &mut Client, ppoppo: SocketAddr, source: Source, wishes: &[Wish<'_>]) -> Result<()> {
    let mut options = Map::new();
    if source.provider == "ppoppo" {
        options.insert("endpoint".to_owned(), json!(format!("http://{ppoppo}/ext")));
    }
    if source.name == CHANNELS.name {
        options.insert("stream".to_owned(), json!("channels"));
    }
    let mut secret = source.secret;
    for wish in wishes.iter().filter(|wish| wish.source == source.name) {
        options.extend(wish.options.as_object().cloned().unwrap_or_default());
        secret = wish.secret.unwrap_or(secret);
    }
    let options = Value::Object(options);
    client
        .execute(
            "select tidings.add_source($1, $2, $3, $4)",
            &[&source.name, &source.provider, &secret, &options],
        )
        .with_context(|| format!("cannot add the source {}", source.name))?;
    Ok(())
}
