"""Runs conformance cases against the server behind TINKER_BASE_URL: `python run.py [ID...]`, all cases by default.

One line of JSON per case on stdout as soon as it is over: {id, ok, seconds, error?}. What the SDK logs goes to stderr.
It knows nothing of versions: the caller names the cases that this SDK can run.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback

import basics
import cases  # noqa: F401  (registers every case)

writing = threading.Lock()


def run(identity: str) -> None:
    started = time.monotonic()
    result: dict = {"id": identity, "ok": True}
    try:
        basics.CASES[identity]()
    except BaseException as error:
        result = {"id": identity, "ok": False, "error": f"{type(error).__name__}: {error}\n{traceback.format_exc()}"}
    result["seconds"] = round(time.monotonic() - started, 2)
    with writing:
        print(json.dumps(result), flush=True)


def main(wanted: list[str]) -> None:
    identities = wanted or list(basics.CASES)
    unknown = [identity for identity in identities if identity not in basics.CASES]
    if unknown:
        sys.exit(f"no such cases: {', '.join(unknown)}; there are {', '.join(basics.CASES)}")
    waiting = [threading.Thread(target=run, args=(identity,)) for identity in identities if identity in basics.WAITING]
    for thread in waiting:
        thread.start()
    for identity in identities:
        if identity not in basics.WAITING:
            run(identity)
    for thread in waiting:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1:])
    # The SDK's own threads (heartbeats, telemetry) outlive the cases; nothing of theirs is needed any more.
    sys.stdout.flush()
    os._exit(0)
