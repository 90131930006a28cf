"""A look-up by gRPC's own library: server.py SOCKET MODULES [old]; with `old` only the old service."""

import sys
import threading
from concurrent import futures

import grpc

sys.path.insert(0, sys.argv[2])
import ringport_vdpa_pb2 as devices
import vdpadpdk_pb2 as vdpadpdk

SOCKETS = {
    "0000:82:00.5": "/var/run/vdpa/vhost/vdpa-3",
    # What no server should say.
    "0000:00:00.1": "/tmp/\x1b[2J",
    "0000:00:00.2": "relative",
    "0000:00:00.3": "/" + "7" * 2000000,
}


def get(request, context):
    if request.pciAddress == "0000:00:00.4":
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not\x1b[2J\nfor you")
    return vdpadpdk.GetSocketpathResponse(socketpath=SOCKETS.get(request.pciAddress, ""))


def device(address, path):
    return devices.Device(pci_address=address, socket_path=path)


def listing(request, context):
    rows = [device("0000:82:00.5", "/b"), device("0000:82:00.4", "/a")]
    return devices.ListResponse(devices=rows, generation=7)


def watch(request, context):
    added = devices.Change(kind=devices.KIND_ADDED, device=device("0000:82:00.4", "/a"))
    yield devices.WatchResponse(changes=[added], generation=1)
    moved = devices.Change(kind=devices.KIND_MOVED, device=device("0000:82:00.4", "/c"))
    yield devices.WatchResponse(changes=[moved], generation=2)
    odd = devices.Change(kind=devices.KIND_ADDED, device=device("vf0", "/c"))
    yield devices.WatchResponse(changes=[odd], generation=3)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
methods = {
    "GetSocketpath": grpc.unary_unary_rpc_method_handler(
        get,
        request_deserializer=vdpadpdk.GetSocketpathRequest.FromString,
        response_serializer=vdpadpdk.GetSocketpathResponse.SerializeToString,
    )
}
handlers = [grpc.method_handlers_generic_handler("vdpadpdk.VdpaDpdk", methods)]
if len(sys.argv) < 4:
    methods = {
        "List": grpc.unary_unary_rpc_method_handler(
            listing,
            request_deserializer=devices.ListRequest.FromString,
            response_serializer=devices.ListResponse.SerializeToString,
        ),
        "Watch": grpc.unary_stream_rpc_method_handler(
            watch,
            request_deserializer=devices.WatchRequest.FromString,
            response_serializer=devices.WatchResponse.SerializeToString,
        ),
    }
    handlers.append(grpc.method_handlers_generic_handler("ringport.vdpa.v1.Devices", methods))
server.add_generic_rpc_handlers(tuple(handlers))
if server.add_insecure_port("unix:" + sys.argv[1]) == 0:
    sys.exit("no socket")
server.start()
print("ready", flush=True)
threading.Event().wait()
