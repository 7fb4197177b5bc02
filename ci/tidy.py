#!/usr/bin/env python3
"""Rules of the project that no other tool checks: file length, places and words that must not be named,
scripts that start, dependencies and their licences. Prints one line for each offence."""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
LONG = 500
# Paths of one machine, and names that belong in no file; written so that this file does not name them.
FORBIDDEN = [
    (re.compile(r"(?<![\w./-])/" + "(?:work|farm)/"), "a path of somebody's machine"),
    (re.compile("DESI" + r"GN\.md|etcd-" + r"surface\.md"), "a document that is not here"),
    (re.compile("crates" + r"\.io/api|static\." + "crates" + r"\.io|index\." + "crates"), "a registry's host"),
    (re.compile("proxy" + r"\.golang|sum\." + "golang"), "a registry's host"),
    (re.compile("files" + r"\.pythonhosted|pypi\." + "org"), "a registry's host"),
    (re.compile("registry" + r"\.npmjs|repo1\." + r"maven|deb\." + r"debian\.org"), "a registry's host"),
]
# Only Rust files: words that are left behind when something is not done.
LEFTOVER = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|\bunimplemented!|\btodo!")
# Files that tools write.
WRITTEN_BY_TOOLS = re.compile(r"(^|/)(Cargo\.lock|go\.sum|package-lock\.json|LICENSE)$")
BINARY = {".png", ".gz", ".db", ".bin"}
NAMED_BY_WHAT_IS_GENERATED = {"tonic-prost"}


def tracked() -> list[pathlib.Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [pathlib.Path(p) for p in listed.stdout.split("\0") if p and (ROOT / p).is_file()]


def in_tests(path: pathlib.Path) -> bool:
    return path.name == "tests.rs" or "tests" in path.parts or path.name.endswith("_test.go")


def check_file(path: pathlib.Path, offences: list[str], warnings: list[str]) -> None:
    data = (ROOT / path).read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        offences.append(f"{path}: not UTF-8, and not a kind of file that may be binary")
        return
    if WRITTEN_BY_TOOLS.search(str(path)):
        return
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        for pattern, what in FORBIDDEN:
            if pattern.search(line):
                offences.append(f"{path}:{number}: names {what}")
        if path.suffix == ".rs" and LEFTOVER.search(line):
            offences.append(f"{path}:{number}: left undone")
        if path.suffix in {".rs", ".py", ".go", ".proto", ".toml", ".sh"} and line != line.rstrip():
            offences.append(f"{path}:{number}: ends in blanks")
    if text and not text.endswith("\n"):
        offences.append(f"{path}: does not end with a line end")
    if path.suffix in {".rs", ".py", ".go", ".ts", ".c", ".cpp"} and len(lines) > LONG and not in_tests(path):
        warnings.append(f"{path}: {len(lines)} lines, more than {LONG}: is it one thing?")
    if text.startswith("#!") and not (ROOT / path).stat().st_mode & 0o100:
        offences.append(f"{path}: a script that is not executable")


def check_rocksdb_is_named_in_one_place(paths: list[pathlib.Path], offences: list[str]) -> None:
    home = pathlib.Path("core/src/storage/rocks")
    for path in paths:
        if path.suffix != ".rs" or home in path.parents or path == home.with_suffix(".rs"):
            continue
        if re.search(r"\brocksdb::", (ROOT / path).read_text()):
            offences.append(f"{path}: uses rocksdb; only {home} may")


def check_rooms(paths: list[pathlib.Path], offences: list[str]) -> None:
    """A room of the core depends only on those before it in lib.rs. Tests may look anywhere."""
    core = pathlib.Path("core/src")
    rooms = re.findall(r"^pub mod (\w+);", (ROOT / core / "lib.rs").read_text(), re.MULTILINE)
    for path in paths:
        if path.suffix != ".rs" or core not in path.parents or "test" in str(path.relative_to(core)):
            continue
        room = path.relative_to(core).parts[0].removesuffix(".rs")
        text = re.sub(r"//.*", "", (ROOT / path).read_text().split("#[cfg(test)]\nmod tests {")[0])
        for used in sorted(set(re.findall(r"\bcrate::(\w+)", text))):
            if room in rooms and used in rooms and rooms.index(used) > rooms.index(room):
                offences.append(f"{path}: uses {used}, a room that comes after {room} in lib.rs")


def check_dependencies(offences: list[str]) -> None:
    """The part of deny.toml that needs no network: licences, sources, crates that are not wanted."""
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    allowed = set(rules["licenses"]["allow"])
    excepted = {entry["crate"]: set(entry["allow"]) for entry in rules["licenses"]["exceptions"]}
    banned = {entry["crate"] for entry in rules["bans"]["deny"]}
    listed = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    for package in json.loads(listed.stdout)["packages"]:
        name = f"{package['name']} {package['version']}"
        if package["source"] and not package["source"].startswith("registry+"):
            offences.append(f"{name}: comes from {package['source']}, not from the registry")
        if package["name"] in banned:
            offences.append(f"{name}: is not wanted, see deny.toml")
        if not licensed(package["license"] or "", allowed | excepted.get(package["name"], set())):
            offences.append(f"{name}: licence {package['license']!r} is not among those of deny.toml")
        if not package["source"]:
            check_uses(package, offences)


def check_uses(package: dict, offences: list[str]) -> None:
    """A dependency of ours that none of our files names is one that was forgotten."""
    home = pathlib.Path(package["manifest_path"]).parent
    inner = [path.parent for path in home.glob("*/Cargo.toml")]
    files = [path for path in home.rglob("*.rs") if not any(other in path.parents for other in inner)]
    words = set(re.findall(r"\w+", " ".join(path.read_text() for path in files)))
    for dependency in package["dependencies"]:
        called = dependency["rename"] or dependency["name"]
        if called.replace("-", "_") not in words and called not in NAMED_BY_WHAT_IS_GENERATED:
            offences.append(f"{package['name']}: depends on {called}, which none of its files names")


def licensed(expression: str, allowed: set[str]) -> bool:
    """Is there a way to use this under the allowed licences? `A/B` is an old form of `A OR B`."""
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR ").replace(" WITH ", "+WITH+"))

    def either() -> bool:
        found = both()
        while words and words[0] == "OR":
            words.pop(0)
            found = both() or found
        return found

    def both() -> bool:
        found = one()
        while words and words[0] == "AND":
            words.pop(0)
            found = one() and found
        return found

    def one() -> bool:
        word = words.pop(0)
        if word != "(":
            return word.replace("+WITH+", " WITH ") in allowed
        found = either()
        words.pop(0)
        return found

    return bool(words) and either()


def main() -> int:
    offences: list[str] = []
    warnings: list[str] = []
    paths = tracked()
    for path in paths:
        if path.suffix not in BINARY:
            check_file(path, offences, warnings)
    check_rocksdb_is_named_in_one_place(paths, offences)
    check_rooms(paths, offences)
    check_dependencies(offences)
    for line in warnings:
        print(f"warning: {line}")
    for line in offences:
        print(f"error: {line}")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
