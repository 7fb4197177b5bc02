#!/usr/bin/env python3
"""Tests of lostsync.so and undo: small programs that kill themselves, and what is left of their files."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SHIM = None

PRELUDE = """
import errno, mmap, os, signal, sys, threading, time
os.chdir(os.environ["LOSTSYNC_DIR"])
def sync_dir(path="."):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
def put(name, data, sync=True, flags=os.O_CREAT | os.O_RDWR, at=0):
    fd = os.open(name, flags, 0o600)
    os.pwrite(fd, data, at)
    if sync:
        os.fdatasync(fd)
    os.close(fd)
def code(call, *args):
    try:
        call(*args)
    except OSError as error:
        return error.errno
    return 0
def say(value):
    os.write(1, (str(value) + "\\n").encode())
"""
EPILOGUE = "\nos.kill(os.getpid(), signal.SIGKILL)\n"


class Lost(unittest.TestCase):
    def setUp(self):
        self.base = tempfile.TemporaryDirectory(dir=os.environ.get("LOSTSYNC_TEST_DIR"))
        self.dir = os.path.join(os.path.realpath(self.base.name), "data")
        self.journal = os.path.join(os.path.realpath(self.base.name), "journal")
        os.mkdir(self.dir)

    def tearDown(self):
        self.base.cleanup()

    def run_program(self, program, seed=None, **env):
        """Runs a program until it kills itself, and takes back what it lost. Returns what it said."""
        env = {**os.environ, "LD_PRELOAD": SHIM, "LOSTSYNC_DIR": self.dir, "LOSTSYNC_JOURNAL": self.journal, **env}
        text = PRELUDE + textwrap.dedent(program) + EPILOGUE
        done = subprocess.run([sys.executable, "-c", text], env=env, stdout=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, -signal.SIGKILL)
        undo = [os.path.join(HERE, "undo"), self.journal, self.dir, "--quiet"]
        subprocess.run(undo + (["--seed", str(seed)] if seed is not None else []), check=True, timeout=60)
        self.assertFalse(os.path.exists(self.journal) or os.path.exists(self.journal + ".kept"))
        return done.stdout.decode().split()

    def put(self, name, data):
        with open(os.path.join(self.dir, name), "wb") as file:
            file.write(data)

    def files(self):
        found = {}
        for base, _, names in os.walk(self.dir):
            for name in names:
                path = os.path.join(base, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, self.dir)] = file.read()
        return found

    def test_writes_after_the_last_sync_are_lost(self):
        self.put("a", b"0123456789")
        self.run_program("""
            put("a", b"AB")
            put("a", b"CD", sync=False, at=1)
            put("a", b"EF", sync=False, at=2)
        """)
        self.assertEqual(self.files(), {"a": b"AB23456789"})

    def test_growth_is_lost(self):
        self.put("a", b"12")
        self.run_program("""
            fd = os.open("a", os.O_WRONLY | os.O_APPEND)
            os.write(fd, b"34")
            os.fsync(fd)
            os.writev(fd, [b"5", b"6"])
        """)
        self.assertEqual(self.files(), {"a": b"1234"})

    def test_truncation_is_lost(self):
        self.put("a", b"abcdef")
        self.put("b", b"ghijkl")
        self.run_program("""
            fd = os.open("a", os.O_RDWR)
            os.ftruncate(fd, 2)
            os.pwrite(fd, b"zz", 4)
            os.posix_fallocate(fd, 0, 100)
            put("b", b"x", sync=False, flags=os.O_WRONLY | os.O_TRUNC)
        """)
        self.assertEqual(self.files(), {"a": b"abcdef", "b": b"ghijkl"})

    def test_names_need_a_sync_of_their_directory(self):
        self.put("gone", b"1")
        self.put("old", b"2")
        self.put("over", b"3")
        program = """
            put("new", b"n")
            os.mkdir("folder")
            put("folder/inside", b"i")
            os.unlink("gone")
            os.rename("old", "over")
            os.link("new", "linked")
        """
        self.run_program(program)
        self.assertEqual(self.files(), {"gone": b"1", "old": b"2", "over": b"3"})
        self.run_program(
            program
            + """
            sync_dir("folder")
            sync_dir()
            os.unlink("over")
        """
        )
        self.assertEqual(self.files(), {"new": b"n", "folder/inside": b"i", "over": b"2", "linked": b"n"})

    def test_a_name_without_contents(self):
        self.run_program("""
            put("a", b"never synced", sync=False)
            sync_dir()
        """)
        self.assertEqual(self.files(), {"a": b""})

    def test_a_chain_of_names(self):
        self.put("a", b"1")
        self.put("b", b"2")
        self.run_program("""
            put("tmp", b"3")
            os.rename("a", "c")
            os.rename("tmp", "a")
            os.unlink("b")
            os.rename("a", "b")
        """)
        self.assertEqual(self.files(), {"a": b"1", "b": b"2"})

    def test_a_number_that_is_used_again(self):
        self.put("a", b"1" * 100)
        self.run_program("""
            put("a", b"2" * 50, sync=False)
            os.unlink("a")
            sync_dir()
            for at in range(50):
                put(f"f{at}", b"x")
            sync_dir()
        """)
        self.assertEqual(self.files(), {f"f{at}": b"x" for at in range(50)})

    def test_a_sync_covers_only_what_came_before_it(self):
        self.put("a", b"....")
        self.run_program(
            """
            fd = os.open("a", os.O_RDWR)
            os.pwrite(fd, b"1", 0)
            thread = threading.Thread(target=os.fsync, args=(fd,))
            thread.start()
            time.sleep(0.2)
            os.pwrite(fd, b"2", 1)
            thread.join()
        """,
            LOSTSYNC_DELAY_MS="600",
        )
        self.assertEqual(self.files(), {"a": b"1..."})

    def test_a_seed_loses_some_sectors(self):
        old, new = b"o" * 64 * 4096, b"n" * 64 * 4096
        found = set()
        for seed in range(30):
            self.put("a", old)
            self.run_program('put("a", b"n" * 64 * 4096, sync=False)', seed=seed)
            left = self.files()["a"]
            self.assertEqual(len(left), len(old))
            for at in range(0, len(left), 512):
                self.assertIn(left[at : at + 512], (old[:512], new[:512]))
            found.add(left)
        self.assertIn(old, found)
        self.assertIn(new, found)
        self.assertGreater(len(found), 5)

    def test_a_lie_loses_what_was_synced(self):
        self.put("a", b"1")
        said = self.run_program('say(code(put, "a", b"2"))', LOSTSYNC_LIE="1")
        self.assertEqual((said, self.files()), (["0"], {"a": b"1"}))

    def test_errors_on_demand(self):
        self.put("a", b"1")
        said = self.run_program(
            """
            for _ in range(3):
                say(code(put, "a", b"2"))
        """,
            LOSTSYNC_EIO_SYNC="2",
        )
        self.assertEqual(said, ["0", str(errno.EIO), "0"])
        said = self.run_program(
            """
            for _ in range(3):
                say(code(put, "a", b"2"))
        """,
            LOSTSYNC_EIO_WRITE="3",
        )
        self.assertEqual(said, ["0", "0", str(errno.EIO)])

    def test_a_full_disk(self):
        self.put("a", b"1234")
        full = os.path.join(self.base.name, "full")
        said = self.run_program(
            f"""
            open({full!r}, "w").close()
            say(code(put, "a", b"5"))
            say(code(put, "a", b"more", True, os.O_RDWR, 2))
            say(code(put, "new", b""))
            say(code(os.mkdir, "folder"))
            os.unlink({full!r})
            say(code(put, "new", b"fits"))
            sync_dir()
        """,
            LOSTSYNC_FULL=full,
        )
        no = str(errno.ENOSPC)
        self.assertEqual(said, ["0", no, no, no, "0"])
        self.assertEqual(self.files(), {"a": b"5234", "new": b"fits"})

    def test_a_slow_disk(self):
        self.put("a", b"1")
        begun = time.monotonic()
        self.run_program('put("a", b"2")', LOSTSYNC_DELAY_MS="700")
        self.assertGreater(time.monotonic() - begun, 0.7)

    def test_writable_maps_are_refused(self):
        self.put("a", b"1" * 4096)
        said = self.run_program("""
            fd = os.open("a", os.O_RDWR)
            say(code(mmap.mmap, fd, 4096))
            say(code(lambda: mmap.mmap(fd, 4096, prot=mmap.PROT_READ)))
        """)
        self.assertEqual(said, [str(errno.EACCES), "0"])

    def test_other_directories_are_left_alone(self):
        other = os.path.join(self.base.name, "other")
        self.run_program(f'put({other!r}, b"1", sync=False)')
        with open(other, "rb") as file:
            self.assertEqual(file.read(), b"1")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        SHIM = os.path.join(scratch, "lostsync.so")
        subprocess.run([os.path.join(HERE, "build"), SHIM], check=True, stdout=subprocess.DEVNULL)
        unittest.main()
