"""Starts the server of this folder: `twinkle serve` with the `server_config.yaml` beside this file. Ctrl-C ends it."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from launch import launch  # noqa: E402

if __name__ == "__main__":
    launch(HERE)
