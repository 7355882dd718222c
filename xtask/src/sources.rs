//! The five sources that the emulator plays to, with the secrets it uses.

use anyhow::{Context as _, Result};
use postgres::Client;
use std::net::SocketAddr;

/// One source of the demo.
#[derive(Debug, Clone, Copy)]
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

/// Adds them all, the stream pointed at the emulator.
pub fn add_all(client: &mut Client, ppoppo: SocketAddr) -> Result<()> {
    for source in SOURCES {
        let options = match source.provider {
            "ppoppo" => serde_json::json!({ "endpoint": format!("http://{ppoppo}/ext") }),
            _ => serde_json::json!({}),
        };
        client
            .execute(
                "select tidings.add_source($1, $2, $3, $4)",
                &[&source.name, &source.provider, &source.secret, &options],
            )
            .with_context(|| format!("cannot add the source {}", source.name))?;
    }
    Ok(())
}
