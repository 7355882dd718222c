//! The vocabulary: what an event means, whatever its provider calls it.

/// What an event means. Delivery has a rank and an end; everything else is a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    MessageAccepted,
    MessageSent,
    MessagePending,
    MessageDelivered,
    MessageFailed,
    MessageRejected,
    MessageExpired,
    MessageOpened,
    MessageClicked,
    MessageBounced,
    MessageComplained,
    MessageUnsubscribed,
    ConsentRequested,
    ConsentGranted,
    ConsentDenied,
    RequestCompleted,
    PollAnswered,
    SubscriberUpdated,
    SubscriberSubscribed,
    SubscriberUnsubscribed,
    /// A message from a person to us.
    InboundReceived,
    /// A kind that this version does not know; the provider's word says which.
    Other,
}

impl Kind {
    /// The name in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MessageAccepted => "message.accepted",
            Self::MessageSent => "message.sent",
            Self::MessagePending => "message.pending",
            Self::MessageDelivered => "message.delivered",
            Self::MessageFailed => "message.failed",
            Self::MessageRejected => "message.rejected",
            Self::MessageExpired => "message.expired",
            Self::MessageOpened => "message.opened",
            Self::MessageClicked => "message.clicked",
            Self::MessageBounced => "message.bounced",
            Self::MessageComplained => "message.complained",
            Self::MessageUnsubscribed => "message.unsubscribed",
            Self::ConsentRequested => "consent.requested",
            Self::ConsentGranted => "consent.granted",
            Self::ConsentDenied => "consent.denied",
            Self::RequestCompleted => "request.completed",
            Self::PollAnswered => "poll.answered",
            Self::SubscriberUpdated => "subscriber.updated",
            Self::SubscriberSubscribed => "subscriber.subscribed",
            Self::SubscriberUnsubscribed => "subscriber.unsubscribed",
            Self::InboundReceived => "inbound.received",
            Self::Other => "other",
        }
    }
}
