//! Random events of one case, and the ways in which they can arrive.
//!
//! A case is a set of requests. What its events are must not depend on the order either,
//! so two items with one identity are always equal.

mod ppoppo;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom as _, IndexedRandom as _, SliceRandom as _};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::fmt;

pub(super) const PROVIDERS: [&str; 4] = ["ppoppo", "pushwoosh", "arpoone", "pushpushgo"];

/// A few moments, in milliseconds since 1970, the first and the last a second apart.
const TIMES: [i64; 4] = [
    1_727_782_496_000,
    1_727_782_496_001,
    1_727_782_496_999,
    1_727_782_497_000,
];
const RECIPIENTS: usize = 2;
const MESSAGES: usize = 3;
const MOST_REQUESTS: usize = 24;

/// The name of a lane's source of this provider.
pub(super) fn source(provider: &str, lane: usize) -> String {
    format!("{provider}-{lane}")
}

pub(super) struct Case {
    prefix: String,
    requests: Vec<Request>,
}

#[derive(Clone)]
struct Request {
    provider: &'static str,
    source: String,
    items: Vec<Value>,
    headers: Value,
}

/// What one call of `ingest_batch` takes.
pub(super) struct Batch(Vec<Request>);

impl Case {
    pub(super) fn draw(random: &mut StdRng, lane: usize, number: usize) -> Self {
        let mut draw = Draw {
            prefix: format!("c{number}-"),
            number,
            identities: HashSet::new(),
            random,
        };
        let requests = (0..draw.random.random_range(2..=MOST_REQUESTS))
            .filter_map(|_| {
                let provider = draw.one(&PROVIDERS);
                let mut headers = Map::new();
                let items = match provider {
                    "ppoppo" if draw.chance(0.3) => vec![draw.answer(&mut headers)?],
                    "ppoppo" => vec![draw.ppoppo()?],
                    "arpoone" => vec![draw.arpoone()?],
                    "pushwoosh" => draw.pushwoosh()?,
                    _ => vec![draw.pushpushgo(&mut headers)?],
                };
                Some(Request {
                    provider,
                    source: source(provider, lane),
                    items,
                    headers: Value::Object(headers),
                })
            })
            .collect();
        Self {
            prefix: draw.prefix,
            requests,
        }
    }

    /// What the names of all its messages, recipients and requests begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn at_once(&self) -> Batch {
        Batch(self.requests.clone())
    }

    /// The same requests in another order, some repeated, items grouped into arrays where
    /// the provider does so, cut into batches: those that each connection sends.
    pub(super) fn shares(&self, random: &mut StdRng, connections: usize) -> Vec<Vec<Batch>> {
        let mut requests = self.requests.clone();
        for _ in 0..random.random_range(0..=self.requests.len()) {
            requests.extend(self.requests.choose(random).cloned());
        }
        requests.shuffle(random);

        let mut grouped: Vec<Request> = Vec::new();
        for request in requests {
            let arrays = matches!(request.provider, "ppoppo" | "arpoone");
            match grouped.last_mut() {
                Some(last)
                    if arrays
                        && last.provider == request.provider
                        && last.headers == request.headers
                        && random.random() =>
                {
                    last.items.extend(request.items);
                }
                _ => grouped.push(request),
            }
        }

        let mut shares: Vec<Vec<Batch>> = (0..connections).map(|_| Vec::new()).collect();
        while !grouped.is_empty() {
            let size = random.random_range(1..=grouped.len().min(8));
            let batch = Batch(grouped.split_off(grouped.len() - size));
            if let Some(share) = shares.choose_mut(random) {
                share.push(batch);
            }
        }
        shares
    }
}

