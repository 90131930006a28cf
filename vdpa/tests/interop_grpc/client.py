"""Asks a look-up by gRPC's own library: client.py SOCKET MODULES, and prints what it says as JSON."""

import json
import sys

import grpc

sys.path.insert(0, sys.argv[2])
import ringport_vdpa_pb2 as devices
import vdpadpdk_pb2 as vdpadpdk

LOOKUP = "/vdpadpdk.VdpaDpdk/GetSocketpath"


def show(name, value):
    print(json.dumps({"name": name, "value": value}), flush=True)


def failure(call, *arguments, **options):
    try:
        call(*arguments, timeout=10, **options)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


channel = grpc.insecure_channel("unix:" + sys.argv[1])
grpc.channel_ready_future(channel).result(timeout=10)

get = channel.unary_unary(
    LOOKUP,
    request_serializer=vdpadpdk.GetSocketpathRequest.SerializeToString,
    response_deserializer=vdpadpdk.GetSocketpathResponse.FromString,
)


def question(address):
    return vdpadpdk.GetSocketpathRequest(pciAddress=address)


show("known", get(question("0000:82:00.2"), timeout=10).socketpath)
show("unknown", get(question("0000:87:00.5"), timeout=10).socketpath)

# More at a time than the server takes at a time: the library holds them back.
answers = [get.future(question("0000:82:00.2"), timeout=20) for _ in range(256)]
show("many", len({answer.result().socketpath for answer in answers}))

# The bytes themselves.
raw = channel.unary_unary(LOOKUP, request_serializer=bytes, response_deserializer=bytes)
address = b"0000:82:00.2"
known = b"\x0a" + bytes([len(address)]) + address
show("bytes of known", raw(known, timeout=10).hex())
show("bytes of unknown", raw(b"", timeout=10).hex())
show("bytes with a field more", raw(known + b"\x12\x01x", timeout=10).hex())
show("text that is none", failure(raw, b"\x0a\x01\xff"))
show("message cut short", failure(raw, known[:-1]))
show("message too long", failure(raw, b"\x0a\x88\x27" + b"7" * 5000))
show("compressed", failure(raw, known, compression=grpc.Compression.Gzip))
show("no such method", failure(channel.unary_unary("/vdpadpdk.VdpaDpdk/Put"), b""))

# grpc.health.v1.HealthCheckResponse: status 1 is SERVING.
health = channel.unary_unary("/grpc.health.v1.Health/Check")
show("health", health(b"", timeout=10).hex())
show("health of nothing", failure(health, b"\x0a\x04none"))

listing = channel.unary_unary(
    "/ringport.vdpa.v1.Devices/List",
    request_serializer=devices.ListRequest.SerializeToString,
    response_deserializer=devices.ListResponse.FromString,
)
listed = listing(devices.ListRequest(), timeout=10)
show("list", [[device.pci_address, device.socket_path] for device in listed.devices])
show("generation", listed.generation)

watch = channel.unary_stream(
    "/ringport.vdpa.v1.Devices/Watch",
    request_serializer=devices.WatchRequest.SerializeToString,
    response_deserializer=devices.WatchResponse.FromString,
)
try:
    for told in watch(devices.WatchRequest()):
        changes = [
            [devices.Kind.Name(it.kind), it.device.pci_address, it.device.socket_path]
            for it in told.changes
        ]
        show("watch", changes)
except grpc.RpcError as error:
    show("end of watch", [error.code().name, error.details()])
