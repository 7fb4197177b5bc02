#!/usr/bin/env python3
"""Type README's quick start and its cluster into a shell, with the real etcdctl and our server, and read the answers.

KEELKV_BIN is the server, ETCD_BIN_DIR has etcdctl.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading

from ports import free_ports

ROOT = pathlib.Path(__file__).resolve().parents[1]
MARK = "<!-- {}: a test types the next block -->\n```sh\n"
READY = "ready to serve client requests"
# What must appear, in this order; the watch writes whenever it likes and is looked for apart.
ANSWERS = [
    r"^OK$",
    r"^greeting$",
    r"^hello$",
    r"^OK$",
    r"^OK$",
    r"^lease [0-9a-f]+ granted with TTL\(60s\), remaining\((59|60)s\), attached keys\(\[session\]\)$",
    r"^SUCCESS$",
    r"^OK$",
    r"^User alice created$",
    r"^Authentication Enabled$",
    r"^greeting$",
    r"^bye$",
    r"^permission denied, as it should be$",
    r"^Authentication Disabled$",
]
WATCHED = ["hello", "hello again", "bye"]
# Zeros in front are not printed everywhere; columns are padded.
ID = " *[0-9a-f]{8,16}"
CLUSTER_ANSWERS = [
    *(rf"^│ {ID} │ started │ +m[123] │ http://127.0.0.1:\d+ │ http://127.0.0.1:\d+ │ +false │$",) * 3,
    *(rf"^│ http://127.0.0.1:\d+ │ {ID} │ +3\.\d+\.\d+ │",) * 3,
    r"^OK$",
    r"^greeting$",
    r"^hello$",
    rf"^Member {ID} added as learner to cluster {ID}$",
    rf"^Member {ID} promoted in cluster {ID}$",
    rf"^Member {ID} updated in cluster {ID}$",
    rf"^Leadership transferred from {ID} to {ID}$",
    rf"^Member {ID} removed from cluster {ID}$",
    r"^removed: m1, m2, m3$",
    rf"^Member {ID} removed from cluster {ID}$",
    rf"^Member {ID} added to cluster {ID}$",
    r"^replaced: hello$",
    r"^over TLS: OK$",
]
# Typed behind each of the cluster's blocks, to see what it left.
CLUSTER_CHECKS = [
    "",
    "echo removed: $(etcdctl member list | cut -d, -f3 | sort | paste -sd,)\n",
    "until ETCDCTL_ENDPOINTS=127.0.0.1:32379 etcdctl get greeting --consistency=s | grep -qx hello; do :; done\n"
    "echo replaced: hello\n",
    "",
    "echo over TLS: $(etcdctl put greeting safe)\nkill $(jobs -p); wait\n",
]


def start(data_dir: str, url: str) -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [
            *(os.environ["KEELKV_BIN"], "--name", "quick", "--data-dir", data_dir),
            *("--listen-client-urls", url, "--advertise-client-urls", url),
            *("--listen-peer-urls", "http://127.0.0.1:0"),
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in server.stderr:
        if READY in line:
            return server
        print(line, end="")
    sys.exit("the server did not become ready")


def blocks(name: str) -> list[str]:
    """What README has to type under this name."""
    return [part.split("```")[0] for part in (ROOT / "README.md").read_text().split(MARK.format(name))[1:]]


def missing(answers: list[str], text: str) -> list[str]:
    """Those of the answers that do not come, in their order."""
    lines = iter(text.split("\n"))
    return [f"no answer like {answer}" for answer in answers if not any(re.match(answer, line) for line in lines)]


def cluster() -> list[str]:
    """Types what README says of clusters; returns what was wrong."""
    script = "".join(typed + check for typed, check in zip(blocks("cluster"), CLUSTER_CHECKS, strict=True))
    # README's ports may be taken on this machine.
    for port in sorted(set(re.findall(r"\b[1-4]23(?:79|80)\b", script))):
        script = script.replace(port, str(free_ports(1)[0]))
    with tempfile.TemporaryDirectory() as scratch:
        (pathlib.Path(scratch) / "bin").mkdir()
        (pathlib.Path(scratch) / "bin" / "keelkv").symlink_to(pathlib.Path(os.environ["KEELKV_BIN"]).resolve())
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=scratch,
            env={**os.environ, "PATH": f"{scratch}/bin:{os.environ['ETCD_BIN_DIR']}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        late = threading.Timer(120, os.killpg, (shell.pid, signal.SIGKILL))
        late.start()
        text, _ = shell.communicate()
        late.cancel()
        wrong = missing(CLUSTER_ANSWERS, text)
        if wrong:
            for log in sorted(pathlib.Path(scratch).glob("*.log")):
                print(f"{log.name}:\n{log.read_text()[-3000:]}")
    print(text)
    return wrong


def quick_start() -> list[str]:
    """Types the quick start; returns what was wrong."""
    use, end, users = blocks("quick start")
    # Whoever reads the watch ends it when it has shown everything; then it must end.
    watched = 'for i in $(seq 100); do [ "$(grep -c . watched)" -ge 9 ] && break; sleep 0.1; done\n'
    script = use.replace("--rev=1 &", "--rev=1 > watched &") + watched + end + "wait\n" + users
    with tempfile.TemporaryDirectory() as scratch:
        url = f"http://127.0.0.1:{free_ports(1)[0]}"
        server = start(f"{scratch}/data", url)
        try:
            path = f"{os.environ['ETCD_BIN_DIR']}:{os.environ['PATH']}"
            shell = subprocess.run(
                ["bash", "-c", script],
                cwd=scratch,
                env={**os.environ, "PATH": path, "ETCDCTL_ENDPOINTS": url},
                capture_output=True,
                text=True,
                timeout=60,
            )
        finally:
            server.send_signal(signal.SIGTERM)
            status = server.wait(timeout=20)
        watch = (pathlib.Path(scratch) / "watched").read_text().split("\n")
    print(shell.stdout, shell.stderr, sep="")
    wrong = missing(ANSWERS, shell.stdout)
    if watch[2::3] != WATCHED:
        wrong.append(f"the watch heard {watch}")
    if status != -signal.SIGTERM:
        wrong.append(f"the server ended with {status}, not by the signal it was sent")
    return wrong


def main() -> int:
    failed = 0
    for part in (quick_start, cluster):
        if wrong := part():
            failed += 1
            print("\n".join(wrong))
    print(f"{2 - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