impl Batch {
    /// An event of each of so many messages, or of so many subscribers, in any order.
    pub(super) fn of_all(
        random: &mut impl Rng,
        provider: &'static str,
        moment: usize,
        subjects: usize,
    ) -> Self {
        let mut requests: Vec<_> = (0..subjects)
            .map(|n| {
                let (item, headers) = if provider == "pushpushgo" {
                    let receipt = format!("01JABCDEF000{moment:07}{n:07}");
                    (
                        json!({"kind": "subscriber:subscribe", "ppgId": format!("r{n}")}),
                        json!({"receipt-id": receipt}),
                    )
                } else {
                    let at = iso(moment as i64 * 1000);
                    (
                        json!({"MessageId": format!("m{n}"), "Status": "PENDING", "ReportDateTime": at}),
                        json!({}),
                    )
                };
                Request {
                    provider,
                    source: source(provider, 0),
                    items: vec![item],
                    headers,
                }
            })
            .collect();
        requests.shuffle(random);
        Self(requests)
    }

    pub(super) fn sources(&self) -> Vec<&str> {
        self.0.iter().map(|request| &*request.source).collect()
    }

    pub(super) fn bodies(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|r| r.body().into_bytes()).collect()
    }

    pub(super) fn headers(&self) -> Vec<&Value> {
        self.0.iter().map(|request| &request.headers).collect()
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|request| {
            let Request {
                source, headers, ..
            } = request;
            writeln!(f, "  {source} {} {headers}", request.body())
        })
    }
}

impl Request {
    fn body(&self) -> String {
        match self.items.as_slice() {
            [item] => item.to_string(),
            items => Value::from(items).to_string(),
        }
    }
}

struct Draw<'a> {
    prefix: String,
    number: usize,
    identities: HashSet<String>,
    random: &'a mut StdRng,
}

