//! A Pushwoosh that pushes on one stream for as long as it can take more.

use super::supply::Supply;
use anyhow::{Context as _, Result, bail, ensure};
use futures_util::stream::{self, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tidings_proto::pushwoosh::Event;
use tidings_proto::pushwoosh::event_streaming_client::EventStreamingClient;
use tonic::Request;
use tonic::transport::Channel;

#[derive(Clone, Debug)]
pub(super) struct Push {
    pub(super) at: SocketAddr,
    pub(super) authorization: &'static str,
    /// Its own among several.
    pub(super) number: usize,
    pub(super) text: String,
    /// Counted over all of them.
    pub(super) successes: Arc<AtomicUsize>,
}

impl Push {
    /// Sends until the supply ends, and what was not answered `Success` again on later
    /// streams, until all was: so many there were.
    pub(super) async fn run(self, supply: Arc<Supply>) -> Result<usize> {
        let mut client = EventStreamingClient::connect(format!("http://{}", self.at)).await?;
        let endless = stream::unfold(0, {
            let (push, supply) = (self.clone(), supply.clone());
            move |number| {
                let next = supply
                    .take(number)
                    .then(|| (push.event(number), number + 1));
                async move { next }
            }
        });
        let mut successes = self.stream(&mut client, endless).await?;
        loop {
            let again: Vec<Event> = (0..supply.taken())
                .map(|number| self.event(number))
                .filter(|event| !successes.contains(&event.uuid))
                .collect();
            if again.is_empty() {
                return Ok(successes.len());
            }
            successes.extend(self.stream(&mut client, stream::iter(again)).await?);
        }
    }

    /// The uuids that were answered `Success`. None may be answered twice.
    async fn stream(
        &self,
        client: &mut EventStreamingClient<Channel>,
        events: impl Stream<Item = Event> + Send + 'static,
    ) -> Result<BTreeSet<String>> {
        let mut request = Request::new(events);
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.authorization.parse()?);
        let mut replies = client.stream_events(request).await?.into_inner();
        let mut answers = BTreeMap::new();
        while let Some(reply) = replies.message().await.context("the stream failed")? {
            if reply.status == "Success" {
                self.successes.fetch_add(1, Ordering::SeqCst);
            }
            if let Some(before) = answers.insert(reply.uuid.clone(), reply.status) {
                bail!("{} was answered before: {before}", reply.uuid);
            }
        }
        let own = self.prefix();
        ensure!(answers.keys().all(|uuid| uuid.starts_with(&own)));
        answers.retain(|_, status| status == "Success");
        Ok(answers.into_keys().collect())
    }

    fn prefix(&self) -> String {
        format!("{:08x}-0000-4000-8000-", self.number)
    }

    fn event(&self, number: usize) -> Event {
        Event {
            uuid: format!("{}{number:012x}", self.prefix()),
            event_name: "Push Sent".to_owned(),
            platform: "iOS".to_owned(),
            payload: self.text.clone(),
            timestamp: 1_793_500_000,
            hwid: format!("device-{number}"),
            ..Event::default()
        }
    }
}
