"""The public surface of the installed SDK as JSON: what docs/reference/tinker-sdk.md has to put a TypeScript twin beside.

Methods of the clients with the names of their parameters, and the names that the package exports. Deprecated `_async` twins
are left out: they do what the method without the suffix does.

    $(node scripts/python-env.mjs sdk-0.38.0) -W ignore openapi/conformance/sdk/surface.py
"""

from __future__ import annotations

import inspect
import json

import tinker
from methods import public_methods


def parameters(value: object) -> list[str]:
    function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def main() -> None:
    methods = {name: parameters(value) for name, value in public_methods().items() if not name.endswith("_async")}
    for name in ("ServiceClient", "RestClient", "AdminClient"):
        signature = inspect.signature(getattr(tinker, name).__init__).parameters
        public = [each for each in signature if each not in ("self", "kwargs") and not each.startswith("_")]
        methods[f"{name}.__init__"] = public
    surface = {"sdk": tinker.__version__, "methods": methods, "exports": sorted(tinker.__all__)}
    print(json.dumps(surface, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
