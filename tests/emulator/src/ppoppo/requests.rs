//! What the provider knows of each send request: its summary, and its recipients.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use prost_types::Timestamp;
use serde::Serialize;
use tidings_proto::ppoppo::{
    GetSendRequestStatusResponse, RecipientDeliveryStatus as Delivery, RecipientStatus,
    SendRequestEvent, SendRequestEventType as Type, SendRequestStatus as Status,
    SendRequestSummary,
};

#[derive(Debug)]
struct Request {
    summary: SendRequestSummary,
    recipients: Vec<RecipientStatus>,
    /// The place of each recipient in the list, by its id.
    places: HashMap<String, usize>,
}

/// All send requests: opened when they are drawn, and updated by each event.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    requests: Vec<Request>,
    places: HashMap<String, usize>,
}

/// What became of a send request; a test compares it with the state in the database.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) source: String,
    pub(crate) id: String,
    pub(crate) status: &'static str,
    pub(crate) recipients: Vec<Person>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Person {
    pub(crate) ppnum: String,
    pub(crate) status: &'static str,
    pub(crate) message_id: Option<String>,
    pub(crate) error_code: Option<String>,
}

impl Requests {
    pub(super) fn open(&self, id: &str, created_at: Timestamp, recipients: Vec<RecipientStatus>) {
        let places = recipients.iter().enumerate();
        let request = Request {
            places: places.map(|(at, one)| (one.id.clone(), at)).collect(),
            summary: SendRequestSummary {
                id: id.to_owned(),
                status: Status::Queued.into(),
                created_at: Some(created_at),
                ..count(&recipients)
            },
            recipients,
        };
        let mut pages = self.pages();
        let at = pages.requests.len();
        pages.places.insert(id.to_owned(), at);
        pages.requests.push(request);
    }

    pub(crate) fn tell(&self, event: &SendRequestEvent) {
        let mut pages = self.pages();
        let at = pages.places.get(&event.send_request_id).copied();
        let Some(request) = at.and_then(|at| pages.requests.get_mut(at)) else {
            return;
        };
        request.tell(event);
    }

    pub(super) fn status(&self, id: &str) -> Option<GetSendRequestStatusResponse> {
        let pages = self.pages();
        let request = pages.requests.get(*pages.places.get(id)?)?;
        Some(GetSendRequestStatusResponse {
            request: Some(request.summary()),
            recipients: request.recipients.clone(),
        })
    }

    /// The outcomes of the requests that have had an event.
    pub(crate) fn outcomes(&self, source: &str) -> Vec<Outcome> {
        let pages = self.pages();
        let queued = i32::from(Status::Queued);
        let begun = pages.requests.iter();
        begun
            .filter(|request| request.summary.status != queued)
            .map(|request| Outcome {
                source: source.to_owned(),
                id: request.summary.id.clone(),
                status: request.summary.status().word(),
                recipients: request.recipients.iter().map(person).collect(),
            })
            .collect()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    fn tell(&mut self, event: &SendRequestEvent) {
        let known = event.recipient.as_ref().and_then(|told| {
            let at = *self.places.get(&told.id)?;
            Some((self.recipients.get_mut(at)?, told))
        });
        if let Some((known, told)) = known {
            known.clone_from(told);
        }
        let ends_as = match event.event_type() {
            Type::RequestCompleted => Some(Status::Completed),
            Type::RequestFailed => Some(Status::Failed),
            _ => None,
        };
        if let Some(status) = ends_as {
            self.summary.status = status.into();
            self.summary.completed_at = event.occurred_at;
        } else if self.summary.status() == Status::Queued {
            self.summary.status = Status::Processing.into();
        }
    }

    fn summary(&self) -> SendRequestSummary {
        SendRequestSummary {
            total_recipients: self.summary.total_recipients,
            id: self.summary.id.clone(),
            status: self.summary.status,
            created_at: self.summary.created_at,
            completed_at: self.summary.completed_at,
            ..count(&self.recipients)
        }
    }
}

/// The counts of a summary, and nothing else of it.
pub(super) fn count(recipients: &[RecipientStatus]) -> SendRequestSummary {
    let of = |status: Delivery| {
        let those = recipients.iter().filter(|one| one.status() == status);
        number(those.count())
    };
    SendRequestSummary {
        total_recipients: number(recipients.len()),
        delivered: of(Delivery::Delivered),
        pending_consent: of(Delivery::PendingConsent),
        failed: of(Delivery::Failed),
        ..SendRequestSummary::default()
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn person(recipient: &RecipientStatus) -> Person {
    Person {
        ppnum: recipient.ppnum.clone(),
        status: recipient.status().word(),
        message_id: recipient.message_id.clone(),
        error_code: recipient.error_code.clone(),
    }
}

/// The name of a status without the prefix of its enum.
trait Word {
    fn word(&self) -> &'static str;
}

impl Word for Delivery {
    fn word(&self) -> &'static str {
        let name = self.as_str_name();
        name.trim_start_matches("RECIPIENT_DELIVERY_STATUS_")
    }
}

impl Word for Status {
    fn word(&self) -> &'static str {
        let name = self.as_str_name();
        name.trim_start_matches("SEND_REQUEST_STATUS_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(id: &str, status: Delivery) -> RecipientStatus {
        RecipientStatus {
            id: id.to_owned(),
            ppnum: format!("1230000000{id}"),
            status: status.into(),
            ..RecipientStatus::default()
        }
    }

    fn event(event_type: Type, recipient: Option<RecipientStatus>) -> SendRequestEvent {
        SendRequestEvent {
            send_request_id: "r".to_owned(),
            event_type: event_type.into(),
            recipient,
            occurred_at: Some(Timestamp::default()),
            ..SendRequestEvent::default()
        }
    }

    #[test]
    fn a_request_is_as_its_events_have_left_it() {
        let requests = Requests::default();
        let pending = ["1", "2", "3"].map(|id| recipient(id, Delivery::Pending));
        requests.open("r", Timestamp::default(), pending.to_vec());
        assert_eq!(requests.status("other"), None);
        assert_eq!(requests.outcomes("s"), [], "nothing has happened yet");
        for (kind, id, status) in [
            (Type::RecipientDelivered, "1", Delivery::Delivered),
            (Type::RecipientPendingConsent, "2", Delivery::PendingConsent),
        ] {
            requests.tell(&event(kind, Some(recipient(id, status))));
        }
        let request = requests.status("r").unwrap().request.unwrap();
        assert_eq!(request.status(), Status::Processing);
        requests.tell(&event(Type::RequestFailed, None));
        let late = recipient("2", Delivery::Failed);
        requests.tell(&event(Type::RecipientFailed, Some(late)));
        let status = requests.status("r").unwrap();
        let request = status.request.unwrap();
        assert_eq!(request.status(), Status::Failed);
        assert!(request.completed_at.is_some());
        let counts = (request.delivered, request.pending_consent, request.failed);
        assert_eq!((request.total_recipients, counts), (3, (1, 0, 1)));
        let [outcome] = requests.outcomes("s").try_into().unwrap();
        let statuses: Vec<&str> = outcome.recipients.iter().map(|one| one.status).collect();
        assert_eq!(statuses, ["DELIVERED", "FAILED", "PENDING"]);
        assert_eq!(outcome.status, "FAILED");
    }
}
