//! The webhooks: in turn an array of Arpoone, a single event of PushPushGo and one of
//! Pushwoosh. Each event has an id of its own.

use crate::sources::SOURCES;
use anyhow::{Context as _, Result};
use postgres::Client;
use serde_json::json;

/// Number of reports in one request of Arpoone.
const REPORTS: u64 = 10;

#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) path: String,
    /// Beyond the content's type.
    pub(super) header: Option<(&'static str, String)>,
    pub(super) body: String,
    /// The `message_id` of each of its events.
    pub(super) ids: Vec<String>,
}

/// Adds the three sources, and makes so many webhooks for them.
pub(super) fn make(client: &mut Client, count: u64) -> Result<Vec<Webhook>> {
    for source in SOURCES {
        if ["arpoone", "pushpushgo", "pushwoosh"].contains(&source.name) {
            client
                .execute(
                    "select tidings.add_source($1, $2, $3)",
                    &[&source.name, &source.provider, &source.secret],
                )
                .with_context(|| format!("cannot add the source {}", source.name))?;
        }
    }
    let mut webhooks: Vec<Webhook> = (0..count).map(webhook).collect();
    sign(client, &mut webhooks)?;
    Ok(webhooks)
}

fn webhook(number: u64) -> Webhook {
    let id = format!("outage-{number}");
    match number % 3 {
        0 => {
            let ids: Vec<String> = (0..REPORTS).map(|item| format!("{id}-{item}")).collect();
            let report = |id: &String| {
                json!({"Msisdn": "351913462111", "Status": "DELIVERED", "MessageId": id,
                       "ReportDateTime": "2026-01-01T00:00:00Z"})
            };
            Webhook {
                path: format!("/hooks/arpoone/{}", secret("arpoone")),
                header: None,
                body: json!(ids.iter().map(report).collect::<Vec<_>>()).to_string(),
                ids,
            }
        }
        1 => {
            let event = json!({"kind": "transaction:message:delivered", "messageId": id,
                "subscriberId": "60c8a1b2f3d4e5a6b7c8d9e0", "ts": "2026-01-01T00:00:00Z"});
            Webhook {
                path: "/hooks/pushpushgo".to_owned(),
                header: None,
                body: event.to_string(),
                ids: vec![id],
            }
        }
        _ => {
            let event = json!({"event_name": "Push Sent", "message_code": id, "platform": "iOS",
                "application_code": "32E5A-9B411", "hwid": "HW-1", "timestamp": 1_767_225_600});
            Webhook {
                path: "/hooks/pushwoosh".to_owned(),
                header: Some(("authorization", secret("pushwoosh").to_owned())),
                body: event.to_string(),
                ids: vec![id],
            }
        }
    }
}

fn secret(name: &str) -> &'static str {
    let source = SOURCES.iter().find(|source| source.name == name);
    source.map_or("", |source| source.secret)
}

/// PushPushGo's signature is over the body.
fn sign(client: &mut Client, webhooks: &mut [Webhook]) -> Result<()> {
    let signed = |webhook: &&mut Webhook| webhook.path == "/hooks/pushpushgo";
    let bodies: Vec<&str> = webhooks
        .iter_mut()
        .filter(signed)
        .map(|webhook| &*webhook.body)
        .collect();
    let rows = client.query(
        "select encode(tidings.hmac_sha1(convert_to(b, 'utf8'), convert_to($1, 'utf8')), 'hex')
         from unnest($2::text[]) with ordinality x (b, n) order by n",
        &[&secret("pushpushgo"), &bodies],
    )?;
    for (webhook, row) in webhooks.iter_mut().filter(signed).zip(rows) {
        webhook.header = Some(("x-ppg-signature", row.try_get(0)?));
    }
    Ok(())
}
