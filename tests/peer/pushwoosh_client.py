"""Pushwoosh: a client that pushes events, several streams at once.

Every stream carries 1,000 events or more as long as there are so many; each thread has a
connection of its own. Each uuid must be answered exactly once by the stream that carried it; one that was not answered
"Success" goes again on a later stream. Two things go wrong on purpose: the first stream
shows a secret that is no longer right, and one stream is cut in the middle of its answers.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator

import grpc
from pushwoosh.v1 import event_streaming_pb2

import ledger

METHOD = "/pushwoosh.event_streaming.v1.EventStreaming/StreamEvents"
SUCCESS = "Success"
# Streams at once, and events of one stream.
STREAMS = 4
EVENTS = 1250
# A provider gives up at some point, and so does a test.
MOST_ATTEMPTS = 20
TIMEOUT = 60
# After a stream that failed, and while others may still give something back.
PAUSE = 0.2
TURN = 0.01


class Client:
    def __init__(self, source: str, at: str, authorization: str, events) -> None:
        self._source = source
        self._at = at
        self._authorization = authorization
        self._events = {event.uuid: event for event in events}
        self._waiting = deque(self._events)
        self._lock = threading.Lock()
        self._under_way = 0
        self._attempts: Counter[str] = Counter()
        self._successes: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._streams = 0
        self._failed: Counter[str] = Counter()
        self._faults: list[str] = []
        self._threads = [
            threading.Thread(target=self._push, args=(number,), daemon=True)
            for number in range(STREAMS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def is_done(self) -> bool:
        """Whether every uuid was answered "Success", or something is wrong for good."""
        return not any(thread.is_alive() for thread in self._threads)

    def check(self) -> None:
        """An error that says what was not as it must be."""
        unanswered = [uuid for uuid in self._events if not self._successes[uuid]]
        if unanswered:
            self._faults.append(f"{len(unanswered)} never answered Success: {unanswered[0]}")
        if self._faults:
            raise SystemExit("pushwoosh: " + "; ".join(self._faults[:10]))

    def counts(self) -> dict[str, object]:
        return {
            "streams": self._streams,
            "failed": self._failed,
            "emitted": len(self._attempts),
            "sent": sum(self._attempts.values()),
            "acknowledged": len(self._successes),
            "refused": self._refusals,
            "kinds": Counter(event.event_name for event in self._events.values()),
        }

    def ledger(self) -> Iterator[dict[str, object]]:
        for uuid in self._events:
            yield ledger.line(self._source, uuid, self._attempts[uuid], self._successes[uuid])

    def _push(self, worker: int) -> None:
        """Stream after stream, over one connection, until nothing is left."""
        # A channel shares its connection with every other one to the same address unless
        # it is told not to.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self._at, options=options) as channel:
            while (chunk := self._take()) is not None:
                if chunk:
                    try:
                        self._stream(channel, chunk)
                    finally:
                        self._settle(chunk)
                else:
                    time.sleep(TURN)

    def _take(self) -> list[str] | None:
        """What goes on one stream; nothing for now; or None for good."""
        with self._lock:
            if not self._waiting and self._under_way == 0:
                return None
            if self._faults:
                return None
            chunk = [self._waiting.popleft() for _ in range(min(EVENTS, len(self._waiting)))]
            self._under_way += len(chunk)
            for uuid in chunk:
                self._attempts[uuid] += 1
                if self._attempts[uuid] > MOST_ATTEMPTS:
                    self._faults.append(f"{uuid} was sent {MOST_ATTEMPTS} times")
            return chunk

    def _settle(self, chunk: list[str]) -> None:
        with self._lock:
            self._under_way -= len(chunk)
            self._waiting.extend(uuid for uuid in chunk if not self._successes[uuid])

    def _stream(self, channel: grpc.Channel, chunk: list[str]) -> None:
        with self._lock:
            number = self._streams
            self._streams += 1
        stale, cut = number == 0, number == 1
        call = channel.stream_stream(
            # The source is named, so that its secret is checked with every event.
            f"/{self._source}{METHOD}",
            request_serializer=event_streaming_pb2.Event.SerializeToString,
            response_deserializer=event_streaming_pb2.EventStatus.FromString,
        )
        shown = "Bearer of-last-year" if stale else self._authorization
        replies = call(
            (self._events[uuid] for uuid in chunk),
            metadata=(("authorization", shown),),
            timeout=TIMEOUT,
        )
        answered: Counter[str] = Counter()
        failed = None
        try:
            for reply in replies:
                answered[reply.uuid] += 1
                self._note(reply)
                if cut and len(answered) == len(chunk) // 2:
                    replies.cancel()
        except grpc.RpcError as error:
            failed = error.code().name
        with self._lock:
            if failed is not None:
                self._failed[failed] += 1
            own = set(chunk)
            strange = [uuid for uuid in answered if uuid not in own]
            twice = [uuid for uuid, times in answered.items() if times > 1]
            # A stream that failed owes no answers: the events go again.
            owed = [] if failed else [uuid for uuid in chunk if uuid not in answered]
            for fault, uuids in (("not sent", strange), ("twice", twice), ("never", owed)):
                if uuids:
                    self._faults.append(f"answered {fault}: {len(uuids)}, such as {uuids[0]!r}")
            if stale and any(self._successes[uuid] for uuid in chunk):
                self._faults.append("a stream with the wrong secret was answered Success")
        if failed is not None:
            time.sleep(PAUSE)

    def _note(self, reply: event_streaming_pb2.EventStatus) -> None:
        with self._lock:
            if reply.status == SUCCESS:
                self._successes[reply.uuid] += 1
            else:
                self._refusals[reply.status.partition(":")[0]] += 1
