//! A send request: whom it goes to, and what happens to it.

use std::collections::{HashSet, VecDeque};

use prost_types::Timestamp;
use tidings_proto::ppoppo::{
    RecipientDeliveryStatus as Delivery, RecipientStatus, SendRequestEvent,
    SendRequestEventType as Type, SendRequestStatus as Status, SendRequestSummary,
};

use super::{
    Kinds,
    fate::{self, Turn},
};
use crate::{draw::Draw, ppoppo::requests::count};

/// Numbers of the page's types, which the contract reserves.
pub(in crate::ppoppo) const CONSENT_GRANTED: i32 = 4;
pub(in crate::ppoppo) const CONSENT_DENIED: i32 = 5;
pub(in crate::ppoppo) const POLL_RESPONSE_RECEIVED: i32 = 7;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A turn of the recipient at this place.
    Turn(usize, Turn),
    Completed,
    /// The request stops before every recipient was processed.
    Failed,
}

#[derive(Debug)]
pub(super) struct Request {
    id: String,
    created_at: Timestamp,
    recipients: Vec<RecipientStatus>,
    /// The id that each recipient's message gets when it is delivered.
    messages: Vec<String>,
    /// The recipients that the page's events about consent and polls do not name.
    unnamed: HashSet<usize>,
    steps: VecDeque<Step>,
}

impl Request {
    /// `id` makes the ids of the request, its recipients and its messages.
    pub(super) fn new(
        draw: &mut Draw,
        kinds: Kinds,
        created_at: Timestamp,
        id: &mut impl FnMut(&mut Draw) -> String,
    ) -> Self {
        let size = match draw.between(0, 99) {
            0..60 => draw.between(1, 5),
            60..97 => draw.between(6, 40),
            _ => draw.between(100, 1000),
        };
        let mut request = Self {
            id: id(draw),
            created_at,
            recipients: Vec::new(),
            messages: Vec::new(),
            unnamed: HashSet::new(),
            steps: VecDeque::new(),
        };
        let mut known = HashSet::new();
        for _ in 0..size {
            let ppnum = ppnum(draw, &mut known);
            request.recipients.push(RecipientStatus {
                id: id(draw),
                ppnum,
                status: Delivery::Pending.into(),
                created_at: Some(created_at),
                ..RecipientStatus::default()
            });
            request.messages.push(id(draw));
        }
        request.plan(draw, kinds);
        request
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn recipients(&self) -> &[RecipientStatus] {
        &self.recipients
    }

    pub(super) fn is_over(&self) -> bool {
        self.steps.is_empty()
    }

    /// The next event of the request, without an id.
    pub(super) fn step(&mut self, now: Timestamp) -> Option<SendRequestEvent> {
        let mut event = SendRequestEvent {
            send_request_id: self.id.clone(),
            occurred_at: Some(now),
            ..SendRequestEvent::default()
        };
        match self.steps.pop_front()? {
            Step::Turn(at, turn) => {
                event.event_type = number(turn);
                event.recipient = self.turn(at, turn);
            }
            Step::Completed => {
                event.event_type = Type::RequestCompleted.into();
                event.summary = Some(self.summary(Status::Completed, now));
            }
            Step::Failed => {
                event.event_type = Type::RequestFailed.into();
                event.summary = Some(self.summary(Status::Failed, now));
            }
        }
        Some(event)
    }

    /// Processes the recipients in any order, and then ends the request. The further turns of
    /// held recipients come before or after the end.
    fn plan(&mut self, draw: &mut Draw, kinds: Kinds) {
        let mut waiting: Vec<usize> = (0..self.recipients.len()).collect();
        let fails = kinds == Kinds::Published && draw.chance(0.08);
        let unprocessed = if fails {
            draw.index(waiting.len()) + 1
        } else {
            0
        };
        let mut later: Vec<VecDeque<Step>> = Vec::new();
        while waiting.len() > unprocessed {
            if draw.chance(0.25) {
                self.steps.extend(any(draw, &mut later));
                continue;
            }
            let at = waiting.swap_remove(draw.index(waiting.len()));
            // The page says "present for per-recipient events"; the SDK of its time has
            // none with consent and polls.
            if kinds == Kinds::Page && draw.chance(0.2) {
                self.unnamed.insert(at);
            }
            let turns = fate::draw(draw, kinds);
            let mut steps: VecDeque<Step> =
                turns.into_iter().map(|turn| Step::Turn(at, turn)).collect();
            self.steps.extend(steps.pop_front());
            if !steps.is_empty() {
                later.push(steps);
            }
        }
        self.steps
            .push_back(if fails { Step::Failed } else { Step::Completed });
        while !later.is_empty() {
            self.steps.extend(any(draw, &mut later));
        }
    }

    fn turn(&mut self, at: usize, turn: Turn) -> Option<RecipientStatus> {
        let recipient = self.recipients.get_mut(at)?;
        match turn {
            Turn::Delivered => {
                recipient.status = Delivery::Delivered.into();
                recipient.message_id = self.messages.get(at).cloned();
            }
            Turn::Failed(code) => {
                recipient.status = Delivery::Failed.into();
                recipient.error_code = Some(code.to_owned());
            }
            Turn::Held => recipient.status = Delivery::PendingConsent.into(),
            Turn::Granted | Turn::Denied | Turn::Voted => {
                let named = !self.unnamed.contains(&at);
                return named.then(|| RecipientStatus {
                    ppnum: recipient.ppnum.clone(),
                    ..RecipientStatus::default()
                });
            }
        }
        Some(recipient.clone())
    }

    fn summary(&self, status: Status, now: Timestamp) -> SendRequestSummary {
        SendRequestSummary {
            id: self.id.clone(),
            status: status.into(),
            created_at: Some(self.created_at),
            completed_at: Some(now),
            ..count(&self.recipients)
        }
    }
}

/// The next step of any of these recipients.
fn any(draw: &mut Draw, later: &mut Vec<VecDeque<Step>>) -> Option<Step> {
    let at = draw.index(later.len());
    let steps = later.get_mut(at)?;
    let step = steps.pop_front();
    if steps.is_empty() {
        later.swap_remove(at);
    }
    step
}

/// A number that no other recipient of the request has: 11 digits, now and then 15.
fn ppnum(draw: &mut Draw, known: &mut HashSet<String>) -> String {
    loop {
        let digits = draw.between(0, 99_999_999);
        let ppnum = if draw.chance(0.1) {
            format!("123{digits:08}{:04}", draw.between(0, 9999))
        } else {
            format!("123{digits:08}")
        };
        if known.insert(ppnum.clone()) {
            return ppnum;
        }
    }
}

fn number(turn: Turn) -> i32 {
    match turn {
        Turn::Delivered => Type::RecipientDelivered.into(),
        Turn::Failed(_) => Type::RecipientFailed.into(),
        Turn::Held => Type::RecipientPendingConsent.into(),
        Turn::Granted => CONSENT_GRANTED,
        Turn::Denied => CONSENT_DENIED,
        Turn::Voted => POLL_RESPONSE_RECEIVED,
    }
}