impl Draw<'_> {
    fn arpoone(&mut self) -> Option<Value> {
        let status = self.one(&[
            "PENDING",
            "PENDING",
            "DELIVERED",
            "NOT_DELIVERED",
            "EXPIRED",
        ]);
        let (message, at) = (self.message(), iso(self.time()));
        let mut item = Map::new();
        item.insert("MessageId".into(), message.clone());
        item.insert("Status".into(), status.into());
        item.insert("ReportDateTime".into(), at.clone().into());
        self.set(&mut item, 0.5, "ReportDescription", |draw| {
            draw.one(&["a", "b"]).into()
        });
        self.set(&mut item, 0.9, "Msisdn", Self::recipient);
        let reason = item.get("ReportDescription").cloned();
        self.unless_known(format!("arpoone {message} {status} {at} {reason:?}"), item)
    }

    /// One event or several, of which some may be equal: by HTTP those are as many events.
    fn pushwoosh(&mut self) -> Option<Vec<Value>> {
        let mut items = vec![self.of_pushwoosh()?];
        while self.chance(0.3) {
            let equal = items.last().filter(|item| item.get("uuid").is_none());
            let next = match equal.filter(|_| self.random.random()) {
                Some(item) => item.clone(),
                None => self.of_pushwoosh()?,
            };
            items.push(next);
        }
        Some(items)
    }

    fn of_pushwoosh(&mut self) -> Option<Value> {
        let name = self.one(&[
            "PW_MessageAccepted accepted",
            "message_sent",
            "message_pending",
            "message_delivered",
            "message_failed",
            "message_rejected",
            "message_expired",
            "message_opened",
            "message_opened",
            "message_clicked",
            "message_bounced",
            "message_complained",
            "message_unsubscribed",
            "something_else",
        ]);
        let at = self.time();
        let mut item = Map::new();
        item.insert("event_name".into(), name.into());
        item.insert("timestamp".into(), at.into());
        self.set(&mut item, 0.95, "message_code", Self::message);
        self.set(&mut item, 0.9, "hwid", Self::recipient);
        self.set(&mut item, 0.5, "platform", |draw| {
            draw.one(&["iOS", "email", "sms"]).into()
        });
        self.set(&mut item, 0.5, "campaign_id", |draw| {
            draw.one(&["9", "10", "é"]).into()
        });
        self.set(&mut item, 0.3, "uuid", |draw| {
            format!("{}{}", draw.prefix, draw.random.random_range(0..100)).into()
        });
        match item.get("uuid").cloned() {
            Some(uuid) => self.unless_known(format!("pushwoosh {uuid} {at}"), item),
            None => Some(item.into()),
        }
    }

    fn pushpushgo(&mut self, headers: &mut Map<String, Value>) -> Option<Value> {
        let kind = self.one(&[
            "subscriber:update",
            "subscriber:subscribe",
            "subscriber:unsubscribe",
            "transaction:message:delivered",
            "transaction:message:clicked",
            "transaction:message:rejected",
            "transaction:message:error",
        ]);
        let mut item = Map::new();
        item.insert("kind".into(), kind.into());
        if kind.starts_with("subscriber:") {
            // Without an id or a time of its own: the receipt has both.
            headers.insert("receipt-id".into(), self.ulid(10).0.into());
            self.set(&mut item, 0.95, "ppgId", Self::recipient);
            self.set(&mut item, 0.7, "customId", |draw| {
                draw.one(&["", "c", "d", "é"]).into()
            });
            return Some(item.into());
        }
        let (message, recipient, at) = (self.message(), self.recipient(), iso(self.time()));
        item.insert("messageId".into(), message.clone());
        item.insert("subscriberId".into(), recipient.clone());
        item.insert("ts".into(), at.clone().into());
        if kind.ends_with("clicked") {
            self.set(&mut item, 0.8, "clickAction", |draw| {
                draw.random.random_range(0..2).into()
            });
        }
        self.set(&mut item, 0.3, "reason", |draw| {
            draw.one(&["x", "y"]).into()
        });
        let click = item.get("clickAction").cloned();
        let identity = format!("pushpushgo {kind} {message} {recipient} {at} {click:?}");
        self.unless_known(identity, item)
    }

    fn unless_known(&mut self, identity: String, item: Map<String, Value>) -> Option<Value> {
        self.identities
            .insert(identity)
            .then_some(Value::Object(item))
    }

    fn set(
        &mut self,
        item: &mut Map<String, Value>,
        chance: f64,
        name: &str,
        value: impl FnOnce(&mut Self) -> Value,
    ) {
        if self.chance(chance) {
            let value = value(self);
            item.insert(name.into(), value);
        }
    }

    fn one<T: Copy + Default>(&mut self, of: &[T]) -> T {
        of.choose(self.random).copied().unwrap_or_default()
    }

    fn chance(&mut self, of: f64) -> bool {
        self.random.random_bool(of)
    }

    fn time(&mut self) -> i64 {
        self.one(&TIMES)
    }

    fn recipient(&mut self) -> Value {
        let recipient = self.random.random_range(0..RECIPIENTS);
        format!("{}r{recipient}", self.prefix).into()
    }

    fn message(&mut self) -> Value {
        let message = self.random.random_range(0..MESSAGES);
        format!("{}m{message}", self.prefix).into()
    }

    fn request(&mut self) -> String {
        format!("{}q{}", self.prefix, self.random.random_range(0..3))
    }

    /// Of this case, at one of the times, which is returned too; one of so many at each.
    fn ulid(&mut self, many: usize) -> (String, i64) {
        const DIGITS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let at = self.time();
        let time: String = (0..10)
            .rev()
            .filter_map(|digit| DIGITS.chars().nth((at >> (5 * digit) & 31) as usize))
            .collect();
        let n = self.random.random_range(0..many);
        (format!("{time}{n:08}{:08}", self.number), at)
    }
}

/// At this time of one day.
fn iso(ms: i64) -> String {
    let of_day = ms % 86_400_000;
    format!(
        "2024-10-01T{:02}:{:02}:{:02}.{:03}Z",
        of_day / 3_600_000,
        of_day / 60_000 % 60,
        of_day / 1_000 % 60,
        of_day % 1_000
    )
}
