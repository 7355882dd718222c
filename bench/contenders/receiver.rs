//! The receiver that a Rust team would write: actix-web checks the signature, and
//! tokio-postgres inserts one row a request. With `STATE` the same statement keeps the
//! status of the message in that table. The first line on stdout is the address.

use std::{
    collections::HashMap,
    env,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::{Context as _, Result};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use sha1::{Digest as _, Sha1};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio_postgres::{Client, NoTls, Statement, types::Json};
use uuid::Uuid;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    kind: &'a str,
    message_id: &'a str,
    subscriber_id: &'a str,
    ts: &'a str,
    click_action: Option<i32>,
    reason: Option<&'a str>,
    error: Option<&'a str>,
}

/// Connections, each lent to one request at a time.
struct Pool {
    free: Semaphore,
    connections: Mutex<Vec<(Client, Statement)>>,
}

struct Receiver {
    signer: Hmac<Sha1>,
    pool: Pool,
    kinds: HashMap<&'static str, &'static str>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let setting = |name: &str| env::var(name).with_context(|| format!("{name} is not set"));
    let connections: usize = setting("CONNECTIONS")?.parse()?;
    let insert = format!(
        "insert into {} (
           event_id, source_id, provider, kind, provider_kind, channel, occurred_at, received_at,
           message_id, recipient, reason, payload
         ) values ($1, 1, 'pushpushgo', $2, $3, 'push', $4, $5, $6, $7, $8, $9)
         on conflict do nothing",
        setting("TABLE")?
    );
    let statement = match env::var("STATE") {
        Ok(state) => with_state(&insert, &state),
        Err(_) => insert,
    };
    let url = setting("DATABASE_URL")?;
    let mut pool = Vec::new();
    for _ in 0..connections {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        tokio::spawn(connection);
        let statement = client.prepare(&statement).await?;
        pool.push((client, statement));
    }
    let receiver = web::Data::from(Arc::new(Receiver {
        signer: Hmac::new_from_slice(setting("PROJECT")?.as_bytes())?,
        pool: Pool {
            free: Semaphore::new(connections),
            connections: Mutex::new(pool),
        },
        kinds: HashMap::from([
            ("transaction:message:delivered", "message.delivered"),
            ("transaction:message:clicked", "message.clicked"),
            ("transaction:message:rejected", "message.rejected"),
            ("transaction:message:error", "message.failed"),
        ]),
    }));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(receiver.clone())
            .app_data(web::PayloadConfig::new(1 << 20))
            .route("/hooks/{source}", web::post().to(receive))
    })
    .workers(2)
    .bind("127.0.0.1:0")?;
    if let Some(address) = server.addrs().first() {
        writeln!(std::io::stdout(), "{address}")?;
    }
    Ok(server.run().await?)
}

/// Stores the event and, if it is new, what it says of the message.
fn with_state(insert: &str, state: &str) -> String {
    format!(
        "with new as (
           {insert}
           returning *
         ),
         said as (
           select *, (kind <> 'message.clicked') as is_status, (kind = 'message.clicked')::int as click from new
         )
         insert into {state} as m (
           message_key, recipient, source_id, provider, message_id, channel, status, is_final,
           status_at, status_rank, status_event_id, reason, first_event_at, last_event_at,
           opens, clicks, first_clicked_at, delivered_at
         )
         select
           message_id, recipient, source_id, provider, message_id, channel,
           case when is_status then kind end, is_status,
           case when is_status then occurred_at end, case when is_status then 4 end,
           case when is_status then event_id end, reason, occurred_at, occurred_at,
           0, click, case when click = 1 then occurred_at end,
           case when kind = 'message.delivered' then occurred_at end
         from said
         on conflict (message_key, recipient, source_id) do update set
           (status, is_final, status_at, status_rank, status_event_id, reason) = (
             select w.status, w.is_final, w.status_at, w.status_rank, w.status_event_id, w.reason
             from (values
               (m.status, m.is_final, m.status_at, m.status_rank, m.status_event_id, m.reason),
               (excluded.status, excluded.is_final, excluded.status_at, excluded.status_rank,
                excluded.status_event_id, excluded.reason)
             ) as w (status, is_final, status_at, status_rank, status_event_id, reason)
             order by w.is_final desc, w.status_at desc nulls last, w.status_event_id desc limit 1
           ),
           first_event_at = least(m.first_event_at, excluded.first_event_at),
           last_event_at = greatest(m.last_event_at, excluded.last_event_at),
           clicks = m.clicks + excluded.clicks,
           first_clicked_at = least(m.first_clicked_at, excluded.first_clicked_at),
           delivered_at = least(m.delivered_at, excluded.delivered_at)"
    )
}

async fn receive(
    receiver: web::Data<Receiver>,
    request: HttpRequest,
    body: web::Bytes,
) -> HttpResponse {
    let signature = request.headers().get("x-ppg-signature");
    let given = signature.and_then(|given| hex::decode(given.as_bytes()).ok());
    let mut signer = receiver.signer.clone();
    signer.update(&body);
    let expected = signer.finalize().into_bytes();
    if !given.is_some_and(|given| bool::from(given.ct_eq(&expected))) {
        return HttpResponse::Unauthorized().json(json!({ "error": "unauthorized" }));
    }
    let parsed = serde_json::from_slice::<Event<'_>>(&body).ok();
    let payload = serde_json::from_slice::<&RawValue>(&body).ok();
    let (Some(event), Some(payload)) = (parsed, payload) else {
        return HttpResponse::BadRequest().json(json!({ "error": "malformed" }));
    };
    match store(&receiver, &event, payload).await {
        Ok(rows) => HttpResponse::Ok()
            .json(json!({ "inserted": rows, "duplicate": 1_u64.saturating_sub(rows) })),
        Err(error) => {
            eprintln!("{error:#}");
            HttpResponse::ServiceUnavailable().json(json!({ "error": "unavailable" }))
        }
    }
}

async fn store(receiver: &Receiver, event: &Event<'_>, payload: &RawValue) -> Result<u64> {
    let at: jiff::Timestamp = event.ts.parse()?;
    let id = identity(at.as_millisecond(), event);
    let kind = receiver.kinds.get(event.kind).copied().unwrap_or("other");
    let reason = event.reason.or(event.error);
    let pool = &receiver.pool;
    let _permit = pool.free.acquire().await?;
    let lent = pool
        .connections
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .pop();
    let (client, statement) = lent.context("no connection is free")?;
    let stored = client
        .execute(
            &statement,
            &[
                &id,
                &kind,
                &event.kind,
                &SystemTime::from(at),
                &SystemTime::now(),
                &event.message_id,
                &event.subscriber_id,
                &reason,
                &Json(payload),
            ],
        )
        .await;
    let mut connections = pool
        .connections
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    connections.push((client, statement));
    Ok(stored?)
}

/// The identity of an event: its time, then a hash of what it says.
fn identity(ms: i64, event: &Event<'_>) -> Uuid {
    let mut hash = Sha1::new();
    for part in [event.kind, event.message_id, event.subscriber_id, event.ts] {
        hash.update(part);
        hash.update("|");
    }
    hash.update(
        event
            .click_action
            .map_or(String::new(), |action| action.to_string()),
    );
    let mut id = [0; 16];
    let (time, rest) = id.split_at_mut(6);
    time.copy_from_slice(ms.to_be_bytes().split_at(2).1);
    rest.copy_from_slice(hash.finalize().split_at(10).0);
    Uuid::from_bytes(id)
}
