#!/usr/bin/env python3
"""Fill a small file system under a server, and see that it waits, answers, ends, comes back and goes on.

    ci/crash/full_disk.py               all scenarios
    ci/crash/full_disk.py filled log    only these

KEELKV_BIN names the server, ETCDCTL_BIN the client. Each scenario has a tmpfs of its own in a mount namespace that
nothing else sees: when this ends, however it ends, the mounts are gone with it.
"""

import argparse
import concurrent.futures
import contextlib
import hashlib
import http.client
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ci"))
from ports import free_ports  # noqa: E402

MIB = 1 << 20
DISK_MIB = 400
VALUE_BYTES = 512 << 10
# Room for small flushes and for no log segment.
SPARSE_BYTES = 16 << 20
WRITERS = 4
# The file that the server sets aside, and how long it may take to see that the disk is full.
BALLAST = "KEELKV_BALLAST"
BALLAST_SECONDS = 20
# A write that is not answered by then is given up. Longer than the server's own limit of 7 s.
WRITE_SECONDS = 10
RESUME_SECONDS = 40
END_SECONDS = 10
START_SECONDS = 40
# What a write on a full disk may be told.
REFUSALS = (
    "database space exceeded",
    "too many requests",
    "request timed out",
    "DeadlineExceeded",
    "deadline exceeded",
)
NAMESPACE = "KEELKV_FULL_DISK_NAMESPACE"
# Server and client take settings from variables of these names, and warn of others.
PLAIN = {key: value for key, value in os.environ.items() if not key.startswith(("KEELKV_", "ETCD"))}


def last_line(text: bytes) -> str:
    return (text.decode(errors="replace").splitlines() or [""])[-1]


class Checks:
    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def that(self, holds: bool, what: str, detail: object = "") -> bool:
        if holds:
            self.passed += 1
        else:
            self.failed += 1
        print(f"{'ok  ' if holds else 'BAD '} {what}{f': {detail}' if detail != '' else ''}", flush=True)
        return holds


