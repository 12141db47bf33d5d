"""Starts `twinkle serve` with the `server_config.yaml` of a folder: from this checkout, else from an installed package.

It knows where Node and the package can be, and says what is missing; what a server does and what its configuration means, it
does not know. Further arguments are those of `twinkle serve`, for instance `--port 8010`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST_NODE = (20, 19)


def launch(folder: Path) -> None:
    """Becomes the server: signals reach it, and its exit code is this process's."""
    command = [*serve_command(), "--config", str(folder / "server_config.yaml"), *sys.argv[1:]]
    if os.name == "posix":
        os.execv(command[0], command)
    # Windows has no exec: Ctrl-C reaches both processes, and the server decides when to end.
    child = subprocess.Popen(command)
    while True:
        try:
            sys.exit(child.wait())
        except KeyboardInterrupt:
            continue


def refusal(folder: Path) -> str | None:
    """What the server says when it will not start with the folder's configuration; None when it starts."""
    command = [*serve_command(), "--config", str(folder / "server_config.yaml"), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if any("ready at" in line for line in server.stdout):
        server.terminate()
        server.communicate()
        return None
    return server.communicate()[1].strip()


def serve_command() -> list[str]:
    node = shutil.which("node")
    if node is None:
        sys.exit("Node is not here, and the server runs on it. Next: install Node 20.19 or newer from https://nodejs.org")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(int(part) for part in version.removeprefix("v").split(".")[:2]) < OLDEST_NODE:
        sys.exit(f"Node {version} is too old for the server. Next: install Node 20.19 or newer from https://nodejs.org")
    loader = ROOT / "node_modules" / "tsx" / "dist" / "loader.mjs"
    built = ROOT / "dist" / "cli" / "main.js"
    if loader.exists():
        return [node, "--import", loader.as_uri(), str(ROOT / "src" / "cli" / "main.ts"), "serve"]
    if built.exists():
        return [node, str(built), "serve"]
    installed = Path("node_modules", "twinkle-ts", "dist", "cli", "main.js").resolve()
    if installed.exists():
        return [node, str(installed), "serve"]
    command = shutil.which("twinkle")
    if command is not None:
        return [command, "serve"]
    sys.exit(f"twinkle-ts is not installed. Next: run `npm ci` in {ROOT}, or `npm install twinkle-ts` where you are.")
