//! Who plays a provider, and how wide.

use std::{pin::Pin, sync::Arc};

use ::http::header::AUTHORIZATION;
use anyhow::{Context as _, Result};
use tidings_proto::ppoppo::{ChannelMessageEvent, SendRequestEvent};

use crate::{
    args::Run,
    arpoone,
    clock::Time,
    deliver::Policy,
    draw::{Draw, Purpose},
    faults::{Fault, Faults, Part},
    forms::Forms,
    http::{Caller, Connections, address},
    lane::{Call, Lane},
    ledger::Book,
    mix::Provider,
    pace::Pace,
    ppoppo::{self, Chats, Expiry, Kinds, Log, Requests, Stories},
    pushpushgo, pushwoosh,
    schema::Schema,
    stdin::Stop,
};

/// Calls under way at once. A receiver that gathers what comes together into one commit
/// needs a few to gather; PushPushGo sends one event a call and so needs most.
const PUSHWOOSH_WIDTH: usize = 4;
const ARPOONE_WIDTH: usize = 8;
const PUSHPUSHGO_WIDTH: usize = 32;

/// Not `Send`: everything runs on the one thread there is.
type Playing = Pin<Box<dyn Future<Output = Result<()>>>>;

/// A provider's part of the run.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) provider: Provider,
    pub(super) events: u32,
    pub(super) book: Arc<Book>,
}

impl Player {
    pub(super) fn new(provider: Provider, events: u32, settings: &Run) -> Self {
        let sources = &settings.sources;
        let name = match provider {
            Provider::Ppoppo => &sources.ppoppo_name,
            Provider::PpoppoChannels => &sources.ppoppo_channels_name,
            Provider::Pushwoosh => &sources.pushwoosh_name,
            Provider::PushwooshGrpc => &sources.pushwoosh_grpc_name,
            Provider::Arpoone => &sources.arpoone_name,
            Provider::Pushpushgo => &sources.pushpushgo_name,
        };
        Self {
            provider,
            events,
            book: Book::new(name),
        }
    }
}

/// What every player needs to know.
#[derive(Debug)]
pub(super) struct Cast<'a> {
    pub(super) settings: &'a Run,
    pub(super) events: Arc<Log<SendRequestEvent>>,
    pub(super) messages: Arc<Log<ChannelMessageEvent>>,
    pub(super) requests: Arc<Requests>,
    pub(super) faults: Arc<Faults>,
    pub(super) stop: Stop,
    pub(super) expiries: Vec<Expiry>,
}

