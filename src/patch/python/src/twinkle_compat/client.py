"""The three functions that users call. Knows where a server and a key come from; how the SDK is wrapped stands in
`patch.py`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twinkle_compat.patch import install, restore

if TYPE_CHECKING:
    from tinker import ServiceClient

DEFAULT_KEY = "EMPTY_TOKEN"


def init_tinker_client(**_ignored: Any) -> None:
    """Patches the Tinker SDK for this process; calling it again changes nothing. Build `tinker.ServiceClient` afterwards.

    Arguments are ignored, as Twinkle's function of this name ignores them.

    Raises:
        ImportError: the Tinker SDK is not installed.
    """
    install()


def init_tinker_compat_client(
    base_url: str | None = None, api_key: str | None = None, **kwargs: Any
) -> "ServiceClient":
    """Patches the SDK and gives a ServiceClient that is ready.

    Args:
        base_url: the server. `http://` is put before an address without a scheme, and an `/api/v1` at its end is cut,
            since the SDK adds its own. Without one: `TWINKLE_SERVER_URL`, then what the SDK takes
            (`TINKER_BASE_URL`, then the hosted service).
        api_key: any key, with or without `tml-`. Without one: `TWINKLE_SERVER_TOKEN`, then `EMPTY_TOKEN`.
        kwargs: further arguments of `ServiceClient`. `default_headers` go before the headers that are added here.

    Raises:
        ImportError: the Tinker SDK is not installed.
    """
    install()
    import tinker

    address = base_url or os.environ.get("TWINKLE_SERVER_URL") or None
    key = api_key or os.environ.get("TWINKLE_SERVER_TOKEN") or DEFAULT_KEY
    return tinker.ServiceClient(base_url=address, api_key=key, **kwargs)


def restore_tinker() -> None:
    """Takes the patch back: the SDK is as it was. Clients that were made meanwhile go on working."""
    restore()
