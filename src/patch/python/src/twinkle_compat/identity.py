"""Who is calling, as Twinkle's servers want to be told. One id for each process, as Twinkle's own client has it: it names
an owner, not a request."""

from __future__ import annotations

import secrets
import time

_REQUEST_ID = f"{time.strftime('%Y%m%d_%H%M%S')}-{secrets.token_hex(4)}"

# Every generation of Twinkle's servers reads another of them.
_IDENTITY_HEADERS = (
    "x-request-id",
    "X-Ray-Serve-Request-Id",
    "serve_multiplexed_model_id",
    "Serve-Multiplexed-Model-Id",
)


def identity_headers(api_key: str | None) -> dict[str, str]:
    """Headers of this process; with a key the two that carry it beside the SDK's own X-API-Key."""
    headers = {name: _REQUEST_ID for name in _IDENTITY_HEADERS}
    if api_key:
        bearer = f"Bearer {api_key}"
        headers |= {"Authorization": bearer, "Twinkle-Authorization": bearer}
    return headers
