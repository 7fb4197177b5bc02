#!/usr/bin/env python3
"""Open many connections to a port with TLS, say nothing on them, and see that the server lets all of them go in time,
without growing, and serves others meanwhile.

    ci/crash/idle_connections.py [--count 10000]

KEELKV_BIN names the server, ETCDCTL_BIN the client.
"""

import argparse
import os
import pathlib
import resource
import selectors
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ci"))
from ports import free_ports  # noqa: E402

# The server's limit for a handshake, and what a busy machine may add to it.
HANDSHAKE_SECONDS = 10
SLACK_SECONDS = 10
# For all connections together.
GROWTH_MIB = 64
START_SECONDS = 60


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def serves(port: int) -> bool:
    """Whether a client with TLS is answered."""
    get = [os.environ["ETCDCTL_BIN"], f"--endpoints=https://127.0.0.1:{port}", "--insecure-skip-tls-verify"]
    get += ["--insecure-transport=false", "get", "nothing"]
    return subprocess.run(get, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def wait_until_closed(idle: list[socket.socket], until: float, port: int) -> int:
    """Waits for the other side to close all connections. How many it left open."""
    with selectors.DefaultSelector() as selector:
        for connection in idle:
            selector.register(connection, selectors.EVENT_READ)
        left = len(idle)
        asked = 0.0
        while left and time.monotonic() < until:
            for key, _ in selector.select(timeout=0.5):
                selector.unregister(key.fileobj)
                left -= 1
            if left and time.monotonic() - asked > 2:
                asked = time.monotonic()
                assert serves(port), "a client was not served beside the idle connections"
        return left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="connections that say nothing")
    count = parser.parse_args().count
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    client, peer = free_ports(2)
    with tempfile.TemporaryDirectory() as directory, open(f"{directory}/log", "wb") as log:
        arguments = [
            os.environ["KEELKV_BIN"],
            "--name=idle",
            f"--data-dir={directory}/data",
            "--auto-tls",
            f"--listen-client-urls=https://127.0.0.1:{client}",
            f"--advertise-client-urls=https://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
        ]
        server = subprocess.Popen(arguments, stdout=log, stderr=log)
        try:
            began = time.monotonic()
            while not serves(client):
                assert server.poll() is None and time.monotonic() < began + START_SECONDS, "it does not start"
            before = resident_mib(server.pid)
            began = time.monotonic()
            idle = [socket.create_connection(("127.0.0.1", client)) for _ in range(count)]
            opened = time.monotonic()
            left = wait_until_closed(idle, opened + HANDSHAKE_SECONDS + SLACK_SECONDS, client)
            grown = resident_mib(server.pid) - before
            took = time.monotonic() - opened
            print(f"{count} opened in {opened - began:.1f} s, {left} left after {took:.1f} s, {grown:.0f} MiB more")
            assert left == 0, f"{left} connections are still open"
            assert grown <= GROWTH_MIB, f"the server grew by {grown:.0f} MiB"
        finally:
            server.kill()
            server.wait()
    print("1 passed, 0 failed")


if __name__ == "__main__":
    main()
