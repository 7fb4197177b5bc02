#!/usr/bin/env python3
"""Build the newest etcd 3.7 and etcdctl into a cache keyed by version and compiler.

The differential tests and the benches run the real thing beside ours. Its sources come as Go modules.
Prints the directory that holds `etcd` and `etcdctl`. When the module proxy cannot be asked, the newest
version in the cache does.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SERIES = "v3.7."
# Module, and the name of its program.
MODULES = {
    "go.etcd.io/etcd/server/v3": "etcd",
    "go.etcd.io/etcd/etcdctl/v3": "etcdctl",
}


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


def newest(scratch: pathlib.Path) -> str | None:
    """The newest release of the series, or nothing if nobody can be asked."""
    try:
        listed = go("list", "-m", "-versions", next(iter(MODULES)), cwd=scratch).split()
    except subprocess.CalledProcessError:
        return None
    releases = [v for v in listed if re.fullmatch(re.escape(SERIES) + r"\d+", v)]
    return max(releases, key=lambda v: int(v.removeprefix(SERIES)), default=None)


def cached(root: pathlib.Path) -> pathlib.Path | None:
    """The newest build that is there."""
    builds = [d for d in root.glob(SERIES + "*") if (d / "etcdctl").exists()]
    return max(builds, key=lambda d: int(re.match(r"\d+", d.name.removeprefix(SERIES)).group()), default=None)


def main() -> None:
    root = pathlib.Path(os.environ.get("KEELKV_CACHE", pathlib.Path.home() / ".cache" / "keelkv")) / "etcd"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="build-") as name:
        scratch = pathlib.Path(name)
        (scratch / "go.mod").write_text("module tools\n\ngo 1.26\n")
        version = newest(scratch)
        if version is None:
            found = cached(root)
            if found is None:
                sys.exit("etcd cannot be fetched and is not in the cache: check that go can reach its module proxy")
            print(found)
            return
        compiler = go("env", "GOVERSION", cwd=scratch).strip()
        done = root / f"{version}-{compiler}"
        if not (done / "etcdctl").exists():
            print(f"building etcd {version} with {compiler}", file=sys.stderr)
            staged = scratch / "out"
            staged.mkdir()
            for module, binary in MODULES.items():
                go("get", f"{module}@{version}", cwd=scratch)
                go("build", "-o", str(staged / binary), module, cwd=scratch)
            shutil.rmtree(done, ignore_errors=True)
            staged.rename(done)
        print(done)


if __name__ == "__main__":
    main()
