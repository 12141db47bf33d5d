"""Lets code written for the Tinker SDK talk to a Twinkle or twinkle-ts server, unchanged.

    from twinkle_compat import init_tinker_compat_client

    service_client = init_tinker_compat_client(base_url="http://127.0.0.1:8000", api_key="EMPTY_TOKEN")

`init_tinker_client()` patches only; `restore_tinker()` takes the patch back. No file of the SDK is touched.
"""

from twinkle_compat.client import init_tinker_client, init_tinker_compat_client, restore_tinker

__all__ = ["init_tinker_client", "init_tinker_compat_client", "restore_tinker"]
