"""What `ci/test` counts: a step that did nothing, or was stopped, has not passed."""

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent


def load():
    loader = importlib.machinery.SourceFileLoader("runner", str(HERE / "test"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("runner", loader))
    # Its data classes look their module up by name.
    sys.modules["runner"] = module
    loader.exec_module(module)
    return module


runner = load()


def counted(command: str, seconds: float = 60) -> tuple[int, int]:
    # What it prints would be counted by whoever runs this.
    with contextlib.redirect_stdout(io.StringIO()):
        tally = runner.run(runner.Step("step", command), dict(os.environ), seconds)
    return tally.passed, tally.failed


def until(holds) -> bool:
    end = time.monotonic() + 20
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


class Counting(unittest.TestCase):
    def test_a_step_without_counts_is_one_check(self):
        self.assertEqual(counted("true"), (1, 0))
        self.assertEqual(counted("false"), (0, 1))

    def test_what_runners_print_is_counted(self):
        self.assertEqual(counted("echo 'test result: ok. 3 passed; 1 failed; 0 ignored;'"), (3, 1))
        self.assertEqual(counted("echo '2 passed, 0 failed'; exit 1"), (2, 1))
        self.assertEqual(counted("printf -- '--- PASS: A\\n    --- PASS: A/b\\n--- FAIL: C\\n'"), (1, 1))

    def test_tests_that_skip_themselves_have_not_passed(self):
        self.assertEqual(counted("printf -- '--- SKIP: A\\n--- SKIP: B\\n'"), (0, 2))

    def test_failures_are_told_again(self):
        def told(command: str) -> list[str]:
            with contextlib.redirect_stdout(io.StringIO()):
                tally = runner.run(runner.Step("step", command), dict(os.environ), 60)
            return [line.rstrip() for line in tally.told]

        go = ["=== RUN   A", "noise", "--- PASS: A", "=== RUN   B", "    b_test.go:1: why", "--- FAIL: B"]
        self.assertEqual(told(f"printf -- '%s\\n' {' '.join(map(repr, go))}"), go[3:])
        cargo = ["---- b stdout ----", "why", "test result: FAILED. 1 passed; 1 failed; 0 ignored;"]
        self.assertEqual(told(f"printf -- '%s\\n' noise {' '.join(map(repr, cargo))}"), cargo)
        self.assertEqual(told("echo why; false"), ["why"])
        self.assertEqual(told("echo all is well"), [])

    def test_a_step_that_is_stopped_has_not_passed(self):
        # The shell is through with success, and what it left behind holds the output open.
        self.assertEqual(counted("sleep 1000 & exit 0", seconds=0.5), (0, 1))

    def test_no_bug_is_planted_where_there_is_no_server(self):
        step = next(step for ring in runner.RINGS for step in ring.steps if step.name == "no bug is planted")
        with tempfile.TemporaryDirectory() as folder:
            server = pathlib.Path(folder) / "server"
            environment = {**os.environ, "KEELKV_BIN": str(server)}

            def failed() -> int:
                return runner.run(step, environment, 60).failed

            self.assertEqual(failed(), 1)
            server.write_bytes(b"\0keelkv-planted-bugs\0")
            self.assertEqual(failed(), 1)
            server.write_bytes(b"\0another\0")
            self.assertEqual(failed(), 0)

    def test_each_ring_that_starts_the_server_builds_it(self):
        for ring in runner.RINGS:
            uses = any("KEELKV_BIN" in step.command or "ci/nemesis" in step.command for step in ring.steps)
            self.assertTrue(ring.server or not uses, ring.name)

    def test_nothing_outlives_an_interrupted_run(self):
        with tempfile.TemporaryDirectory() as folder:
            mark = pathlib.Path(folder) / "pid"
            program = (
                f"import sys; sys.path.insert(0, {str(HERE)!r}); import test_test as t\n"
                f"t.counted('sleep 1000 & echo $! >{mark}; wait')"
            )
            process = subprocess.Popen(
                [sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self.assertTrue(until(lambda: mark.exists() and mark.read_text().strip()))
            process.send_signal(signal.SIGINT)
            process.wait(20)
            left = pathlib.Path("/proc") / mark.read_text().strip() / "cmdline"
            self.assertTrue(until(lambda: not left.exists() or not left.read_bytes()))


if __name__ == "__main__":
    done = unittest.TextTestRunner(stream=sys.stdout).run(unittest.defaultTestLoader.loadTestsFromTestCase(Counting))
    bad = len(done.failures) + len(done.errors)
    print(f"{done.testsRun - bad} passed, {bad} failed", flush=True)
    sys.exit(1 if bad or not done.testsRun else 0)
