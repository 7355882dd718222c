//! What is served rather than sent: Ppoppo's stream, and its token endpoint.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tidings_proto::ppoppo::external_message_service_server::ExternalMessageServiceServer;
use tokio::net::TcpListener;

use super::players::{Player, forms};
use crate::{
    args::Run,
    draw::{Draw, Purpose},
    faults::{Fault, Faults},
    ledger::Book,
    mix::Provider,
    ppoppo::{
        Access, Endings, Log, Manner, NoticeServiceServer, Service, Terms, Tokens, serve,
        serve_tokens,
    },
    schema::Schema,
};

#[derive(Debug)]
pub(super) struct Server {
    listener: TcpListener,
    oauth: Option<(TcpListener, Arc<Tokens>)>,
    log: Arc<Log>,
    service: Service,
}

impl Server {
    /// Listens. Without events it is served all the same, from an empty log.
    pub(super) async fn open(
        settings: &Run,
        players: &[Player],
        faults: &Arc<Faults>,
    ) -> Result<Self> {
        let player = players
            .iter()
            .find(|player| player.provider == Provider::Ppoppo);
        let events = player.map_or(0, |player| player.events);
        let book = player.map_or_else(|| Book::new("ppoppo"), |player| Arc::clone(&player.book));
        let manner = Manner {
            forms: forms(settings, Provider::Ppoppo),
            late_of: faults.asks(Fault::Disorder).then_some(events),
            faults: Arc::clone(faults),
        };
        let log = Log::new(book, manner);
        let endings = Endings::new(settings.seed, events, faults);
        let listener = listen(settings.ppoppo_listen).await?;
        let oauth = if faults.asks(Fault::TokenExpiry) {
            let at = SocketAddr::new(settings.ppoppo_listen.ip(), 0);
            Some((listen(at).await?, tokens(settings, faults)))
        } else {
            None
        };
        let access = match &oauth {
            Some((_, tokens)) => Access::Issued(Arc::clone(tokens)),
            None => Access::Token(settings.sources.ppoppo_token.clone()),
        };
        Ok(Self {
            listener,
            oauth,
            service: Service::new(Arc::clone(&log), endings, access, Arc::clone(faults)),
            log,
        })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub(super) fn oauth_address(&self) -> io::Result<Option<SocketAddr>> {
        let oauth = self.oauth.as_ref();
        oauth.map(|(listener, _)| listener.local_addr()).transpose()
    }

    pub(super) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// Serves until dropped, or until a listener fails.
    pub(super) async fn serve(self, schema: Schema) -> io::Result<()> {
        let tokens = async {
            match self.oauth {
                Some((listener, tokens)) => serve_tokens(listener, tokens).await,
                None => std::future::pending().await,
            }
        };
        let stream = async {
            let (listener, service) = (self.listener, self.service);
            match schema {
                Schema::Documented => {
                    serve(listener, ExternalMessageServiceServer::new(service)).await
                }
                Schema::Variant => serve(listener, NoticeServiceServer::new(service)).await,
            }
        };
        tokio::select! {
            ended = tokens => ended,
            ended = stream => ended,
        }
    }
}

async fn listen(at: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(at).await;
    listener.with_context(|| format!("cannot listen on {at}"))
}

fn tokens(settings: &Run, faults: &Arc<Faults>) -> Arc<Tokens> {
    let sources = &settings.sources;
    let terms = Terms {
        client: sources.ppoppo_client_id.clone(),
        secret: sources.ppoppo_client_secret.clone(),
        lifetime: Duration::from_secs(sources.ppoppo_token_seconds.into()),
        events: sources.ppoppo_token_events,
    };
    let draw = Draw::new(settings.seed, Purpose::Tokens);
    Tokens::new(terms, draw, Arc::clone(faults))
}
