"""Which public methods of the SDK's clients a case calls: an observer put round each of them, used by `run.py --methods`.

It knows the classes by name, and nothing of versions: what a version has is found by looking. A method counts for the case
in whose thread it was called; what the SDK calls on its own threads is not seen.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable

import tinker

CLIENTS = ("ServiceClient", "TrainingClient", "SamplingClient", "RestClient", "AdminClient")
#: Public by their names, but parts of the SDK and not calls of a user.
INTERNAL = {"create", "execute", "on_queue_state_change", "save_weights_and_get_sampling_client_submit", "get_telemetry"}

_case = threading.local()


def public_methods() -> dict[str, object]:
    """`TrainingClient.optim_step` and so on, to what the class holds under that name."""
    found = {}
    for name in CLIENTS:
        for method, value in vars(_client(name)).items() if _client(name) else ():
            is_call = inspect.isroutine(value) or isinstance(value, (classmethod, staticmethod))
            if is_call and not method.startswith("_") and method not in INTERNAL:
                found[f"{name}.{method}"] = value
    return found


def _client(name: str) -> type | None:
    from tinker.lib.public_interfaces import rest_client

    return getattr(tinker, name, None) or getattr(rest_client, name, None)


def watch() -> list[str]:
    """Puts the observers there; the names of all methods."""
    found = public_methods()
    for name, value in found.items():
        owner, _, method = name.partition(".")
        kind = type(value) if isinstance(value, (classmethod, staticmethod)) else None
        seen = _observed(name, value.__func__ if kind else value)
        setattr(_client(owner), method, kind(seen) if kind else seen)
    return sorted(found)


def _observed(name: str, function: Callable) -> Callable:
    @functools.wraps(function)
    def call(*args, **kwargs):
        calls = getattr(_case, "calls", None)
        if calls is not None:
            calls.add(name)
        return function(*args, **kwargs)

    return call


def begin_case() -> set[str]:
    """From now on the calls of this thread are gathered here."""
    _case.calls = set()
    return _case.calls
