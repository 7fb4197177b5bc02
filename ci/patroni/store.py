"""The store that Patroni asks: three members, keelkv's or etcd's."""

import base64
import json
import os
import pathlib
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from ports import free_ports  # noqa: E402

USER, PASSWORD = "patroni", "patroni's own"
ROOT_PASSWORD = "root's own"
START_SECONDS = 30


def wait_for(what: str, condition: Callable[[], object], seconds: float) -> float:
    """Waits until the condition holds, and returns the seconds that it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return time.monotonic() - began


class Store:
    """Three members on 127.0.0.1, each with a folder of its own; secure ones speak TLS and ask for passwords."""

    def __init__(self, binary: str, folder: pathlib.Path, secure: bool) -> None:
        self.folder = folder
        self.secure = secure
        self.ca = folder / "ca.pem"
        self.ports = free_ports(3)
        self._binary = binary
        self._peers = free_ports(3)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        folder.mkdir()
        if secure:
            self._make_certificate()
        self._trust = ssl.create_default_context(cafile=self.ca) if secure else None

    @property
    def scheme(self) -> str:
        """What stands in front of the members' addresses."""
        return "https" if self.secure else "http"

    def start_all(self) -> None:
        """Starts the members, and has a secure store ask for passwords."""
        for number in range(3):
            self.start(number)
        for number in range(3):
            wait_for(f"member {number} serves", lambda number=number: self.healthy(number), START_SECONDS)
        if self.secure:
            self._enable_auth()

    def start(self, number: int) -> None:
        """Starts a member, also one that was killed."""
        urls = [f"{self.scheme}://127.0.0.1:{self.ports[number]}", f"http://127.0.0.1:{self._peers[number]}"]
        arguments = [
            self._binary,
            f"--name=s{number}",
            f"--data-dir={self.folder}/s{number}",
            f"--listen-client-urls={urls[0]}",
            f"--advertise-client-urls={urls[0]}",
            f"--listen-peer-urls={urls[1]}",
            f"--initial-advertise-peer-urls={urls[1]}",
            "--initial-cluster=" + ",".join(f"s{n}=http://127.0.0.1:{port}" for n, port in enumerate(self._peers)),
        ]
        if self.secure:
            arguments += [f"--cert-file={self.ca}", f"--key-file={self.folder}/key.pem"]
        with self.logs()[number].open("ab") as log:
            self._processes[number] = subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT)

    def kill(self, number: int) -> None:
        """Ends a member at once."""
        process = self._processes.pop(number)
        process.kill()
        process.wait()

    def stop_all(self) -> None:
        """Ends those that run."""
        for number in list(self._processes):
            self.kill(number)

    def logs(self) -> list[pathlib.Path]:
        """What each member tells."""
        return [self.folder / f"s{number}.log" for number in range(3)]

    def leader(self) -> int | None:
        """The member that leads, if one says so."""
        for number in self._processes:
            if "etcd_server_is_leader 1" in self._get(number, "/metrics").splitlines():
                return number
        return None

    def healthy(self, number: int) -> bool:
        """Whether a member serves, and has a leader."""
        return '"health":"true"' in self._get(number, "/health")

    def _get(self, number: int, path: str) -> str:
        """What a member answers; nothing if it does not."""
        try:
            url = f"{self.scheme}://127.0.0.1:{self.ports[number]}{path}"
            with urllib.request.urlopen(url, timeout=2, context=self._trust) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    def _post(self, path: str, **message: object) -> None:
        request = urllib.request.Request(
            f"{self.scheme}://127.0.0.1:{self.ports[0]}{path}", json.dumps(message).encode(), method="POST"
        )
        urllib.request.urlopen(request, timeout=10, context=self._trust).close()

    def _enable_auth(self) -> None:
        """Patroni may do as it likes with its own keys, and with no others."""
        self._post("/v3/auth/user/add", name="root", password=ROOT_PASSWORD)
        self._post("/v3/auth/user/grant", user="root", role="root")
        self._post("/v3/auth/role/add", name="patroni")
        first, behind = (base64.b64encode(key).decode() for key in (b"/service/", b"/service0"))
        permission = {"permType": "READWRITE", "key": first, "range_end": behind}
        self._post("/v3/auth/role/grant", name="patroni", perm=permission)
        self._post("/v3/auth/user/add", name=USER, password=PASSWORD)
        self._post("/v3/auth/user/grant", user=USER, role="patroni")
        self._post("/v3/auth/enable")
        try:
            self._post("/v3/kv/range", key=first)
        except urllib.error.HTTPError:
            return
        raise AssertionError("whoever does not say who they are may read")

    def _make_certificate(self) -> None:
        """One that vouches for itself."""
        subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        files = ["-keyout", self.folder / "key.pem", "-out", self.ca]
        subprocess.run(["openssl", "req", "-x509", *kind, *subject, *files], check=True, stderr=subprocess.DEVNULL)
        os.chmod(self.ca, 0o644)
