//! The registry asks for the leases of streams: each time that the sources may have changed,
//! in time to renew what it holds, and when another worker's lease is over.

use std::{collections::HashMap, time::Duration};

use actix::prelude::*;
use tracing::warn;

use super::Registry;
use crate::sources::control::Unheld;

impl Registry {
    fn hold_after(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        ctx.cancel_future(self.next_hold);
        self.next_hold = ctx.notify_later(Hold, pause);
    }
}

/// Ask for the leases again.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Hold;

impl Handler<Hold> for Registry {
    // Atomic: an older answer never replaces a newer one.
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Hold, _: &mut Self::Context) -> Self::Result {
        // What is given back wakes every worker, this one too, and stays given back.
        let control = self.control.clone().filter(|_| !self.draining);
        let attempt = self.attempt;
        let (holder, time) = (self.leases.holder, self.leases.time);
        let sources = self.snapshot.borrow().sources.clone();
        let hold = async move {
            let (control, sources) = control.zip(sources)?;
            let followed = sources.values().filter(|source| source.is_followed());
            let names: Vec<&str> = followed.map(|source| source.name.as_ref()).collect();
            if names.is_empty() {
                return Some(Ok(HashMap::new()));
            }
            Some(control.hold(holder, &names, time).await)
        };
        let hold = hold.into_actor(self).map(move |held, actor, ctx| {
            let current = actor.attempt == attempt && actor.control.is_some();
            match held {
                Some(Ok(known)) if current => {
                    let pause = actor.leases.learn(known);
                    actor.hold_after(pause, ctx);
                    actor.reconcile(ctx);
                }
                Some(Err(Unheld::Lost(reason))) if current => actor.lose(reason, ctx),
                Some(Err(Unheld::Refused(reason))) if current => {
                    // Webhooks and pushes have nothing to do with it.
                    warn!(
                        reason,
                        "the leases of streams cannot be taken or renewed: other workers take them when they expire"
                    );
                    actor.hold_after(actor.leases.renewal(), ctx);
                }
                // The next connection asks first of all.
                _ => {}
            }
        });
        AtomicResponse::new(Box::pin(hold))
    }
}
