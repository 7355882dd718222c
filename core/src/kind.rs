//! The vocabulary: what an event means, whatever its provider calls it.

/// Declares [`Kind`] with the name in SQL of each.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal),+ $(,)?) => {
        /// What an event means. Delivery has a rank and an end; everything else is a fact.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind),+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$kind),+];

            /// The name in SQL.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name),+
                }
            }
        }
    };
}

kinds! {
    MessageAccepted = "message.accepted",
    MessageSent = "message.sent",
    MessagePending = "message.pending",
    MessageDelivered = "message.delivered",
    MessageFailed = "message.failed",
    MessageRejected = "message.rejected",
    MessageExpired = "message.expired",
    MessageOpened = "message.opened",
    MessageClicked = "message.clicked",
    MessageBounced = "message.bounced",
    MessageComplained = "message.complained",
    MessageUnsubscribed = "message.unsubscribed",
    ConsentRequested = "consent.requested",
    ConsentGranted = "consent.granted",
    ConsentDenied = "consent.denied",
    /// The recipient did not answer in time.
    ConsentExpired = "consent.expired",
    RequestCompleted = "request.completed",
    /// The request stopped before every recipient was processed.
    RequestFailed = "request.failed",
    PollAnswered = "poll.answered",
    SubscriberUpdated = "subscriber.updated",
    SubscriberSubscribed = "subscriber.subscribed",
    SubscriberUnsubscribed = "subscriber.unsubscribed",
    /// A message from a person to us.
    InboundReceived = "inbound.received",
    /// A kind that this version does not know; the provider's word says which.
    Other = "other",
}
