//! Brings outcomes to the thread whose requests wait for them.

use tokio::sync::{mpsc, oneshot};

use super::request::Outcome;

/// Brings all outcomes of a batch to its thread at once. A thread that runs a runtime of its
/// own, as those of the HTTP server do, is woken up by a system call for each message of
/// another thread; so it gets one for a batch rather than one for each request.
#[derive(Clone, Debug)]
pub(crate) struct Courier(mpsc::UnboundedSender<Vec<Letter>>);

/// The outcomes of one submission, and who waits for them.
type Letter = (oneshot::Sender<Vec<Outcome>>, Vec<Outcome>);

/// The destination of the outcomes of a submission.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(super) to: oneshot::Sender<Vec<Outcome>>,
    /// The courier that brings them to another thread, if that is worth while.
    pub(super) by: Option<Courier>,
}

impl Courier {
    /// A courier to this thread. What is on its way is bounded by the submissions.
    pub(super) fn start() -> Self {
        let (sender, mut letters) = mpsc::unbounded_channel();
        tokio::task::spawn_local(async move {
            while let Some(letters) = letters.recv().await {
                deliver(letters);
            }
        });
        Self(sender)
    }
}

/// Gives everybody what is theirs. Whoever no longer waits misses nothing, because they
/// never acknowledged their requests, whose senders retry.
fn deliver(letters: Vec<Letter>) {
    for (to, outcomes) in letters {
        let _ = to.send(outcomes);
    }
}

/// The outcomes of one batch, sorted by the courier that takes them along.
#[derive(Debug, Default)]
pub(super) struct Mail(Vec<(Option<Courier>, Vec<Letter>)>);

impl Mail {
    pub(super) fn add(&mut self, reply: Reply, outcomes: Vec<Outcome>) {
        let is_same = |by: &Option<Courier>| match (by, &reply.by) {
            (Some(one), Some(other)) => one.0.same_channel(&other.0),
            (one, other) => one.is_none() && other.is_none(),
        };
        let letter = (reply.to, outcomes);
        match self.0.iter_mut().find(|(by, _)| is_same(by)) {
            Some((_, letters)) => letters.push(letter),
            None => self.0.push((reply.by, vec![letter])),
        }
    }

    pub(super) fn send(self) {
        for (by, letters) in self.0 {
            let Some(courier) = by else {
                deliver(letters);
                continue;
            };
            // A thread that is ending may still have someone who waits.
            if let Err(mpsc::error::SendError(letters)) = courier.0.send(letters) {
                deliver(letters);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;
    use crate::pipeline::request::{Refusal, Verdict, fake};

    fn outcome(n: usize) -> Vec<Outcome> {
        vec![Ok(fake::receipt(Verdict::Accepted)); n]
    }

    #[actix::test]
    async fn one_message_brings_all_outcomes_of_a_thread() {
        let (sender, mut letters) = mpsc::unbounded_channel();
        let courier = Courier(sender);
        let mut mail = Mail::default();
        let mut waiting = Vec::new();
        for (n, by) in [(1, Some(&courier)), (2, None), (3, Some(&courier))] {
            let (to, outcomes) = oneshot::channel();
            let by = by.cloned();
            mail.add(Reply { to, by }, outcome(n));
            waiting.push(outcomes);
        }
        mail.send();
        assert_eq!(waiting[1].try_recv(), Ok(outcome(2)), "by nobody: at once");
        assert_eq!(waiting[0].try_recv(), Err(TryRecvError::Empty));
        let brought = letters.recv().await.unwrap();
        assert_eq!(brought.len(), 2);
        assert!(letters.is_empty());
        deliver(brought);
        assert_eq!(waiting[0].try_recv(), Ok(outcome(1)));
        assert_eq!(waiting[2].try_recv(), Ok(outcome(3)));
    }

    #[actix::test]
    async fn each_thread_gets_its_own_outcomes() {
        let couriers: Vec<_> = (0..2).map(|_| mpsc::unbounded_channel()).collect();
        let mut mail = Mail::default();
        for (sender, _) in couriers.iter().chain(&couriers) {
            let by = Some(Courier(sender.clone()));
            let to = oneshot::channel().0;
            mail.add(Reply { to, by }, outcome(1));
        }
        mail.send();
        for (_, mut letters) in couriers {
            assert_eq!(letters.recv().await.unwrap().len(), 2);
            assert!(letters.is_empty());
        }
    }

    #[actix::test]
    async fn a_courier_delivers_and_who_has_none_left_is_answered_all_the_same() {
        let refused = || vec![Err(Refusal::Stopping)];
        let gone = Courier(mpsc::unbounded_channel().0);
        for by in [Courier::start(), gone] {
            let (to, outcomes) = oneshot::channel();
            let mut mail = Mail::default();
            mail.add(Reply { to, by: Some(by) }, refused());
            mail.send();
            assert_eq!(outcomes.await, Ok(refused()));
        }
    }
}
