//! A provider over a real socket, and Postgres as a list.

mod automatic;
mod runs;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use prost::Message;
use serde_json::{Value, json};
use tidings_proto::ppoppo::{
    GetSendRequestStatusResponse, RecipientDeliveryStatus, RecipientStatus, SendRequestSummary,
};
use tonic::Status;

use super::{automatic::Resting, records::Listed, *};
use crate::{
    dial::options::Dial,
    pipeline::request::{Receipt, fake},
    testing::{
        self, PATIENCE,
        chat::{Called, Chat, Events},
        pipeline,
    },
    wire,
};

const METHOD: &str = "/ext/pcs.external.v1.MessageService/GetSendRequestStatus";

/// What Postgres has, shared with the test.
#[derive(Clone, Debug, Default)]
struct Books(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    secret: Option<String>,
    requests: BTreeMap<String, i64>,
    gaps: Vec<Gap>,
    /// How often a gap was reported again.
    again: u32,
    closed: Vec<(i64, String)>,
    rests: u32,
    /// How many requests will still be added, each as another one is answered.
    new: u32,
    /// Whether what was closed is old.
    old: bool,
    failing: Option<String>,
}

impl Books {
    fn new(requests: &[&str], gaps: &[(i64, &str)]) -> Self {
        let gap = |(id, cause): &(i64, &str)| Gap::found(*id, cause);
        let kept = Kept {
            secret: Some("t0ken".to_owned()),
            requests: requests.iter().map(|id| ((*id).to_owned(), 0)).collect(),
            gaps: gaps.iter().map(gap).collect(),
            ..Kept::default()
        };
        Self(Arc::new(Mutex::new(kept)))
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    fn closed(&self) -> Vec<(i64, String)> {
        self.kept().closed.clone()
    }
}

impl Records for Books {
    async fn secret(&mut self) -> Result<Option<String>, String> {
        Ok(self.kept().secret.clone())
    }

    async fn gaps(&mut self) -> Result<Vec<Gap>, String> {
        let kept = self.kept();
        match &kept.failing {
            Some(reason) => Err(reason.clone()),
            None => Ok(kept.gaps.clone()),
        }
    }

    /// Pages of two.
    async fn page(
        &mut self,
        since: Option<SystemTime>,
        after: Option<&str>,
    ) -> Result<Vec<Listed>, String> {
        let kept = self.kept();
        let ids = kept.requests.iter();
        let ids = ids.filter(|(id, _)| after.is_none_or(|after| id.as_str() > after));
        let listed = ids.map(|(id, finals)| Listed {
            id: id.clone(),
            finals: *finals,
            unfinished: 1,
        });
        assert_eq!(since, None);
        Ok(listed.take(2).collect())
    }

    async fn finals(&mut self, request: &str) -> Result<i64, String> {
        let mut kept = self.kept();
        if kept.new > 0 {
            kept.new -= 1;
            kept.requests.insert(format!("{request}+"), 0);
        }
        let finals = kept.requests.entry(request.to_owned()).or_default();
        *finals += 1;
        Ok(*finals - 1)
    }

    async fn has_closed(&mut self, _: Duration) -> Result<bool, String> {
        let kept = self.kept();
        Ok(!kept.old && !kept.closed.is_empty())
    }

    async fn close(&mut self, gap: &Gap, by: &str) -> Result<bool, String> {
        let mut kept = self.kept();
        if kept.again > 0 {
            kept.again -= 1;
            return Ok(false);
        }
        kept.gaps.retain(|open| open.id != gap.id);
        kept.closed.push((gap.id, by.to_owned()));
        Ok(true)
    }
}

impl Resting for Books {
    fn rest(&mut self) {
        self.kept().rests += 1;
    }
}

/// The answer to a question: this request, with so many recipients.
fn answer(id: &str, recipients: usize) -> Result<Events, Status> {
    let recipient = |number| RecipientStatus {
        ppnum: format!("1234567{number:04}"),
        status: RecipientDeliveryStatus::Delivered.into(),
        ..RecipientStatus::default()
    };
    let answer = GetSendRequestStatusResponse {
        request: Some(SendRequestSummary {
            id: id.to_owned(),
            ..SendRequestSummary::default()
        }),
        recipients: (0..recipients).map(recipient).collect(),
    };
    let answer = Bytes::from(answer.encode_to_vec());
    Ok(stream::iter([Ok(answer)]).boxed())
}

/// The request that a call asks about: its field has the number of the stream's filter.
fn asked(called: &Called) -> &str {
    called.send_request_id.as_deref().unwrap()
}

fn answered(called: &Called) -> Result<Events, Status> {
    answer(asked(called), 2)
}

fn dial(address: SocketAddr) -> Dial {
    let endpoint = format!("http://{address}/ext");
    Dial::new("ppoppo", &json!({ "endpoint": endpoint })).unwrap()
}

fn question() -> Arc<tidings_core::wire::Question> {
    wire::question(testing::call("ppoppo")).unwrap().unwrap()
}

/// Asks about all, with what was stored.
async fn run(chat: &Chat, books: &Books, named: &[&str]) -> (Report, Vec<Value>) {
    let (pipeline, seen) = pipeline(|_| Ok(fake::receipt(Verdict::Accepted)), PATIENCE);
    let report = run_into(chat, books, named, &pipeline).await;
    let seen = seen.lock().unwrap();
    let bodies = seen
        .iter()
        .map(|request| serde_json::from_slice(&request.body).unwrap());
    (report, bodies.collect())
}

async fn run_into(chat: &Chat, books: &Books, named: &[&str], pipeline: &Pipeline) -> Report {
    run_at(chat.address, books, named, pipeline).await
}

async fn run_at(address: SocketAddr, books: &Books, named: &[&str], pipeline: &Pipeline) -> Report {
    let source: Arc<str> = "chat".into();
    let mut asker = Asker::new(source.clone(), dial(address), question()).hasty();
    let wanted = Wanted {
        named: named.iter().map(|id| (*id).to_owned()).collect(),
        since: None,
        closes: true,
    };
    let mut records = books.clone();
    let mut heard = Vec::new();
    let mut progress = |tally: &Tally| heard.push(tally.asked);
    let report = reconcile(
        &source,
        &mut asker,
        &mut records,
        pipeline,
        &wanted,
        &mut Known::default(),
        &mut progress,
    )
    .await;
    if report.given_up.is_none() {
        let all: Vec<u64> = (1..=report.tally.asked).collect();
        assert_eq!(heard, all, "progress is heard of each");
    }
    report
}
