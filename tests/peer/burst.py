"""A burst: the smallest events on one stream, each a message of its own, as fast as they are
taken."""

from __future__ import annotations

from collections import Counter

import grpc
from pushwoosh.v1 import event_streaming_pb2

from pushwoosh_client import METHOD, SUCCESS

TIMEOUT = 120


def push(at: str, authorization: str, count: int) -> dict[str, object]:
    """How many were answered, and how; the name of the status that ended the stream."""
    uuids = [f"{number:08x}-0000-4000-9000-000000000000" for number in range(count)]
    options = [("grpc.use_local_subchannel_pool", 1)]
    answered: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    with grpc.insecure_channel(at, options=options) as channel:
        call = channel.stream_stream(
            METHOD,
            request_serializer=event_streaming_pb2.Event.SerializeToString,
            response_deserializer=event_streaming_pb2.EventStatus.FromString,
        )
        replies = call(
            (
                event_streaming_pb2.Event(uuid=uuid, event_name="Push Sent", timestamp=1)
                for uuid in uuids
            ),
            metadata=(("authorization", authorization),),
            timeout=TIMEOUT,
        )
        ended = "OK"
        try:
            for reply in replies:
                answered[reply.uuid] += 1
                statuses[reply.status] += 1
        except grpc.RpcError as error:
            ended = f"{error.code().name}: {error.details()}"
    once = sum(answered[uuid] == 1 for uuid in uuids)
    return {"once": once, "success": statuses[SUCCESS], "ended": ended}
