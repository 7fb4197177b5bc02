#!/usr/bin/env python3
"""Build librocksdb.a once, as a unity build, into a cache outside the checkout.

The crate compiles RocksDB's 340 files one by one, again for every profile and set of flags: half an
hour on two cores. Those files spend their time in the same headers, so here they are compiled as a
dozen translation units of equal weight, in about five minutes, and every profile links the result.

Prints the directory that holds the archive (for ROCKSDB_LIB_DIR). A second call finds it and returns.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

LINES_PER_UNIT = 17_500
# Compiled alone: their internal names are too common to share a translation unit.
ALONE = {"util/xxhash.cc"}
# The crate root carries its own copy with the version filled in.
REPLACED = {"util/build_version.cc": "build_version.cc"}
DEFINES = [
    "NDEBUG=1",
    "LZ4=1",
    "HAVE_ALIGNED_NEW",
    "HAVE_UINT128_EXTENSION",
    "OS_LINUX",
    "ROCKSDB_PLATFORM_POSIX",
    "ROCKSDB_LIB_IO_POSIX",
    "ROCKSDB_SCHED_GETCPU_PRESENT",
    "ROCKSDB_AUXV_GETAUXVAL_PRESENT",
    "ROCKSDB_FALLOCATE_PRESENT",
    "ROCKSDB_RANGESYNC_PRESENT",
]
FLAGS = ["-std=c++20", "-O2", "-w", "-fPIC", "-ffunction-sections", "-fdata-sections", "-include", "cstdint"]
if os.uname().machine == "x86_64":
    FLAGS += ["-msse4.2", "-mpclmul"]


def crate_dirs(workspace: pathlib.Path) -> dict[str, pathlib.Path]:
    """Where cargo unpacked the sources, by package name."""
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--features", "keelkv-core/rocks"],
        cwd=workspace,
        check=True,
        stdout=subprocess.PIPE,
    )
    return {
        package["name"]: pathlib.Path(package["manifest_path"]).parent
        for package in json.loads(metadata.stdout)["packages"]
        if package["name"] in ("librocksdb-sys", "lz4-sys")
    }


def compiler() -> str:
    for name in (os.environ.get("ROCKSDB_CXX"), "clang++", "g++"):
        if name and shutil.which(name):
            return name
    sys.exit("no C++ compiler found: install clang (apt-get install clang) or g++")


def units(sources: list[str], root: pathlib.Path) -> list[list[pathlib.Path]]:
    """Group the sources, in their order, into translation units of about equal length."""
    groups: list[list[pathlib.Path]] = []
    current: list[pathlib.Path] = []
    weight = 0
    for name in sources:
        path = root / REPLACED[name] if name in REPLACED else root / "rocksdb" / name
        if name in ALONE or name in REPLACED:
            groups.append([path])
            continue
        current.append(path)
        weight += path.read_bytes().count(b"\n")
        if weight >= LINES_PER_UNIT:
            groups.append(current)
            current, weight = [], 0
    if current:
        groups.append(current)
    return groups


def main() -> None:
    workspace = pathlib.Path(__file__).resolve().parents[2]
    dirs = crate_dirs(workspace)
    root = dirs["librocksdb-sys"]
    cxx = compiler()
    version = subprocess.run([cxx, "--version"], check=True, capture_output=True, text=True).stdout
    key = hashlib.sha256("\0".join([root.name, version, *DEFINES, *FLAGS]).encode()).hexdigest()[:12]
    cache = pathlib.Path(os.environ.get("KEELKV_CACHE", pathlib.Path.home() / ".cache" / "keelkv"))
    done = cache / "rocksdb" / f"{root.name}-{key}"
    if (done / "librocksdb.a").exists():
        print(done)
        return

    done.parent.mkdir(parents=True, exist_ok=True)
    includes = [root / "rocksdb" / "include", root / "rocksdb", root, dirs["lz4-sys"] / "liblz4" / "lib"]
    command = [cxx, *FLAGS, *(f"-D{d}" for d in DEFINES), *(f"-I{i}" for i in includes), "-c"]
    sources = (root / "rocksdb_lib_sources.txt").read_text().split()
    with tempfile.TemporaryDirectory(dir=done.parent, prefix="build-") as scratch_name:
        scratch = pathlib.Path(scratch_name)
        groups = units(sources, root)
        print(f"building RocksDB with {cxx}: {len(sources)} files in {len(groups)} units", file=sys.stderr)

        def compile_unit(index: int) -> pathlib.Path:
            source = scratch / f"unit{index:02}.cc"
            source.write_text("".join(f'#include "{path}"\n' for path in groups[index]))
            target = source.with_suffix(".o")
            subprocess.run([*command, source, "-o", target], check=True)
            print(f"  unit {index + 1}/{len(groups)}", file=sys.stderr)
            return target

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
            objects = list(pool.map(compile_unit, range(len(groups))))
        staged = scratch / "out"
        staged.mkdir()
        subprocess.run(["ar", "crs", staged / "librocksdb.a", *objects], check=True)
        try:
            staged.rename(done)
        except OSError:
            # Another build finished first; its archive is as good as ours.
            if not (done / "librocksdb.a").exists():
                raise
    print(done)


if __name__ == "__main__":
    main()
