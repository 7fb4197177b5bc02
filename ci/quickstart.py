#!/usr/bin/env python3
"""Type README's quick start into a shell, with the real etcdctl and a server of ours, and read the answers.

KEELKV_BIN is the server, ETCD_BIN_DIR has etcdctl.
"""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
MARK = "<!-- quick start: a test types the next block -->\n```sh\n"
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
]
WATCHED = ["hello", "hello again", "bye"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


def main() -> int:
    use, end = (part.split("```")[0] for part in (ROOT / "README.md").read_text().split(MARK)[1:])
    # Whoever reads the watch ends it when it has shown everything; then it must end.
    watched = 'for i in $(seq 100); do [ "$(grep -c . watched)" -ge 9 ] && break; sleep 0.1; done\n'
    script = use.replace("--rev=1 &", "--rev=1 > watched &") + watched + end + "wait\n"
    with tempfile.TemporaryDirectory() as scratch:
        url = f"http://127.0.0.1:{free_port()}"
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
    wrong = []
    lines = iter(shell.stdout.split("\n"))
    wrong += [f"no answer like {answer}" for answer in ANSWERS if not any(re.match(answer, line) for line in lines)]
    if watch[2::3] != WATCHED:
        wrong.append(f"the watch heard {watch}")
    if status != -signal.SIGTERM:
        wrong.append(f"the server ended with {status}, not by the signal it was sent")
    print("\n".join(wrong))
    print(f"{int(not wrong)} passed, {int(bool(wrong))} failed")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
