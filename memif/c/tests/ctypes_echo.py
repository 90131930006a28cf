"""Sends every packet back, as Python programs would: python3 ctypes_echo.py LIBRARY PORT PACKETS"""
import ctypes
import sys


class Packet(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("len", ctypes.c_uint32), ("capacity", ctypes.c_uint32)]


library = ctypes.CDLL(sys.argv[1])
library.ringport_memif_error_text.restype = ctypes.c_char_p
handle, size = ctypes.c_void_p, ctypes.c_size_t
library.ringport_memif_wait_link_up.argtypes = [handle, ctypes.c_int]
library.ringport_memif_rx_burst.argtypes = [handle, ctypes.POINTER(Packet), size]
library.ringport_memif_tx_burst.argtypes = [handle, ctypes.POINTER(Packet), size]
library.ringport_memif_take_rx.argtypes = [handle, ctypes.c_uint32, ctypes.POINTER(handle)]
library.ringport_memif_take_tx.argtypes = [handle, ctypes.c_uint32, ctypes.POINTER(handle)]
library.ringport_memif_close.argtypes = [handle, ctypes.c_char_p]


def check(result):
    if result < 0:
        raise OSError(library.ringport_memif_error_text().decode())
    return result


port, rx, tx = handle(), handle(), handle()
check(library.ringport_memif_open(sys.argv[2].encode(), ctypes.byref(port)))
check(library.ringport_memif_wait_link_up(port, 20000))
check(library.ringport_memif_take_rx(port, 0, ctypes.byref(rx)))
check(library.ringport_memif_take_tx(port, 0, ctypes.byref(tx)))
buffer = ctypes.create_string_buffer(9216)
packet, left = Packet(ctypes.addressof(buffer), 0, len(buffer)), int(sys.argv[3])
while left > 0:
    if check(library.ringport_memif_rx_burst(rx, packet, 1)) == 1:
        left -= check(library.ringport_memif_tx_burst(tx, packet, 1))
check(library.ringport_memif_close(port, b"done"))
try:
    check(library.ringport_memif_close(port, None))
except OSError as error:
    print(error)
