"""A node: one Patroni with its PostgreSQL."""

import contextlib
import json
import os
import pathlib
import pwd
import re
import signal
import subprocess
import sys
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from guard import descendants  # noqa: E402
from ports import free_ports  # noqa: E402
from store import PASSWORD, USER, Store, wait_for  # noqa: E402

# Seconds; Patroni asks for loop_wait + 2 * retry_timeout <= ttl.
TTL, LOOP_WAIT, RETRY_TIMEOUT = 10, 1, 4
STOP_SECONDS = 30
SCOPE = "keelkv"
LEADER = "primary"


def owner() -> str | None:
    """Who runs PostgreSQL, which refuses root. Nobody else than us if we are not root."""
    return "postgres" if os.geteuid() == 0 else None


def programs() -> pathlib.Path:
    """Where PostgreSQL's programs are; Debian has a folder for each version."""
    versions = pathlib.Path("/usr/lib/postgresql").glob("*/bin")
    return max(versions, key=lambda folder: int(folder.parent.name))


class SqlError(Exception):
    """PostgreSQL refused something, or was not there."""


class Node:
    """A Patroni and its PostgreSQL on 127.0.0.1, with a folder of their own."""

    def __init__(self, name: str, folder: pathlib.Path, store: Store) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.port, self._api = free_ports(2)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        self.settings = folder / "patroni.yml"
        # JSON is YAML.
        self.settings.write_text(json.dumps(self._settings(store), indent=1))
        if user := owner():
            entry = pwd.getpwnam(user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)

    def start(self) -> None:
        """Starts Patroni, which starts PostgreSQL."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["patroni", self.settings],
                cwd=self._folder,
                env=self._environment(),
                user=owner(),
                group=owner(),
                extra_groups=[] if owner() else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """Ends Patroni and PostgreSQL at once, as a machine that fails."""
        postmaster = self._postmaster()
        for parent in (self._process.pid, postmaster):
            for pid in [parent, *descendants(parent)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()
        wait_for(f"{self.name}'s PostgreSQL is gone", lambda: not pathlib.Path(f"/proc/{postmaster}").exists(), 10)

    def terminate(self) -> None:
        """Asks Patroni to stop PostgreSQL and end."""
        if self._process:
            self._process.terminate()

    def wait(self) -> None:
        """Waits until Patroni has ended."""
        if self._process:
            self._process.wait(STOP_SECONDS)

    def status(self) -> dict:
        """What Patroni says of the node; nothing if it does not answer."""
        try:
            # It answers 503 as long as PostgreSQL does not run.
            with urllib.request.urlopen(f"http://127.0.0.1:{self._api}/patroni", timeout=2) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return {}

    def role(self) -> str | None:
        """What its PostgreSQL is: LEADER, `replica` and more; nothing if Patroni does not answer."""
        role = self.status().get("role")
        # It had another name for it before its fourth release.
        return LEADER if role == "master" else role

    def leads(self) -> bool:
        """Whether its PostgreSQL takes writes, and Patroni knows."""
        return self.role() == LEADER

    def sql(self, text: str) -> str:
        """Has PostgreSQL do something; what it answers, unadorned."""
        done = subprocess.run(
            [programs() / "psql", "-h127.0.0.1", f"-p{self.port}", "-Upostgres", "-XAtqc", text, "postgres"],
            env={**self._environment(), "PGPASSWORD": "super", "PGCONNECT_TIMEOUT": "5"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SqlError(f"{self.name}: {text}: {done.stderr.strip()}")
        return done.stdout.strip()

    def ctl(self, *words: str) -> str:
        """What patronictl says, with this node's settings."""
        done = subprocess.run(
            ["patronictl", "-c", self.settings, *words], env=self._environment(), capture_output=True, text=True
        )
        if done.returncode:
            raise AssertionError(f"patronictl {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def complaints(self) -> list[str]:
        """Patroni's warnings and errors, each with the exception that it shows, if any."""
        told = []
        for entry in re.split(r"^(?=\d{4}-\d\d-\d\d )", self.log.read_text(errors="replace"), flags=re.MULTILINE):
            if found := re.match(r"\S+ \S+ ((?:WARNING|ERROR|CRITICAL): .*)", entry):
                raised = re.findall(r"^[\w.]+: .*", entry, re.MULTILINE)
                told.append(found[1] + (raised[-1] if raised else ""))
        return told

    def _postmaster(self) -> int:
        return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])

    def _environment(self) -> dict[str, str]:
        path = f"{programs()}:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": str(self._folder), "LC_ALL": "C.UTF-8"}

    def _settings(self, store: Store) -> dict:
        passwords = {
            "superuser": {"username": "postgres", "password": "super"},
            "replication": {"username": "replicator", "password": "replication"},
        }
        etcd3 = {"hosts": [f"127.0.0.1:{port}" for port in store.ports]}
        if store.secure:
            etcd3 |= {"protocol": "https", "cacert": str(store.ca), "username": USER, "password": PASSWORD}
            # Or Debian's Patroni asks for the list of members before it logs in, and is refused, by etcd as well.
            etcd3 |= {"use_proxies": True}
        return {
            "scope": SCOPE,
            "name": self.name,
            "restapi": dict.fromkeys(("listen", "connect_address"), f"127.0.0.1:{self._api}"),
            "etcd3": etcd3,
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": LOOP_WAIT,
                    "retry_timeout": RETRY_TIMEOUT,
                    "postgresql": {"use_pg_rewind": True},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums", "no-sync"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self._folder / "data"),
                "bin_dir": str(programs()),
                "pgpass": str(self._folder / "pgpass"),
                "authentication": passwords,
                "basebackup": [{"checkpoint": "fast"}],
                "pg_hba": [
                    "local all all reject",
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication all 127.0.0.1/32 scram-sha-256",
                ],
                # What is in memory that processes share is gone with the folder.
                "parameters": {
                    "unix_socket_directories": str(self._folder),
                    "dynamic_shared_memory_type": "mmap",
                    "fsync": "off",
                    "wal_retrieve_retry_interval": "500ms",
                },
            },
        }
