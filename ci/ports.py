"""Ports for servers that are started later."""

import random
import socket

# Below those that the system gives to whoever dials: such a socket may be on any of them until a server listens.
RANGE = range(12_000, 32_000)
ATTEMPTS = 1000
# Nobody listens on these yet, so nothing else tells that they were given out.
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on; this process is given each only once."""
    found: list[int] = []
    for _ in range(ATTEMPTS + count):
        if len(found) == count:
            return found
        port = random.choice(RANGE)
        if port in _given:
            continue
        with socket.socket() as probe:
            # What has ended there lately keeps no server from listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        found.append(port)
    raise OSError(f"no {count} ports of {RANGE} are free")
