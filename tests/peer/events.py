"""What is played: distinct events, the same ones at each run."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from ppoppo.v1 import external_pb2 as ppoppo_pb2
from pushwoosh.v1 import event_streaming_pb2 as pushwoosh_pb2

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
FIRST = datetime(2026, 11, 1, 21, 0, tzinfo=timezone.utc)
# Events of one send request.
REQUEST = 250

TYPES = (
    "RECIPIENT_DELIVERED",
    "RECIPIENT_FAILED",
    "RECIPIENT_PENDING_CONSENT",
    "CONSENT_GRANTED",
    "CONSENT_DENIED",
    "POLL_RESPONSE_RECEIVED",
    "REQUEST_COMPLETED",
)

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


def send_request_id(number: int) -> str:
    return f"request-{number // REQUEST}"


def ppoppo(count: int) -> list[ppoppo_pb2.SendRequestEvent]:
    """Every type, recipient and summary present or absent as the type has it."""
    log = []
    for number in range(count):
        at = FIRST + timedelta(milliseconds=3 * number)
        kind = TYPES[number % len(TYPES)]
        event = ppoppo_pb2.SendRequestEvent(
            event_id=ulid(int(at.timestamp() * 1000), number),
            send_request_id=send_request_id(number),
            event_type=ppoppo_pb2.SendRequestEventType.Value(kind),
            occurred_at=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )
        if kind == "REQUEST_COMPLETED":
            event.summary.delivered = number
            # Zero is a value here, and absent on the wire.
            event.summary.failed = number % 2
        else:
            event.recipient.ppnum = f"123{number:08}"
            if kind == "RECIPIENT_FAILED":
                event.recipient.error_code = "UNREACHABLE"
            if kind == "RECIPIENT_DELIVERED":
                event.recipient.message_id = f"message-{number}"
        log.append(event)
    return log


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
