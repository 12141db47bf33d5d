"""Runs the SDK's command line in processes of its own without importing the SDK each time, which takes seconds.

One process imports it and forks a child for every command: `Commands().run(...)`. Run as a script it is that process.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass


@dataclass
class Ended:
    returncode: int
    stdout: str
    stderr: str


class Commands:
    """Commands one after the other, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parent: subprocess.Popen[str] | None = None

    def run(self, words: list[str], environment: dict[str, str], said: str) -> Ended:
        with self._lock:
            if self._parent is None:
                line = [sys.executable, "-W", "ignore", __file__]
                self._parent = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._parent.stdin.write(json.dumps([words, environment, said]) + "\n")
            self._parent.stdin.flush()
            return Ended(*json.loads(self._parent.stdout.readline()))


def child(words: list[str], environment: dict[str, str], files: list) -> None:
    """Never returns. The command finds the world as a process of its own would."""
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["tinker", *words]
    code = 1
    try:
        importlib.import_module("tinker.cli.__main__").main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    for module in ("tinker", "tinker.cli.__main__", "tinker.cli.client"):
        importlib.import_module(module)
    for line in sys.stdin:
        words, environment, said = json.loads(line)
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
            given.write(said.encode())
            given.seek(0)
            pid = os.fork()
            if pid == 0:
                child(words, environment, [given, out, error])
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            printed = []
            for file in (out, error):
                file.seek(0)
                printed.append(file.read().decode())
        print(json.dumps([code, *printed]), flush=True)


if __name__ == "__main__":
    serve()
