"""No test looks a name up or leaves this machine: in this process (conftest) and in those it starts (PYTHONPATH).

Python tells an audit hook of each look-up and connection. The hook refuses all names, and all connections but those to
loopback, as if there were no network; ``refused`` holds what was asked for, and conftest lets the test that did so
fail. A socket that is given a name looks it up before the hook hears of it, so ``connect`` is asked about first.
"""

import ipaddress
import socket
import sys

FORWARD = ("socket.getaddrinfo", "socket.gethostbyname")
BACKWARD = ("socket.gethostbyaddr", "socket.getnameinfo")
CONNECTIONS = ("socket.connect", "socket.sendto")
OWN = ("", "localhost", "localhost.")
refused: list[str] = []


def is_number(host):
    """Say whether a host is an address, in any spelling that needs nobody to be asked."""
    try:
        socket.inet_aton(host)
    except OSError:
        return ":" in host
    return True


def is_loopback(host):
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def check(event, arguments):
    if event in FORWARD:
        host = arguments[0]
    elif event in BACKWARD:
        host = arguments[0][0] if isinstance(arguments[0], tuple) else arguments[0]
    elif event in CONNECTIONS and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host or ""
    if host in OWN or is_loopback(host) or (event in FORWARD and is_number(host)):
        return
    refused.append(f"{event} {host!r}")
    raise socket.gaierror(socket.EAI_NONAME, f"tests stay on loopback: {event} {host!r}")


def guarded(method):
    def connect(self, address):
        check("socket.connect", (self, address))
        return method(self, address)

    return connect


sys.addaudithook(check)
socket.socket.connect = guarded(socket.socket.connect)
socket.socket.connect_ex = guarded(socket.socket.connect_ex)