@contextlib.contextmanager
def small_disk() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="keelkv-full-disk-") as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", folder], check=True)
        try:
            yield pathlib.Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def free_bytes(disk: pathlib.Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


class Filler:
    """A file of somebody else's on the same disk."""

    def __init__(self, disk: pathlib.Path) -> None:
        self.path = disk / "filler"

    def take(self, count: int) -> None:
        with self.path.open("ab") as file:
            if count > 0:
                os.posix_fallocate(file.fileno(), file.tell(), count)

    def take_all_but(self, left: int) -> None:
        if left > 0:
            self.take(free_bytes(self.path.parent) - left)
            return
        block = bytes(64 << 10)
        with self.path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(block):
                pass

    def go(self) -> None:
        self.path.unlink()


class Server:
    """A member on the small disk; its log of lines lies elsewhere."""

    def __init__(self, disk: pathlib.Path, lines: pathlib.Path) -> None:
        self.disk, self.lines = disk, lines
        self.port, self.peer = free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> bool:
        """False: it ended instead of serving, or does neither."""
        url, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.peer}"
        with self.lines.open("ab") as out:
            self.process = subprocess.Popen(
                [
                    os.environ["KEELKV_BIN"],
                    "--name=full",
                    f"--data-dir={self.disk}/data",
                    f"--quota-backend-bytes={100 << 30}",
                    f"--listen-client-urls={url}",
                    f"--advertise-client-urls={url}",
                    f"--listen-peer-urls={peer}",
                    f"--initial-advertise-peer-urls={peer}",
                    f"--initial-cluster=full={peer}",
                ],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=PLAIN,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.runs():
            if self.serves():
                return True
            time.sleep(0.1)
        return False

    def serves(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self) -> tuple[float, int | None]:
        """How long it took after SIGTERM, and how it ended; none if it had to be killed."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(3 * END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return time.monotonic() - began, None
        return time.monotonic() - began, status

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def gives_up_ballast(self) -> bool:
        """Waits until it has let go what it had set aside for a full disk."""
        end = time.monotonic() + BALLAST_SECONDS
        while any(self.disk.rglob(BALLAST)):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def busy(self, seconds: float) -> float:
        """The part of one CPU that it takes, with nobody asking it anything."""
        assert self.process is not None

        def ticks() -> int:
            fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        before = ticks()
        time.sleep(seconds)
        return (ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds

    def last_lines(self) -> str:
        return "\n".join(self.lines.read_text(errors="replace").splitlines()[-12:])

    def ctl(self, *words: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [
                os.environ["ETCDCTL_BIN"],
                f"--endpoints=127.0.0.1:{self.port}",
                f"--command-timeout={WRITE_SECONDS}s",
                *words,
            ],
            env=PLAIN,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            check=False,
            timeout=3 * WRITE_SECONDS,
        )


class Ledger:
    """What was promised: the hash of the value that each key must have. Values cannot be compressed."""

    def __init__(self, server: Server, checks: Checks) -> None:
        self.server, self.checks = server, checks
        self.known: dict[str, str] = {}
        self.next = 0
        self.random = random.Random(1)

    def write(self) -> str:
        """One put; empty if it was acknowledged, else the error."""
        key, value = f"key/{self.next:06}", self.random.randbytes(VALUE_BYTES)
        self.next += 1
        return self.put(key, value)

    def put(self, key: str, value: bytes) -> str:
        done = self.server.ctl("put", key, data=value)
        if done.returncode == 0:
            self.known[key] = hashlib.sha256(value).hexdigest()
            return ""
        return last_line(done.stderr)

    def fill(self, most: int) -> str:
        """Writes until something is refused; the error, or nothing if there was none."""
        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            for _ in range(0, most, WRITERS):
                puts = []
                for _ in range(WRITERS):
                    puts.append((f"key/{self.next:06}", self.random.randbytes(VALUE_BYTES)))
                    self.next += 1
                refused = [error for error in pool.map(lambda put: self.put(*put), puts) if error]
                if refused:
                    return refused[0]
        return ""

    def resumes(self) -> float | None:
        """Seconds until a write goes through again."""
        began = time.monotonic()
        while time.monotonic() < began + RESUME_SECONDS:
            if not self.write():
                return time.monotonic() - began
            time.sleep(0.2)
        return None

    def missing(self) -> list[str]:
        """Keys that are not what was promised."""

        def is_wrong(key: str) -> bool:
            done = self.server.ctl("get", key, "--print-value-only")
            return done.returncode != 0 or hashlib.sha256(done.stdout[:-1]).hexdigest() != self.known[key]

        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            return [key for key, wrong in zip(self.known, pool.map(is_wrong, self.known), strict=True) if wrong]

    def check_reads(self, when: str) -> None:
        began = time.monotonic()
        missing = self.missing()
        self.checks.that(
            bool(self.known) and not missing,
            f"{when}: every acknowledged write is there",
            f"{len(self.known)} writes, {len(missing)} missing {missing[:3]}, {time.monotonic() - began:.1f} s",
        )

    def check_refused(self, error: str) -> None:
        self.checks.that(any(text in error for text in REFUSALS), "a write that has no room is told so", error)

    def check_resumes(self, when: str) -> None:
        took = self.resumes()
        self.checks.that(
            took is not None,
            f"{when}: writes go on by themselves",
            f"not within {RESUME_SECONDS} s" if took is None else f"{took:.1f} s",
        )


def filled(server: Server, checks: Checks) -> None:
    """A disk that somebody else fills to the last byte, and gives back."""
    filler = Filler(server.disk)
    filler.take(120 * MIB)
    if not checks.that(server.start(), "starts", free_bytes(server.disk) // MIB):
        return
    ledger = Ledger(server, checks)
    ledger.check_refused(ledger.fill(DISK_MIB * MIB // VALUE_BYTES))
    filler.take_all_but(0)
    checks.that(server.gives_up_ballast(), "on a full disk it gives up what it had set aside")
    # The rest of the world takes that too.
    filler.take_all_but(0)
    error = ledger.write()
    ledger.check_refused(error)
    ledger.check_reads("on a full disk")
    busy = server.busy(3)
    checks.that(busy < 0.3, "on a full disk it does not spin", f"{busy:.0%} of a CPU")
    checks.that(server.runs() and server.serves(), "on a full disk it runs")
    filler.go()
    ledger.check_resumes("with room again")

    filler.take(60 * MIB)
    ledger.check_refused(ledger.fill(DISK_MIB * MIB // VALUE_BYTES))
    filler.take_all_but(0)
    checks.that(server.gives_up_ballast(), "on a full disk it gives up again what it had set aside")
    filler.take_all_but(0)
    checks.that(free_bytes(server.disk) < 4096, "the disk is full to the last byte", free_bytes(server.disk))
    took, status = server.end()
    checks.that(took < END_SECONDS and status is not None, "SIGTERM on a full disk ends it", f"{took:.1f} s, {status}")
    began = time.monotonic()
    if server.start():
        checks.that(True, "starts on a full disk", f"{time.monotonic() - began:.1f} s")
        ledger.check_reads("after a restart on a full disk")
        filler.go()
        ledger.check_resumes("after a restart on a full disk, with room again")
        took, status = server.end()
        checks.that(took < END_SECONDS and status is not None, "ends", f"{took:.1f} s, {status}")
    else:
        last = last_line(server.lines.read_bytes())
        checks.that(
            not server.runs() and ("No space left" in last or "disk is full" in last),
            "does not start on a full disk, and says why",
            last,
        )
        server.kill()
        filler.go()
    checks.that(server.start(), "starts with room again")
    ledger.check_reads("after a restart with room")
    ledger.check_resumes("after a restart with room")


def deleted(server: Server, checks: Checks) -> None:
    """A disk that the server fills by itself, and empties by deletions and a compaction."""
    if not checks.that(server.start(), "starts"):
        return
    ledger = Ledger(server, checks)
    ledger.check_refused(ledger.fill(DISK_MIB * MIB // VALUE_BYTES))
    ledger.check_reads("on a full disk")
    gone = sorted(ledger.known)[: len(ledger.known) * 3 // 4]
    done = server.ctl("del", "--range", gone[0], gone[-1] + "0")
    checks.that(done.returncode == 0, "deletions have room", last_line(done.stderr))
    for key in gone:
        del ledger.known[key]
    revision = server.ctl("get", "key/", "--prefix", "--limit=1", "--write-out=fields").stdout.decode()
    revision = next(line.split(":")[1].strip() for line in revision.splitlines() if line.startswith('"Revision"'))
    done = server.ctl("compact", revision)
    checks.that(done.returncode == 0, "a compaction has room", last_line(done.stderr))
    ledger.check_resumes("after deletions and a compaction")
    error = ledger.fill(WRITERS * 8)
    checks.that(not error, "and more than one write", error)
    ledger.check_reads("after deletions and a compaction")
    server.kill()
    checks.that(server.start(), "starts after a kill")
    ledger.check_reads("after a kill")


def log(server: Server, checks: Checks) -> None:
    """A full disk, and a log that what is let through writes full several times over."""
    if not checks.that(server.start(), "starts"):
        return
    ledger = Ledger(server, checks)
    ledger.check_refused(ledger.fill(DISK_MIB * MIB // VALUE_BYTES))
    # No further segment has room, and what the server had set aside is taken in its place.
    filler = Filler(server.disk)
    filler.take_all_but(SPARSE_BYTES)
    checks.that(server.gives_up_ballast(), "it gives up what it had set aside")
    filler.take_all_but(SPARSE_BYTES)
    # Takes room in the log and none in the state: a transaction that compares a large value and deletes nothing.
    text = "x" * VALUE_BYTES
    request = f'value("key/none") = "{text}"\n\n\ndel key/none\n\n'.encode()
    count = 3 * 32 * MIB // VALUE_BYTES
    began, errors = time.monotonic(), []
    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        for done in pool.map(lambda _: server.ctl("txn", data=request), range(count)):
            if done.returncode != 0:
                errors.append(last_line(done.stderr))
    checks.that(
        len(errors) < count // 10,
        "the log goes round on a full disk",
        f"{count} requests, {len(errors)} refused {errors[:1]}, {time.monotonic() - began:.1f} s",
    )
    done = server.ctl("txn", data=request)
    checks.that(done.returncode == 0, "and takes what frees space in the end", last_line(done.stderr))
    ledger.check_refused(ledger.write())
    ledger.check_reads("after that")
    server.kill()
    checks.that(server.start(), "starts after a kill on a full disk")
    ledger.check_reads("after a kill")
    took, status = server.end()
    checks.that(took < END_SECONDS and status is not None, "SIGTERM on a full disk ends it", f"{took:.1f} s, {status}")


SCENARIOS = {"filled": filled, "deleted": deleted, "log": log}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=" ".join(SCENARIOS))
    names = parser.parse_args().scenarios or list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        parser.error(f"no scenario {unknown[0]}: there are {', '.join(SCENARIOS)}")
    if NAMESPACE not in os.environ:
        # Nobody but us sees the mounts then, and the kernel ends what is left when we end.
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if os.geteuid() != 0:
            apart[1:1] = ["--user", "--map-root-user"]
        os.execvpe(apart[0], [*apart, sys.executable, *sys.argv], {**os.environ, NAMESPACE: "1"})
    if "ETCDCTL_BIN" not in os.environ:
        built = subprocess.run(["python3", "ci/etcd/build.py"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        os.environ["ETCDCTL_BIN"] = f"{built.stdout.strip()}/etcdctl"
    if "KEELKV_BIN" not in os.environ:
        sys.exit("KEELKV_BIN names no server")

    checks = Checks()
    for name in names:
        print(f"--- {name}: {SCENARIOS[name].__doc__}", flush=True)
        before = checks.failed
        with small_disk() as disk, tempfile.TemporaryDirectory(prefix="keelkv-full-disk-lines-") as elsewhere:
            server = Server(disk, pathlib.Path(elsewhere) / "lines")
            try:
                SCENARIOS[name](server, checks)
            finally:
                server.kill()
                if checks.failed > before:
                    print(server.last_lines(), flush=True)
    print(f"{checks.passed} passed, {checks.failed} failed", flush=True)
    return 1 if checks.failed or not checks.passed else 0


if __name__ == "__main__":
    sys.exit(main())