impl Cast<'_> {
    pub(super) fn play(&self, player: Player) -> Result<Playing> {
        match player.provider {
            Provider::Ppoppo => Ok(self.ppoppo(&player)),
            Provider::PpoppoChannels => Ok(self.ppoppo_channels(&player)),
            Provider::Pushwoosh => self.pushwoosh(player),
            Provider::PushwooshGrpc => self.pushwoosh_grpc(player),
            Provider::Arpoone => self.arpoone(player),
            Provider::Pushpushgo => self.pushpushgo(player),
        }
    }

    fn ppoppo(&self, player: &Player) -> Playing {
        let kinds = match self.settings.schema {
            Schema::Documented => Kinds::Published,
            Schema::Variant => Kinds::Page,
        };
        let stories = Stories::new(
            self.draw(Purpose::Ppoppo),
            kinds,
            Time::present(),
            player.events,
            Arc::clone(&self.requests),
        );
        let (log, pace) = (Arc::clone(&self.events), self.pace(player));
        let requests = Arc::clone(&self.requests);
        Box::pin(async move {
            ppoppo::produce(stories, &log, &pace, |event| requests.tell(event)).await;
            Ok(())
        })
    }

    fn ppoppo_channels(&self, player: &Player) -> Playing {
        let draw = self.draw(Purpose::PpoppoChannels);
        let chats = Chats::new(draw, Time::present(), player.events);
        let (log, pace) = (Arc::clone(&self.messages), self.pace(player));
        Box::pin(async move {
            ppoppo::produce(chats, &log, &pace, |_| {}).await;
            Ok(())
        })
    }

    fn pushwoosh(&self, player: Player) -> Result<Playing> {
        let Run {
            from,
            duplicates,
            ref sources,
            ..
        } = *self.settings;
        let draw = self.draw(Purpose::Pushwoosh);
        let calls = pushwoosh::http::Calls::new(
            draw,
            forms(self.settings, Provider::Pushwoosh),
            from,
            player.events,
            duplicates,
            Arc::clone(&self.faults),
        );
        let caller = self.caller(&[&sources.pushwoosh_name], Connections::Closed)?;
        let caller = caller.with(AUTHORIZATION, sources.pushwoosh_authorization.clone());
        Ok(self.lane(
            player,
            caller,
            pushwoosh::http::POLICY,
            PUSHWOOSH_WIDTH,
            calls,
        ))
    }

    fn pushwoosh_grpc(&self, player: Player) -> Result<Playing> {
        let pace = self.pace(&player);
        let target = pushwoosh::grpc::Target {
            address: self.settings.grpc.clone().context("--grpc is missing")?,
            authorization: self.settings.sources.pushwoosh_grpc_authorization.clone(),
        };
        let plan = pushwoosh::grpc::Plan {
            draw: self.draw(Purpose::PushwooshGrpc),
            from: self.settings.from,
            events: player.events,
            duplicates: self.settings.duplicates,
            faults: Arc::clone(&self.faults),
            schema: self.settings.schema,
        };
        Ok(Box::pin(pushwoosh::grpc::drive(
            target,
            plan,
            player.book,
            pace,
        )))
    }

    fn arpoone(&self, player: Player) -> Result<Playing> {
        let Run {
            from,
            duplicates,
            ref sources,
            ..
        } = *self.settings;
        let draw = self.draw(Purpose::Arpoone);
        let forms = forms(self.settings, Provider::Arpoone);
        let calls = arpoone::Calls::new(draw, forms, from, player.events, duplicates);
        let path = [sources.arpoone_name.as_str(), &sources.arpoone_token];
        let caller = self.caller(&path, Connections::Kept)?;
        Ok(self.lane(player, caller, arpoone::POLICY, ARPOONE_WIDTH, calls))
    }

    fn pushpushgo(&self, player: Player) -> Result<Playing> {
        let Run {
            from,
            duplicates,
            ref sources,
            ..
        } = *self.settings;
        let draw = self.draw(Purpose::Pushpushgo);
        let forms = forms(self.settings, Provider::Pushpushgo);
        let project = &sources.pushpushgo_project;
        let calls = pushpushgo::Calls::new(draw, forms, from, player.events, duplicates, project)?;
        let caller = self.caller(&[&sources.pushpushgo_name], Connections::Kept)?;
        Ok(self.lane(player, caller, pushpushgo::POLICY, PUSHPUSHGO_WIDTH, calls))
    }

    fn lane(
        &self,
        player: Player,
        caller: Caller,
        policy: Policy,
        width: usize,
        calls: impl Iterator<Item = Call> + 'static,
    ) -> Playing {
        let lane = Lane {
            caller,
            policy,
            pace: self.pace(&player),
            losing: self.faults.asks(Fault::LostAnswers).then(|| {
                let part = Part::LostAnswer(player.provider);
                (Arc::clone(&self.faults), part)
            }),
            book: player.book,
            width,
        };
        Box::pin(async move {
            lane.drive(calls).await;
            Ok(())
        })
    }

    fn caller(&self, path: &[&str], connections: Connections) -> Result<Caller> {
        let base = self.settings.http.as_ref().context("--http is missing")?;
        let segments: Vec<&str> = ["hooks"].iter().chain(path).copied().collect();
        let uri = address(base, &segments).context("a name or a token does not fit into a URL")?;
        Ok(Caller::new(uri, connections))
    }

    fn draw(&self, purpose: Purpose) -> Draw {
        Draw::new(self.settings.seed, purpose)
    }

    fn pace(&self, player: &Player) -> Pace {
        let Run { rate, events, .. } = *self.settings;
        Pace::new(rate, player.events, events, self.stop.clone())
    }
}

/// What draws a provider's forms, where they are liberal.
pub(super) fn forms(settings: &Run, provider: Provider) -> Option<Draw> {
    (settings.forms == Forms::Liberal).then(|| Draw::new(settings.seed, Purpose::Forms(provider)))
}
