//! The leases of streams are asked for each time that the sources may have changed, in time
//! to renew those that are held, and when another worker's lease is over.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::prelude::*;
use tracing::warn;

use super::Streams;
use crate::sources::{control::TakeLeases, queries::Unheld};

impl Streams {
    fn hold_after(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        ctx.cancel_future(self.next_hold);
        self.next_hold = ctx.notify_later(Hold, pause);
    }

    /// The names of the sources that some worker follows, if the sources are known.
    fn followed(&self) -> Option<Vec<Arc<str>>> {
        let sources = self.snapshot.borrow().sources.clone()?;
        let followed = sources.values().filter(|source| source.is_followed());
        Some(followed.map(|source| source.name.clone()).collect())
    }
}

/// Asks for the leases again.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Hold;

impl Handler<Hold> for Streams {
    // The response is atomic, so that an older answer never replaces a newer one.
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Hold, _: &mut Self::Context) -> Self::Result {
        // A release wakes every worker, including this one, which must not take the
        // leases again.
        let sources = self.followed().filter(|_| !self.draining);
        let (control, holder, time) = (self.control.clone(), self.leases.holder, self.leases.time);
        let hold = async move {
            let sources = sources?;
            if sources.is_empty() {
                return Some(Ok(HashMap::new()));
            }
            let take = TakeLeases {
                holder,
                sources,
                time,
            };
            // An error means that the process is ending.
            control.send(take).await.ok()
        };
        let hold = hold.into_actor(self).map(move |held, actor, ctx| match held {
            Some(Ok(known)) => {
                let pause = actor.leases.learn(known);
                actor.hold_after(pause, ctx);
                actor.reconcile(ctx);
            }
            Some(Err(Unheld::Refused(reason))) => {
                // Webhooks and pushes are not affected.
                warn!(
                    reason,
                    "the leases of streams cannot be taken or renewed; other workers take over when they expire"
                );
                actor.hold_after(actor.leases.renewal(), ctx);
            }
            // The first list that the next connection reads brings the next question.
            Some(Err(Unheld::Lost(_))) | None => {}
        });
        AtomicResponse::new(Box::pin(hold))
    }
}
