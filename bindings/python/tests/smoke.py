"""The installed package, with members in memory and on disk."""

import os
import pathlib
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections.abc import Callable

import keelkv
from keelkv import Code, EventKind

LONG = 30


def until(holds: Callable[[], bool]) -> bool:
    """Waits for a condition that nobody tells of."""
    deadline = time.monotonic() + LONG
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def threads_of_members() -> int:
    names = [pathlib.Path(f"/proc/self/task/{task}/comm") for task in os.listdir("/proc/self/task")]
    count = 0
    for name in names:
        try:
            count += name.read_text().startswith("keelkv")
        except OSError:
            continue
    return count


def handled_signals() -> list[str]:
    """Which signals this process ignores, and for which it has handlers."""
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    return [line for line in status if line.startswith(("SigIgn:", "SigCgt:"))]


class Smoke(unittest.TestCase):
    def refused(self, code: Code, call: Callable[..., object], *arguments: object, **more: object) -> str:
        with self.assertRaises(keelkv.Error) as caught:
            call(*arguments, **more)
        self.assertEqual(caught.exception.code, code)
        return str(caught.exception)

    def test_put_and_get(self) -> None:
        with keelkv.Node.start() as node:
            self.assertIsNone(node.get("k"))
            self.assertEqual(node.put("k", "v"), 2)
            self.assertEqual(node.put(b"\0\xff", b""), 3)
            self.assertEqual(node.get("k"), keelkv.KeyValue(b"k", b"v", 2, 2, 1, 0))
            self.assertEqual(node.get(b"\0\xff").value, b"")
            node.put(bytearray(b"ab"), memoryview(b"abcd")[::2])
            self.assertEqual(node.get(memoryview(b"ab")).value, b"ac")

    def test_data_survives_a_restart(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "data"
            with keelkv.Node.start(data_dir=path, name="one") as node:
                node.put("k", "v")
                told = self.refused(Code.NOT_STARTED, keelkv.Node.start, data_dir=path)
                self.assertIn("in use by another member, in this process or another one", told)
            with keelkv.Node.start(data_dir=path, name="one") as node:
                self.assertEqual(node.get("k").value, b"v")

    def test_signals_are_left_alone(self) -> None:
        before = handled_signals()
        with tempfile.TemporaryDirectory() as directory, keelkv.Node.start(data_dir=directory) as node:
            node.put("k", "v")
            self.assertEqual(handled_signals(), before)

    def test_watch(self) -> None:
        with keelkv.Node.start() as node:
            first = node.put("a1", "1")
            with node.watch("a", range_end="b", start_revision=first) as watch:
                self.assertEqual([event.kv.key for event in watch.next(LONG).events], [b"a1"])
                self.assertIsNone(watch.next(0))
                node.put("c", "no")
                second = node.put("a2", "2")
                batch = next(watch)
                self.assertEqual((batch.revision, len(batch.events)), (second, 1))
                self.assertEqual(batch.events[0].kind, EventKind.PUT)
                self.assertEqual(batch.events[0].kv.mod_revision, second)
            self.assertEqual(list(watch), [], "it was cancelled")

    def test_other_threads_run_while_one_waits(self) -> None:
        with keelkv.Node.start() as node, node.watch("k") as watch:
            heard = []
            waits = threading.Thread(target=lambda: heard.append(next(watch)))
            waits.start()
            node.put("k", "v")
            waits.join(LONG)
            self.assertEqual(heard[0].events[0].kv.value, b"v")

    def test_a_stop_ends_waits(self) -> None:
        node = keelkv.Node.start()
        watch = node.watch("k")
        told = []
        waits = threading.Thread(target=lambda: told.append(self.refused(Code.STOPPED, next, watch)))
        waits.start()
        node.stop()
        node.stop()
        waits.join(LONG)
        self.assertEqual(told, ["etcdserver: server stopped"])
        self.refused(Code.STOPPED, node.put, "k", "v")
        self.refused(Code.STOPPED, node.get, "k")
        self.refused(Code.STOPPED, node.watch, "k")
        self.assertTrue(until(lambda: threads_of_members() == 0), "threads are left")

    def test_ctrl_c_ends_a_wait(self) -> None:
        with keelkv.Node.start() as node:
            watch = node.watch("k")
            main = threading.get_ident()

            def interrupt() -> None:
                # In `next`, and from there it goes nowhere but into the wait.
                until(lambda: sys._current_frames()[main].f_code.co_name == "next")
                signal.raise_signal(signal.SIGINT)

            threading.Thread(target=interrupt).start()
            with self.assertRaises(KeyboardInterrupt):
                next(watch)
            node.put("k", "v")
            self.assertEqual(watch.next(LONG).events[0].kv.value, b"v", "nothing was lost")

    def test_misuse(self) -> None:
        self.assertIn("give the member a name", self.refused(Code.BAD_REQUEST, keelkv.Node.start, name=""))
        told = self.refused(Code.BAD_REQUEST, keelkv._native.Node.start, {"colour": "red"})
        self.assertIn("there is no option", told)
        with keelkv.Node.start() as node:
            told = self.refused(Code.EMPTY_KEY, node.put, "", "v")
            self.assertEqual(told, "etcdserver: key is not provided")
            self.refused(Code.COMPACTED, node.watch, "k", start_revision=-1)
            with self.assertRaises(TypeError):
                node.put(1, "v")
            with self.assertRaises(ValueError):
                node.watch("k").next(-1)

    def test_errors_can_be_sent_elsewhere(self) -> None:
        error = pickle.loads(pickle.dumps(keelkv.Error(Code.NO_SPACE, "full")))
        self.assertEqual((error.code, int(error.code), str(error)), (Code.NO_SPACE, 11, "full"))

    def test_errors_say_whether_it_may_have_been_done(self) -> None:
        self.assertFalse(keelkv.Error(Code.NO_SPACE, "full").may_have_been_done)
        self.assertTrue(keelkv.Error(Code.TIMEOUT, "late").may_have_been_done)

    def test_a_member_that_ended_by_itself_says_why(self) -> None:
        # A process of its own, because nothing there can grow files any more.
        script = """if True:
            import keelkv, resource, sys
            node = keelkv.Node.start(data_dir=sys.argv[1])
            watch = node.watch("k")
            # From here on no write gets beyond the first bytes of the log.
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
            try:
                sys.exit(node.put("k", "v"))
            except keelkv.Error:
                pass
            # The first of these waits for the end.
            for call in (watch.next, lambda: node.put("k", "v"), lambda: node.get("k"), lambda: node.watch("k")):
                try:
                    call()
                    told = None
                except keelkv.Error as error:
                    told = str(error) if error.code == keelkv.Code.STOPPED else repr(error)
                print(told)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            node.stop()
        """
        with tempfile.TemporaryDirectory() as directory:
            command = [sys.executable, "-c", script, directory]
            ended = subprocess.run(command, capture_output=True, text=True, timeout=LONG)
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))
            for told in ended.stdout.splitlines():
                self.assertIn("ended by itself: ", told)
                self.assertIn("File too large", told)
                self.assertIn("; stop or free this member", told)
            self.assertEqual(len(ended.stdout.splitlines()), 4)
            with keelkv.Node.start(data_dir=directory) as node:
                self.assertIsNone(node.get("k"))

    def test_other_threads_run_while_a_forgotten_member_stops(self) -> None:
        turns = [0]
        done = threading.Event()

        def turn() -> None:
            while not done.is_set():
                turns[0] += 1
                time.sleep(0)

        other = threading.Thread(target=turn)
        interval = sys.getswitchinterval()
        with tempfile.TemporaryDirectory() as directory:
            node = keelkv.Node.start(data_dir=directory)
            node.put("k", "v")
            other.start()
            self.assertTrue(until(lambda: turns[0] > 0))
            try:
                # This thread is not interrupted: others run only if it lets them.
                sys.setswitchinterval(3600)
                before = turns[0]
                del node
                after = turns[0]
            finally:
                sys.setswitchinterval(interval)
                done.set()
                other.join(LONG)
            self.assertGreater(after, before)

    def test_a_fork_is_refused(self) -> None:
        with keelkv.Node.start() as node:
            child = os.fork()
            if child == 0:
                try:
                    node.put("k", "v")
                except keelkv.Error as error:
                    os._exit(0 if "after the fork" in str(error) else 1)
                os._exit(2)
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            node.put("k", "v")

    def test_a_fork_lets_go_of_watches_while_others_write(self) -> None:
        with keelkv.Node.start() as node:
            watches = [node.watch("k") for _ in range(20)]
            done = threading.Event()

            def write() -> None:
                while not done.is_set():
                    node.put("k", "v")

            writer = threading.Thread(target=write)
            writer.start()
            for _ in range(30):
                child = os.fork()
                if child == 0:
                    signal.alarm(LONG)
                    watches[0].cancel()
                    del watches
                    os._exit(0)
                self.assertEqual(os.waitpid(child, 0)[1], 0, "a child waits for ever")
            done.set()
            writer.join(LONG)
            self.assertIsNotNone(watches[0].next(LONG), "what a child does is nothing to its parent")

    def test_a_program_may_end_with_a_member_running(self) -> None:
        script = "import keelkv, sys; node = keelkv.Node.start(data_dir=sys.argv[1]); watch = node.watch('k'); "
        with tempfile.TemporaryDirectory() as directory:
            for ending in ("node.put('k', 'v')", "node.put('k', 'v'); del node, watch"):
                command = [sys.executable, "-c", script + ending, directory]
                ended = subprocess.run(command, capture_output=True, text=True, timeout=LONG)
                self.assertEqual((ended.returncode, ended.stderr), (0, ""))
            with keelkv.Node.start(data_dir=directory) as node:
                self.assertEqual(node.get("k").version, 2)


if __name__ == "__main__":
    ran = unittest.main(exit=False, verbosity=2).result
    bad = len(ran.failures) + len(ran.errors)
    sys.stderr.flush()
    print(f"python: {ran.testsRun - bad} passed, {bad} failed", flush=True)
    sys.exit(bool(bad))
