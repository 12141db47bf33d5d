"""Addresses and checkpoint paths as the SDK wants to see them, whatever a server calls them."""

from __future__ import annotations

TINKER = "tinker://"
TWINKLE = "twinkle://"
_API = "/api/v1"


def server_address(base_url: str) -> str:
    """The address that the SDK puts its `/api/v1/...` behind."""
    address = base_url if "://" in base_url else f"http://{base_url}"
    return address.rstrip("/").removesuffix(_API).rstrip("/")


class TwinklePath(str):
    """A `twinkle://` path that also answers to `tinker://`: it passes the SDK's check and is sent as it is written."""

    def startswith(self, prefix, *bounds):  # type: ignore[override]
        return super().startswith(prefix, *bounds) or (prefix == TINKER and not bounds)


def acceptable(path):
    return TwinklePath(path) if isinstance(path, str) and path.startswith(TWINKLE) else path


def as_tinker(path: str) -> str:
    return TINKER + path.removeprefix(TWINKLE) if path.startswith(TWINKLE) else path
