"""Ppoppo: a server whose event stream the worker dials.

The events are a log that is there from the beginning. A caller is known by its bearer
token, follows the log after its cursor, only one send request's events if it asks so, and
stays at the end. Streams end by themselves now and then: in turn cleanly, and with
UNAVAILABLE.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from ppoppo.v1 import external_pb2, external_pb2_grpc

import ledger

SERVICE = external_pb2.DESCRIPTOR.services_by_name["ExternalMessageService"].full_name
# The endpoint's path, which stands before the method's.
PREFIX = "/ext"
# A stream ends after so many events, in turn: cleanly, in failure.
ENDS_AFTER = (1500, 1100)


class Unprefixed(grpc.ServerInterceptor):
    """Serves every method under the prefix too."""

    def intercept_service(self, continuation, details):
        if details.method.startswith(PREFIX + "/"):
            details = details._replace(method=details.method[len(PREFIX):])
        return continuation(details)


class Caller:
    """What one source has been sent."""

    def __init__(self) -> None:
        self.sessions = 0
        self.ends: Counter[str] = Counter()
        self.emissions: Counter[str] = Counter()
        self.resumed = 0
        self.is_done = False


class Server(external_pb2_grpc.ExternalMessageServiceServicer):
    def __init__(self, log, callers: dict[str, str], hold_at: int, reflects: bool) -> None:
        self._log = log
        self._after = {event.event_id: place + 1 for place, event in enumerate(log)}
        self._tokens = callers
        self._callers = {source: Caller() for source in callers.values()}
        self._hold_at = hold_at
        self._lock = threading.Lock()
        self._begun = threading.Event()
        self._held = threading.Event()
        self._on = threading.Event()
        self._stopped = threading.Event()
        self._refused = 0
        self._reflects = reflects
        # A thread for each stream, and some for what else is asked.
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=2 * len(callers) + 4), interceptors=[Unprefixed()]
        )

    def start(self) -> str:
        """Listens at any free port, and says where."""
        external_pb2_grpc.add_ExternalMessageServiceServicer_to_server(self, self._server)
        checks = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, self._server)
        checks.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        if self._reflects:
            reflection.enable_server_reflection(
                [SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
            )
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        return f"127.0.0.1:{port}"

    def begin(self) -> None:
        self._begun.set()

    def is_held(self) -> bool:
        return self._held.is_set()

    def go_on(self) -> None:
        self._on.set()

    def is_done(self) -> bool:
        """Whether every caller was sent its last event."""
        with self._lock:
            return all(caller.is_done for caller in self._callers.values())

    def stop(self) -> None:
        self._stopped.set()
        self._server.stop(grace=0).wait()

    def counts(self) -> dict[str, object]:
        with self._lock:
            return {
                "refused": self._refused,
                "kinds": Counter(
                    external_pb2.SendRequestEventType.Name(event.event_type) for event in self._log
                ),
                "callers": {
                    source: {
                        "sessions": caller.sessions,
                        "resumed": caller.resumed,
                        "ends": caller.ends,
                        "emitted": len(caller.emissions),
                        "sent": sum(caller.emissions.values()),
                    }
                    for source, caller in self._callers.items()
                },
            }

    def ledger(self) -> Iterator[dict[str, object]]:
        """The log stays, and is sent again to whoever has not stored it: what was sent
        once counts as acknowledged."""
        with self._lock:
            for source, caller in self._callers.items():
                for key, sent in caller.emissions.items():
                    yield ledger.line(source, key, emissions=sent, acknowledged=sent)

    def StreamSendRequestEvents(self, request, context):
        shown = dict(context.invocation_metadata()).get("authorization", "")
        source = self._tokens.get(shown)
        if source is None:
            with self._lock:
                self._refused += 1
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown token")
        place = 0
        if request.HasField("after_event_id"):
            place = self._after.get(request.after_event_id, -1)
            if place < 0:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unknown after_event_id")
        caller = self._callers[source]
        with self._lock:
            session = caller.sessions
            caller.sessions += 1
            caller.resumed += place > 0
        over = threading.Event()
        context.add_callback(over.set)
        self._wait(self._begun, over)

        only = request.send_request_id if request.HasField("send_request_id") else None
        left = ENDS_AFTER[session % len(ENDS_AFTER)]
        for number in range(place, len(self._log)):
            event = self._log[number]
            if only is not None and event.send_request_id != only:
                continue
            if self._hold_at and number >= self._hold_at and not self._on.is_set():
                self._held.set()
                self._wait(self._on, over)
            if not context.is_active() or self._stopped.is_set():
                return
            if left == 0:
                yield from self._end(caller, session, context)
                return
            left -= 1
            with self._lock:
                caller.emissions[event.event_id] += 1
            yield event
        with self._lock:
            caller.is_done = True
        # At the end of the log a stream stays open.
        self._wait(self._stopped, over)

    def _end(self, caller: Caller, session: int, context):
        clean = session % 2 == 0
        with self._lock:
            caller.ends["clean" if clean else "unavailable"] += 1
        if not clean:
            context.abort(grpc.StatusCode.UNAVAILABLE, "this host is going down")
        yield from ()

    def _wait(self, what: threading.Event, over: threading.Event) -> None:
        """Until it happens, or the stream or the server is over."""
        while not (what.wait(0.02) or over.is_set() or self._stopped.is_set()):
            pass
