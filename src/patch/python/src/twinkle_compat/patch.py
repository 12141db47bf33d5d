"""What is wrapped in the Tinker SDK, and the way back. The SDK's own functions are always called: nothing is replaced, so
that arguments which a version adds go through. A place that this version of the SDK does not have is left out.

Where they are (read in 0.14.0 to 0.38.0):
  the rule that keys begin with `tml-`   AsyncTinker.__init__ to 0.16, ApiKeyAuthProvider.__init__ since 0.18
  the rule that paths are `tinker://`    InternalClientHolder._create_sampling_session, from_tinker_path
  headers and address                    ServiceClient.__init__ (`default_headers`; since 0.33 `default_headers_overrides`)
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import threading
from collections.abc import Callable
from typing import Any

from twinkle_compat.identity import identity_headers
from twinkle_compat.paths import acceptable, as_tinker, server_address

# Passes the SDK's check of a key's form while the real one waits; it is never sent.
_PLACEHOLDER = "tml-placeholder"
_OWN = object()

_lock = threading.Lock()
_undo: list[Callable[[], None]] = []


def install() -> None:
    with _lock:
        if _undo:
            return
        try:
            import tinker
        except ImportError as error:
            raise ImportError(
                "the Tinker SDK is not installed here, so there is nothing to patch. Next: pip install tinker"
            ) from error
        _wrap(tinker.ServiceClient, "__init__", _with_server)
        for place, name, wrapper in (
            ("tinker.lib._auth_token_provider:ApiKeyAuthProvider", "__init__", _any_key_in_provider),
            ("tinker._client:AsyncTinker", "__init__", _any_key_in_client),
            ("tinker.lib.internal_client_holder:InternalClientHolder", "_create_sampling_session", _any_session_path),
            ("tinker.types.checkpoint:ParsedCheckpointTinkerPath", "from_tinker_path", _any_checkpoint_path),
        ):
            owner = _find(place)
            if owner is not None and hasattr(owner, name):
                _wrap(owner, name, wrapper)


def restore() -> None:
    with _lock:
        while _undo:
            _undo.pop()()


def _find(place: str) -> type | None:
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _wrap(owner: type, name: str, wrapper: Callable[[Callable], Callable]) -> None:
    own = owner.__dict__.get(name, _OWN)
    is_classmethod = isinstance(own, classmethod)
    original = own.__func__ if is_classmethod else getattr(owner, name)
    wrapped = functools.wraps(original)(wrapper(original))
    setattr(owner, name, classmethod(wrapped) if is_classmethod else wrapped)
    _undo.append(lambda: delattr(owner, name) if own is _OWN else setattr(owner, name, own))


def _is_accepted(key: str | None) -> bool:
    return not key or key.startswith("tml-") or key.startswith("eyJ")


def _any_key_in_provider(original):
    def __init__(self, api_key=None, *args, **kwargs):
        # The first versions look into the environment here, later ones before.
        key = api_key or os.environ.get("TINKER_API_KEY")
        if _is_accepted(key):
            if api_key is None:
                original(self, *args, **kwargs)
            else:
                original(self, api_key, *args, **kwargs)
            return
        original(self, _PLACEHOLDER, *args, **kwargs)
        self._token = key

    return __init__


def _any_key_in_client(original):
    takes_provider = "_auth" in inspect.signature(original).parameters

    def __init__(self, *args, **kwargs):
        key = kwargs.get("api_key") or os.environ.get("TINKER_API_KEY")
        if takes_provider or _is_accepted(key):
            original(self, *args, **kwargs)
            return
        original(self, *args, **{**kwargs, "api_key": _PLACEHOLDER})
        self.api_key = key

    return __init__


def _any_session_path(original):
    # Arguments go by name in every version; a path may also come first.
    def _create_sampling_session(self, *args, **kwargs):
        args = tuple(acceptable(value) for value in args)
        kwargs = {name: acceptable(value) for name, value in kwargs.items()}
        return original(self, *args, **kwargs)

    return _create_sampling_session


def _any_checkpoint_path(original):
    def from_tinker_path(cls, tinker_path: str):
        parsed = original(cls, as_tinker(tinker_path))
        # What the server called it is what it is asked for.
        return parsed.model_copy(update={"tinker_path": tinker_path})

    return from_tinker_path


def _with_server(original):
    names = inspect.signature(original).parameters
    headers_name = "default_headers_overrides" if "default_headers_overrides" in names else "default_headers"

    def __init__(self, *args: Any, **kwargs: Any):
        key = kwargs.get("api_key") or os.environ.get("TINKER_API_KEY")
        if not key:
            key = kwargs["api_key"] = os.environ.get("TWINKLE_SERVER_TOKEN") or None
        if kwargs.get("base_url"):
            kwargs["base_url"] = server_address(str(kwargs["base_url"]))
        own = {**(kwargs.pop("default_headers", None) or {}), **(kwargs.pop("default_headers_overrides", None) or {})}
        kwargs[headers_name] = {**identity_headers(key), **own}
        original(self, *args, **kwargs)

    return __init__
