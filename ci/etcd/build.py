#!/usr/bin/env python3
"""Build the newest etcd 3.7, etcdctl and etcdutl into a cache keyed by version and compiler.

    ci/etcd/build.py          etcd 3.7
    ci/etcd/build.py 3.5      the server of an older series, of which there are backups to restore

The differential tests and the benches run the real thing beside ours. Its sources come as Go modules.
Prints the directory that holds them. When the module proxy cannot be asked, the newest version in the
cache does.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

SERIES = "3.7"
# Module, and the name of its program.
SERVER = {"go.etcd.io/etcd/server/v3": "etcd"}
TOOLS = {"go.etcd.io/etcd/etcdctl/v3": "etcdctl", "go.etcd.io/etcd/etcdutl/v3": "etcdutl"}


def go(*arguments: str, cwd: pathlib.Path, **environment: str) -> str:
    done = subprocess.run(
        ["go", *arguments],
        cwd=cwd,
        env={**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false", **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
        done.check_returncode()
    return done.stdout


def newest(series: str, scratch: pathlib.Path) -> str | None:
    """The newest release of a series, or nothing if nobody can be asked."""
    try:
        listed = go("list", "-m", "-versions", next(iter(SERVER)), cwd=scratch).split()
    except subprocess.CalledProcessError:
        return None
    releases = [v for v in listed if re.fullmatch(rf"v{re.escape(series)}\.\d+", v)]
    return max(releases, key=patch, default=None)


def patch(version: str) -> int:
    """The last number of a version, whatever comes after it."""
    return int(re.match(r"v\d+\.\d+\.(\d+)", version).group(1))


def missing(modules: dict[str, str], done: pathlib.Path) -> dict[str, str]:
    """The modules of which a directory has no program."""
    return {module: binary for module, binary in modules.items() if not (done / binary).exists()}


def cached(series: str, modules: dict[str, str], root: pathlib.Path) -> pathlib.Path | None:
    """The newest build that is there."""
    builds = [d for d in root.glob(f"v{series}.*") if not missing(modules, d)]
    return max(builds, key=lambda d: patch(d.name), default=None)


def main() -> None:
    series = sys.argv[1] if len(sys.argv) > 1 else SERIES
    modules = {**SERVER, **TOOLS} if series == SERIES else SERVER
    root = pathlib.Path(os.environ.get("KEELKV_CACHE", pathlib.Path.home() / ".cache" / "keelkv")) / "etcd"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="build-") as name:
        scratch = pathlib.Path(name)
        (scratch / "go.mod").write_text("module tools\n\ngo 1.26\n")
        version = newest(series, scratch)
        if version is None:
            found = cached(series, modules, root)
            if found is None:
                sys.exit("etcd cannot be fetched and is not in the cache: check that go can reach its module proxy")
            print(found)
            return
        compiler = go("env", "GOVERSION", cwd=scratch).strip()
        done = root / f"{version}-{compiler}"
        if missing(modules, done):
            print(f"building etcd {version} with {compiler}", file=sys.stderr)
            done.mkdir(exist_ok=True)
            for module, binary in missing(modules, done).items():
                go("get", f"{module}@{version}", cwd=scratch)
                go("build", "-o", str(scratch / binary), module, cwd=scratch)
                # Whole at once, for others that look.
                (scratch / binary).rename(done / binary)
        print(done)


if __name__ == "__main__":
    main()
