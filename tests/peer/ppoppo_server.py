"""Ppoppo: a server whose streams the worker dials, as the provider has published it.

A caller is known by its bearer token, follows a log after its cursor, or from what happens
next, and stays at the end. A cursor older than what can be replayed is answered by a frame
that says so, and the stream goes on from what happens next. Streams end by themselves now
and then: in turn cleanly, with UNAVAILABLE, and with CANCELLED.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import ppoppo_pb2
import ppoppo_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import ledger
from access import Access
from events import Chats, Story, is_ulid
from log import Log
from send_requests import SendRequests

MESSAGES = ppoppo_pb2.DESCRIPTOR.services_by_name["MessageService"].full_name
CHANNELS = ppoppo_pb2.DESCRIPTOR.services_by_name["ChannelService"].full_name
# The endpoint's path, which stands before the method's.
PREFIX = "/ext"
# A stream ends after so many entries, in turn: cleanly, in failure, by a proxy on the way.
ENDS = (("clean", 1500), ("unavailable", 1100), ("cancelled", 700))
# How long a caller is told to stay away, in seconds.
STAY_AWAY = 2
TURN = 0.02


class Paths(grpc.ServerInterceptor):
    """Serves every method under the prefix too; or one service under an older name alone."""

    def __init__(self, only: str) -> None:
        self._only = only

    def intercept_service(self, continuation, details):
        method = details.method
        if method.startswith(PREFIX + "/"):
            method = method[len(PREFIX) :]
        if self._only:
            served, _, name = method.lstrip("/").partition("/")
            if served != self._only:
                return None
            method = f"/{MESSAGES}/{name}"
        return continuation(details._replace(method=method))


class Caller:
    """What one source has been sent."""

    def __init__(self) -> None:
        self.sessions = 0
        self.ends: Counter[str] = Counter()
        self.emissions: Counter[str] = Counter()
        # What was sent and may have been lost: an expired cursor has not confirmed it.
        self.absolved: set[str] = set()
        self.resumed = 0
        self.expired = 0


class Stream:
    """One of the two: a log, and its callers."""

    def __init__(self, log: Log, callers: list[str], keep_alive: float) -> None:
        self.log = log
        self.callers = {source: Caller() for source in callers}
        self._keep_alive = keep_alive
        self._lock = threading.Lock()
        self.stopped = False

    def follow(
        self, source: str, cursor: str | None, wants: Callable[[object], bool], context
    ) -> Iterator[tuple[str, object]]:
        """("entry", it), ("keep_alive", None) or ("cursor_expired", None) in turn."""
        if cursor is not None and not is_ulid(cursor):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the cursor is no ULID")
        caller = self.callers[source]
        place, edge, expired = self.log.begin(source, cursor)
        unconfirmed = 0 if cursor is None else self.log.place_after(cursor)
        with self._lock:
            session = caller.sessions
            caller.sessions += 1
            caller.resumed += cursor is not None
            caller.expired += expired
            if expired or cursor is None:
                caller.absolved.update(self.log.id_at(at) for at in range(unconfirmed, edge))
        if expired:
            yield "cursor_expired", None
        how, left = ENDS[session % len(ENDS)]
        alive_at = time.monotonic() + self._keep_alive
        while context.is_active() and not self.stopped:
            if not self.log.wait_beyond(place, min(self._keep_alive, 0.2)):
                if time.monotonic() >= alive_at:
                    alive_at = time.monotonic() + self._keep_alive
                    yield "keep_alive", None
                continue
            if self.stopped:
                return
            entry = self.log.entries[place]
            # A cursor may be newer than what comes next.
            is_after = expired or cursor is None or self.log.id_at(place) > cursor
            if is_after and wants(entry):
                if left == 0:
                    yield from self._end(caller, how, context)
                    return
                left -= 1
                key = self.log.id_at(place)
                with self._lock:
                    caller.emissions[key] += 1
                    caller.absolved.discard(key)
                yield "entry", entry
            place += 1
            self.log.passed(source, place)

    def _end(self, caller: Caller, how: str, context):
        with self._lock:
            caller.ends[how] += 1
        if how == "unavailable":
            context.abort(grpc.StatusCode.UNAVAILABLE, "this host is going down")
        if how == "cancelled":
            context.abort(grpc.StatusCode.CANCELLED, "stream reset")
        yield from ()

    def counts(self) -> dict[str, object]:
        with self._lock:
            return {
                source: {
                    "sessions": caller.sessions,
                    "resumed": caller.resumed,
                    "expired": caller.expired,
                    "ends": caller.ends,
                    "emitted": len(caller.emissions),
                    "sent": sum(caller.emissions.values()),
                }
                for source, caller in self.callers.items()
            }

    def ledger(self) -> Iterator[dict[str, object]]:
        """What was sent is sent again to whoever resumes before it, and so counts as
        acknowledged, unless it cannot be sent again."""
        with self._lock:
            for source, caller in self.callers.items():
                for key, sent in caller.emissions.items():
                    acknowledged = 0 if key in caller.absolved else sent
                    yield ledger.line(source, key, emissions=sent, acknowledged=acknowledged)


class Limits:
    """What is refused for a while, or held."""

    def __init__(self, exhaust: int, every: int, hold: int, held: Callable[[int], None]) -> None:
        self._lock = threading.Lock()
        self._exhaust = exhaust
        self._every = every
        self._hold = hold
        self._held = held
        self._over_at = 0.0
        self._on = threading.Event()
        self.calls = 0
        self.exhausted = 0
        self.too_early = 0

    def check(self, context, status: bool) -> None:
        """The first streams are exhausted, and each so manieth question."""
        with self._lock:
            now = time.monotonic()
            early = now < self._over_at
            self.too_early += early
            if status:
                self.calls += 1
                due = self._every and self.calls % self._every == 0
                hold = self.calls == self._hold
            else:
                due = self._exhaust > 0
                self._exhaust -= due
                hold = False
            if due and not early:
                self.exhausted += 1
                self._over_at = now + STAY_AWAY
            wait = max(0.0, self._over_at - now)
        if due or early:
            # Whole seconds, rounded up.
            context.set_trailing_metadata((("retry-after", str(int(-(-wait // 1)))),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls")
        if hold:
            # What was told before was meant for another hold.
            self._on.clear()
            self._held(self.calls)
            while context.is_active() and not self._on.wait(TURN):
                pass

    def go_on(self) -> None:
        self._on.set()


class Messages(ppoppo_pb2_grpc.MessageServiceServicer):
    def __init__(self, stream: Stream, requests: SendRequests, access: Access, limits: Limits):
        self._stream = stream
        self._requests = requests
        self._access = access
        self._limits = limits

    def StreamSendRequestEvents(self, request, context):
        source = self._access.admit(context)
        self._limits.check(context, status=False)
        only = request.send_request_id if request.HasField("send_request_id") else None
        cursor = request.after_event_id if request.HasField("after_event_id") else None
        frames = self._stream.follow(
            source, cursor, lambda event: only in (None, event.send_request_id), context
        )
        for kind, event in frames:
            yield frame(ppoppo_pb2.SendRequestEventFrame(), kind, event)

    def GetSendRequestStatus(self, request, context):
        self._access.admit(context)
        self._limits.check(context, status=True)
        status = self._requests.status(request.id)
        if status is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such send request")
        return status


class Channels(ppoppo_pb2_grpc.ChannelServiceServicer):
    def __init__(self, stream: Stream, access: Access) -> None:
        self._stream = stream
        self._access = access

    def StreamChannelEvents(self, request, context):
        source = self._access.admit(context)
        only = set(request.channel_ids)
        cursor = request.after_message_id if request.HasField("after_message_id") else None
        frames = self._stream.follow(
            source, cursor, lambda event: not only or event.channel_id in only, context
        )
        for kind, event in frames:
            yield frame(ppoppo_pb2.ChannelEventFrame(), kind, event)


def frame(made, kind: str, event):
    if kind == "entry":
        made.event.CopyFrom(event)
    elif kind == "keep_alive":
        made.keep_alive.SetInParent()
    else:
        made.cursor_expired.detail = "older than what can be replayed"
    return made


class Server:
    """Both services on one port, and the token endpoint on another."""

    def __init__(self, options, news: Callable[..., None]) -> None:
        callers = dict(options.caller)
        channel_callers = dict(options.channel_caller)
        clients = dict(options.client)
        story = Story(options.events)
        chats = Chats(options.messages)
        self.requests = SendRequests(story.requests)
        self._sources = [*callers, *clients]
        self._logs = [
            Log(
                story.log,
                story.happen,
                self._sources,
                options.hold_at,
                self.requests.tell,
                lambda at: news(held={"at": at}),
            ),
            Log(
                chats.log,
                chats.happen,
                channel_callers,
                options.hold_message_at,
                held=lambda at: news(held={"message": at}),
            ),
        ]
        keep_alive = options.keep_alive
        self._events = Stream(self._logs[0], self._sources, keep_alive)
        self._messages = Stream(self._logs[1], [*channel_callers], keep_alive)
        tokens = {token: source for source, token in [*callers.items(), *channel_callers.items()]}
        self._access = Access(tokens, options.scope, options.refuse_tokens)
        self._limits = Limits(
            options.exhaust,
            options.exhaust_status_every,
            options.hold_status_at,
            lambda at: news(held={"status": at}),
        )
        self._options = options
        self._clients = clients
        # A thread for each stream, also for those that are just ending, and some for what
        # else is asked.
        workers = 4 * (len(self._sources) + len(channel_callers)) + 8
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=workers), interceptors=[Paths(options.only_service)]
        )

    def start(self) -> dict[str, str]:
        """Listens at any free ports, and says where."""
        servicer = Messages(self._events, self.requests, self._access, self._limits)
        ppoppo_pb2_grpc.add_MessageServiceServicer_to_server(servicer, self._server)
        servicer = Channels(self._messages, self._access)
        ppoppo_pb2_grpc.add_ChannelServiceServicer_to_server(servicer, self._server)
        checks = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, self._server)
        for service in (MESSAGES, CHANNELS):
            checks.set(service, health_pb2.HealthCheckResponse.SERVING)
        if self._options.reflection:
            reflection.enable_server_reflection(
                [MESSAGES, CHANNELS, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
            )
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        listening = {"ppoppo": f"127.0.0.1:{port}"}
        if self._clients:
            resource = self._options.resource or f"http://127.0.0.1:{port}{PREFIX}"
            listening["oauth"] = self._access.serve(self._clients, resource)
        return listening

    def begin(self) -> None:
        for log in self._logs:
            threading.Thread(target=log.produce, daemon=True).start()

    def go_on(self, alone: bool) -> None:
        self._limits.go_on()
        for log in self._logs:
            log.go_on(alone)

    def set_window(self, window: int) -> None:
        for log in self._logs:
            log.set_window(window)

    def is_done(self) -> bool:
        """Whether every caller has been sent its last entry, or will not be."""
        return all(log.is_done() for log in self._logs)

    def stop(self) -> None:
        for stream in (self._events, self._messages):
            stream.stopped = True
            stream.log.stop()
        self._access.stop()
        self._server.stop(grace=0).wait()

    def counts(self) -> dict[str, object]:
        return {
            "refused": self._access.refused,
            "tokens": self._access.asked,
            "exhausted": self._limits.exhausted,
            "too_early": self._limits.too_early,
            "status_calls": self._limits.calls,
            "kinds": Counter(
                ppoppo_pb2.SendRequestEventType.Name(event.event_type)
                for event in self._logs[0].entries
            ),
            "callers": {**self._events.counts(), **self._messages.counts()},
        }

    def ledger(self) -> Iterator[dict[str, object]]:
        yield from self._events.ledger()
        yield from self._messages.ledger()

    def outcomes(self) -> Iterator[dict[str, object]]:
        return self.requests.lines(self._sources)
