"""What a server says of itself: its health, and its services by reflection."""

from __future__ import annotations

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

TIMEOUT = 60


def at(channel: grpc.Channel) -> dict[str, object]:
    """Its services, and of each the methods as its own descriptors have them, and the
    health; that of the server as a whole is under the empty name."""
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)
    services = sorted(database.get_services())
    methods = {}
    for name in services:
        service = pool.FindServiceByName(name)
        methods[name] = [
            {
                "name": method.name,
                "request": method.input_type.full_name,
                "reply": method.output_type.full_name,
                "fields": sorted(field.name for field in method.input_type.fields),
            }
            for method in service.methods
        ]
    return {"services": services, "methods": methods, "health": health(channel, ["", *services])}


def health(channel: grpc.Channel, services: list[str]) -> dict[str, str]:
    stub = health_pb2_grpc.HealthStub(channel)
    found = {}
    for name in services:
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT)
            found[name] = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        except grpc.RpcError as error:
            found[name] = error.code().name
    return found
