#!/usr/bin/env python3
"""How large the libraries for other languages are, as the profile `library` made them: a line for each."""

import os
import pathlib
import subprocess
import tempfile
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def stripped(library: pathlib.Path, scratch: str) -> pathlib.Path:
    out = pathlib.Path(scratch) / library.name
    subprocess.run(["strip", "--strip-unneeded", library, "-o", out], check=True)
    return out


def report(what: str, path: pathlib.Path) -> None:
    data = path.read_bytes()
    packed = "" if path.suffix == ".whl" else f", packed {len(zlib.compress(data, 6)) / 1e6:.1f} MB"
    print(f"size of {what}: {len(data) / 1e6:.1f} MB{packed}")


def main() -> None:
    built = TARGET / "library"
    with tempfile.TemporaryDirectory() as scratch:
        report("libkeelkv.so, stripped", stripped(built / "libkeelkv.so", scratch))
        report("libkeelkv.a, with symbols", built / "libkeelkv.a")
    report("keelkv.node, stripped", TARGET / "node" / "keelkv.node")
    for wheel in (TARGET / "wheels").glob("*.whl"):
        report(f"the wheel {wheel.name}", wheel)


if __name__ == "__main__":
    main()
