"""The guard of the tests works: no name is looked up and no other machine is reached, here or in a child process."""

import socket
import subprocess
import sys

import pytest
import sitecustomize

TRIES = {
    "a name": 'socket.getaddrinfo("huggingface.co", 443)',
    "a name, by a connection": 'socket.create_connection(("huggingface.co", 443), 1)',
    "a name, by a socket": 'socket.socket().connect(("huggingface.co", 443))',
    "a name, by the old call": 'socket.gethostbyname("huggingface.co")',
    "a datagram": 'socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53))',
    "an address": 'socket.socket().connect(("192.0.2.1", 443))',
    "an address of version 6": 'socket.socket(socket.AF_INET6).connect(("2001:db8::1", 443))',
}
FREE = {
    "loopback": 'socket.getaddrinfo("127.0.0.1", 80)',
    "its name": 'socket.getaddrinfo("localhost", 80)',
    "a number": 'socket.getaddrinfo("8.8.8.8", 80)',
    "nobody there": 'socket.socket().connect_ex(("127.0.0.1", 9))',
}


@pytest.mark.parametrize("what", TRIES)
def test_refused(what):
    before = len(sitecustomize.refused)
    try:
        with pytest.raises(socket.gaierror, match="tests stay on loopback"):
            exec(TRIES[what])
        assert len(sitecustomize.refused) == before + 1, "conftest fails a test for this"
    finally:
        del sitecustomize.refused[before:]


@pytest.mark.parametrize("what", FREE)
def test_free(what):
    exec(FREE[what])


def test_children_are_kept_in_as_well():
    code = f"""
import socket
for what in {[*TRIES.values()]!r}:
    try:
        exec(what)
    except socket.gaierror as error:
        print(str(error).count("tests stay on loopback"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"] * len(TRIES)
