//! The servers of the emulator: Ppoppo's streams, and its token endpoint.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tidings_proto::ppoppo::{ChannelMessageEvent, SendRequestEvent};
use tokio::net::TcpListener;

use super::players::{Player, forms};
use crate::{
    args::Run,
    draw::{Draw, Purpose},
    faults::{Fault, Faults},
    ledger::Book,
    mix::Provider,
    ppoppo::{
        Access, Endings, Expiry, Feed, Log, Manner, Requests, Service, Terms, Tokens, serve,
        serve_tokens, serve_variant,
    },
    schema::Schema,
};

#[derive(Debug)]
pub(super) struct Server {
    listener: TcpListener,
    oauth: Option<(TcpListener, Arc<Tokens>)>,
    events: Arc<Log<SendRequestEvent>>,
    messages: Arc<Log<ChannelMessageEvent>>,
    /// The expiry of each stream's next cursor.
    expiries: Vec<Expiry>,
    service: Service,
}

impl Server {
    /// Listens. A stream without events is served too, from an empty log.
    pub(super) async fn open(
        settings: &Run,
        players: &[Player],
        faults: &Arc<Faults>,
        requests: &Arc<Requests>,
    ) -> Result<Self> {
        let sources = &settings.sources;
        let (book, number) = share(players, Provider::Ppoppo);
        let manner = Manner {
            forms: forms(settings, Provider::Ppoppo),
            late_of: faults.asks(Fault::Disorder).then_some(number),
            window: sources.ppoppo_window,
            faults: Arc::clone(faults),
        };
        let events = Log::new(book, manner);
        let keep_alive = Duration::from_secs(sources.ppoppo_keep_alive.into());
        let endings = Endings::new(settings.seed, number, faults);
        let mut expiries = vec![endings.expiry()];
        let event_feed = Feed::new(Arc::clone(&events), endings, keep_alive);

        let (book, number) = share(players, Provider::PpoppoChannels);
        let manner = Manner {
            forms: forms(settings, Provider::PpoppoChannels),
            late_of: None,
            window: sources.ppoppo_window,
            faults: Arc::clone(faults),
        };
        let messages = Log::new(book, manner);
        let endings = Endings::new(settings.seed, number, faults);
        expiries.push(endings.expiry());
        let message_feed = Feed::new(Arc::clone(&messages), endings, keep_alive);

        let listener = listen(settings.ppoppo_listen).await?;
        let oauth = if sources.ppoppo_tokens || faults.asks(Fault::TokenExpiry) {
            let at = SocketAddr::new(settings.ppoppo_listen.ip(), 0);
            let tokens = tokens(settings, listener.local_addr()?, faults);
            Some((listen(at).await?, tokens))
        } else {
            None
        };
        let access = match &oauth {
            Some((_, tokens)) => Access::Issued(Arc::clone(tokens)),
            None => Access::Token(sources.ppoppo_token.clone()),
        };
        Ok(Self {
            listener,
            oauth,
            events,
            messages,
            expiries,
            service: Service::new(
                access,
                Arc::clone(faults),
                event_feed,
                message_feed,
                Arc::clone(requests),
            ),
        })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub(super) fn oauth_address(&self) -> io::Result<Option<SocketAddr>> {
        let oauth = self.oauth.as_ref();
        oauth.map(|(listener, _)| listener.local_addr()).transpose()
    }

    pub(super) fn events(&self) -> Arc<Log<SendRequestEvent>> {
        Arc::clone(&self.events)
    }

    pub(super) fn messages(&self) -> Arc<Log<ChannelMessageEvent>> {
        Arc::clone(&self.messages)
    }

    pub(super) fn expiries(&self) -> Vec<Expiry> {
        self.expiries.clone()
    }

    /// Serves until dropped, or until a listener fails.
    pub(super) async fn serve(self, schema: Schema) -> io::Result<()> {
        let tokens = async {
            match self.oauth {
                Some((listener, tokens)) => serve_tokens(listener, tokens).await,
                None => std::future::pending().await,
            }
        };
        let streams = async {
            match schema {
                Schema::Documented => serve(self.listener, self.service).await,
                Schema::Variant => serve_variant(self.listener, self.service).await,
            }
        };
        tokio::select! {
            ended = tokens => ended,
            ended = streams => ended,
        }
    }
}

/// The book of a stream, and how many events are played on it.
fn share(players: &[Player], provider: Provider) -> (Arc<Book>, u32) {
    let player = players.iter().find(|player| player.provider == provider);
    player.map_or_else(
        || (Book::new(provider.word()), 0),
        |player| (Arc::clone(&player.book), player.events),
    )
}

async fn listen(at: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(at).await;
    listener.with_context(|| format!("cannot listen on {at}"))
}

fn tokens(settings: &Run, api: SocketAddr, faults: &Arc<Faults>) -> Arc<Tokens> {
    let sources = &settings.sources;
    let expires = faults.asks(Fault::TokenExpiry);
    let resource = sources.ppoppo_resource.clone();
    let terms = Terms {
        client: sources.ppoppo_client_id.clone(),
        secret: sources.ppoppo_client_secret.clone(),
        lifetime: Duration::from_secs(sources.ppoppo_token_seconds.into()),
        events: expires.then_some(sources.ppoppo_token_events),
        resource: resource.unwrap_or_else(|| format!("http://{api}/ext")),
        scope: sources.ppoppo_scope.clone(),
    };
    let draw = Draw::new(settings.seed, Purpose::Tokens);
    Tokens::new(terms, draw, Arc::clone(faults))
}
