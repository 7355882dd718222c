"""What is played: distinct events, the same ones at each run, but for the ids and times of
Ppoppo's: those are of the present, for a caller may make a cursor from its own clock.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import ppoppo_pb2
from pushwoosh.v1 import event_streaming_pb2 as pushwoosh_pb2

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
FIRST = datetime(2026, 11, 1, 21, 0, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)

# The events of one send request: each recipient is processed, and the request ends.
DELIVERED, FAILED, HELD = 160, 10, 40
PROCESSED = DELIVERED + FAILED + HELD
# Those who are held: what becomes of them later. One never answers.
OUTCOMES = 20 * ("",) + 12 * ("consent_denied",) + 7 * ("consent_expired",)
REQUEST = PROCESSED + len(OUTCOMES) + 1
# So many requests are under way at once, an event of each in turn.
WAVE = 20
# Every fourth request fails: it stops before these were processed.
FAILS_EVERY = 4
UNPROCESSED = 40

CHANNELS = 5
APP = "50001234567"

PUSHES = (
    ("Email", "Email Sent"),
    ("Email", "Email Opened"),
    ("iOS", "Push Sent"),
    ("Android", "Push Delivered"),
    ("SMS", "SMS Delivered"),
)


def ulid(ms: int, rest: int) -> str:
    number = ms << 80 | rest
    return "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def is_ulid(text: str) -> bool:
    return len(text) == 26 and text[0] <= "7" and all(letter in CROCKFORD for letter in text)


class Present:
    """The present, which goes on from call to call, also when the clock steps back."""

    def __init__(self) -> None:
        self.began = self._last = datetime.now(timezone.utc)

    def tick(self) -> datetime:
        self._last = max(self._last + MICROSECOND, datetime.now(timezone.utc))
        return self._last


def stamp(at: datetime, number: int) -> str:
    """The id of the entry with this number: greater than that of each before it."""
    return ulid(int(at.timestamp() * 1000), number)


class Request:
    """A send request and its recipients; `events` are those of its story, in order."""

    def __init__(self, number: int, created: datetime) -> None:
        self.id = f"request-{number}"
        self.created = created
        self.fails = number % FAILS_EVERY == FAILS_EVERY - 1
        size = PROCESSED + (UNPROCESSED if self.fails else 0)
        self.recipients = [self._recipient(number, place) for place in range(size)]

    def _recipient(self, number: int, place: int) -> ppoppo_pb2.RecipientStatus:
        whole = number * (PROCESSED + UNPROCESSED) + place
        recipient = ppoppo_pb2.RecipientStatus(
            id=ulid(1, whole),
            # Most have 11 digits, some 15.
            ppnum=f"123{whole:08}" if place % 10 else f"123{whole:012}",
            status=ppoppo_pb2.RECIPIENT_DELIVERY_STATUS_PENDING,
        )
        recipient.created_at.FromDatetime(self.created)
        return recipient

    def events(self):
        """(type, recipient or None, error code) of each event; the outcomes of those who are
        held come before and after the end."""
        kinds = ["DELIVERED"] * DELIVERED + ["FAILED"] * FAILED + ["PENDING_CONSENT"] * HELD
        # In an order of their own: 11 and the number of kinds have no common divisor.
        order = [place * 11 % PROCESSED for place in range(PROCESSED)]
        held = [place for place in order if kinds[place] == "PENDING_CONSENT"]
        early, late = len(OUTCOMES) // 2, len(OUTCOMES)
        outcomes = list(zip(held, OUTCOMES))
        for place in order:
            code = "unreachable" if kinds[place] == "FAILED" else ""
            yield f"RECIPIENT_{kinds[place]}", place, code
        for place, code in outcomes[:early]:
            yield f"RECIPIENT_{'FAILED' if code else 'DELIVERED'}", place, code
        yield "REQUEST_FAILED" if self.fails else "REQUEST_COMPLETED", None, ""
        for place, code in outcomes[early:late]:
            yield f"RECIPIENT_{'FAILED' if code else 'DELIVERED'}", place, code


class Story:
    """The events of all requests, which get their ids and times as they happen."""

    def __init__(self, count: int) -> None:
        self._present = Present()
        requests = range(-(-count // REQUEST))
        self.requests = [Request(number, self._present.began) for number in requests]
        self.log: list[ppoppo_pb2.SendRequestEvent] = []
        for first in range(0, len(self.requests), WAVE):
            wave = self.requests[first : first + WAVE]
            for turn in zip(*(request.events() for request in wave)):
                for request, step in zip(wave, turn):
                    self._append(request, *step)
        del self.log[count:]

    def _append(self, request: Request, kind: str, place: int | None, code: str) -> None:
        number = len(self.log)
        event = ppoppo_pb2.SendRequestEvent(
            send_request_id=request.id,
            event_type=ppoppo_pb2.SendRequestEventType.Value(f"SEND_REQUEST_EVENT_TYPE_{kind}"),
        )
        if place is None:
            event.summary.CopyFrom(summary(request, [*self._now(request)]))
            ended = "FAILED" if request.fails else "COMPLETED"
            event.summary.status = ppoppo_pb2.SendRequestStatus.Value(
                f"SEND_REQUEST_STATUS_{ended}"
            )
        else:
            recipient = event.recipient
            recipient.CopyFrom(request.recipients[place])
            status = kind.removeprefix("RECIPIENT_")
            recipient.status = ppoppo_pb2.RecipientDeliveryStatus.Value(
                f"RECIPIENT_DELIVERY_STATUS_{status}"
            )
            if status == "DELIVERED":
                recipient.message_id = ulid(2, number)
            if code:
                recipient.error_code = code
        self.log.append(event)

    def happen(self, event: ppoppo_pb2.SendRequestEvent, number: int) -> str:
        at = self._present.tick()
        event.event_id = stamp(at, number)
        event.occurred_at.FromDatetime(at)
        if event.HasField("summary"):
            event.summary.completed_at.FromDatetime(at)
        return event.event_id

    def _now(self, request: Request):
        """The recipients after the events so far."""
        told = {
            event.recipient.id: event.recipient
            for event in self.log
            if event.send_request_id == request.id and event.HasField("recipient")
        }
        return (told.get(recipient.id, recipient) for recipient in request.recipients)


def summary(request: Request, recipients) -> ppoppo_pb2.SendRequestSummary:
    """The request, with the counts of these recipients."""
    statuses = [recipient.status for recipient in recipients]
    made = ppoppo_pb2.SendRequestSummary(
        id=request.id,
        status=ppoppo_pb2.SEND_REQUEST_STATUS_PROCESSING,
        total_recipients=len(statuses),
        delivered=statuses.count(ppoppo_pb2.RECIPIENT_DELIVERY_STATUS_DELIVERED),
        pending_consent=statuses.count(ppoppo_pb2.RECIPIENT_DELIVERY_STATUS_PENDING_CONSENT),
        failed=statuses.count(ppoppo_pb2.RECIPIENT_DELIVERY_STATUS_FAILED),
    )
    made.created_at.FromDatetime(request.created)
    return made


class Chats:
    """What is written in channels: by people and by the app, every type, also an answer."""

    def __init__(self, count: int) -> None:
        self._present = Present()
        self.log: list[ppoppo_pb2.ChannelMessageEvent] = []
        types = ppoppo_pb2.MessageType.values()
        for number in range(count):
            event = ppoppo_pb2.ChannelMessageEvent(
                channel_id=ulid(3, number % CHANNELS), from_app=number % 4 == 3
            )
            message = event.message
            message.sender_ppnum = APP if event.from_app else f"123{number % CHANNELS:08}"
            message.content = f"Grüße, \"{number}\" 👋\n"
            message.type = types[number % len(types)]
            self.log.append(event)

    def happen(self, event: ppoppo_pb2.ChannelMessageEvent, number: int) -> str:
        at = self._present.tick()
        message = event.message
        message.id = stamp(at, number)
        message.created_at.FromDatetime(at)
        if number >= CHANNELS and number % 3 == 0:
            message.parent_message_id = self.log[number - CHANNELS].message.id
        return message.id


def pushwoosh(count: int) -> list[pushwoosh_pb2.Event]:
    """Optional fields present or absent, also as zero."""
    made = []
    for number in range(count):
        platform, name = PUSHES[number % len(PUSHES)]
        event = pushwoosh_pb2.Event(
            uuid=f"5eed0000-0000-4000-8000-{number:012x}",
            event_name=name,
            message_code=f"E682-{number:08X}",
            platform=platform,
            payload="Grüße aus Köln, \"bis bald\" 👋\n" if number % 3 == 0 else "",
            application_code="32E5A-9B411",
            hwid=f"person{number}@example.com",
            user_id=str(1_000_000 + number),
            timestamp=int(FIRST.timestamp()) + number,
            journey_title="Onboarding" if number % 4 == 0 else "",
        )
        if number % 2 == 0:
            # Beyond what a double holds.
            event.message_id = 2**53 + 1 + number
            event.campaign_id = number
        made.append(event)
    return made
