"""What is known of each send request, as the events so far have left it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import ppoppo_pb2
from events import Request, summary

ENDS = {
    ppoppo_pb2.SEND_REQUEST_EVENT_TYPE_REQUEST_COMPLETED: ppoppo_pb2.SEND_REQUEST_STATUS_COMPLETED,
    ppoppo_pb2.SEND_REQUEST_EVENT_TYPE_REQUEST_FAILED: ppoppo_pb2.SEND_REQUEST_STATUS_FAILED,
}


class SendRequests:
    def __init__(self, requests: list[Request]) -> None:
        self._lock = threading.Lock()
        self._requests = {request.id: request for request in requests}
        self._recipients = {
            request.id: {recipient.id: recipient for recipient in request.recipients}
            for request in requests
        }
        self._ended: dict[str, ppoppo_pb2.SendRequestEvent] = {}
        self._begun: set[str] = set()

    def tell(self, event: ppoppo_pb2.SendRequestEvent) -> None:
        with self._lock:
            self._begun.add(event.send_request_id)
            if event.HasField("recipient"):
                self._recipients[event.send_request_id][event.recipient.id] = event.recipient
            if event.event_type in ENDS:
                self._ended[event.send_request_id] = event

    def status(self, request_id: str) -> ppoppo_pb2.GetSendRequestStatusResponse | None:
        with self._lock:
            recipients = self._recipients.get(request_id)
            if recipients is None:
                return None
            told = summary(self._requests[request_id], recipients.values())
            ended = self._ended.get(request_id)
            if ended is not None:
                told.status = ENDS[ended.event_type]
                told.completed_at.CopyFrom(ended.occurred_at)
            elif request_id not in self._begun:
                told.status = ppoppo_pb2.SEND_REQUEST_STATUS_QUEUED
            return ppoppo_pb2.GetSendRequestStatusResponse(
                request=told, recipients=recipients.values()
            )

    def lines(self, sources: list[str]) -> Iterator[dict[str, object]]:
        """Those of which anything has happened, in the emulator's form."""
        for source in sources:
            for request_id in sorted(self._begun):
                told = self.status(request_id)
                status = ppoppo_pb2.SendRequestStatus.Name(told.request.status)
                yield {
                    "source": source,
                    "id": request_id,
                    "status": status.removeprefix("SEND_REQUEST_STATUS_"),
                    "recipients": [person(recipient) for recipient in told.recipients],
                }


def person(recipient: ppoppo_pb2.RecipientStatus) -> dict[str, object]:
    status = ppoppo_pb2.RecipientDeliveryStatus.Name(recipient.status)
    return {
        "ppnum": recipient.ppnum,
        "status": status.removeprefix("RECIPIENT_DELIVERY_STATUS_"),
        "message_id": recipient.message_id if recipient.HasField("message_id") else None,
        "error_code": recipient.error_code if recipient.HasField("error_code") else None,
    }
