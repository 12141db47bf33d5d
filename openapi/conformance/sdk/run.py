"""Runs conformance cases against the server behind TINKER_BASE_URL: `python run.py [--methods] [ID...]`, all by default.

One line of JSON per case on stdout as soon as it is over: {id, ok, seconds, methods, error?}. What the SDK logs goes to
stderr. With --methods the first line is {methods}: all public methods of this SDK; a case's are those that it called.
It knows nothing of versions: the caller names the cases that this SDK can run.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
import traceback

# A folder with what this SDK's own environment has not (PyTorch), after all that it has.
sys.path.append(os.environ.get("CONFORMANCE_PACKAGES", ""))

import basics  # noqa: E402
import methods  # noqa: E402
import cases  # noqa: E402, F401  (registers every case)

writing = threading.Lock()


def run(identity: str) -> None:
    started = time.monotonic()
    called = methods.begin_case()
    result: dict = {"id": identity, "ok": True}
    try:
        basics.CASES[identity]()
    except BaseException as error:
        result = {"id": identity, "ok": False, "error": f"{type(error).__name__}: {error}\n{traceback.format_exc()}"}
    say(result | {"seconds": round(time.monotonic() - started, 2), "methods": sorted(called)})


def say(line: dict) -> None:
    with writing:
        print(json.dumps(line), flush=True)


def main(wanted: list[str]) -> None:
    if basics.version() < (0, 7):
        # A client of this SDK waits for the SDK's own thread when it is collected: collected on that thread, for ever.
        gc.disable()
    if "--methods" in wanted:
        say({"methods": methods.watch()})
    identities = [word for word in wanted if word != "--methods"] or list(basics.CASES)
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
