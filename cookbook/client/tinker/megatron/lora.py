"""The training of ../transformer/lora.py on the server of this folder: what a script does is the same on every backend.

The Megatron backend is not there yet. Until it is, this script ends with what `twinkle serve` says to `server_config.yaml`.
"""

import os
import runpy
import sys
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from launch import refusal  # noqa: E402

URL = os.environ.setdefault("TWINKLE_SERVER_URL", "http://127.0.0.1:9000")
os.environ.setdefault("TWINKLE_MODEL_ID", "org/large")


def is_served():
    try:
        with urllib.request.urlopen(f"{URL}/api/v1/healthz", timeout=5):
            return True
    except urllib.error.URLError:
        return False


if __name__ == "__main__":
    if not is_served():
        said = refusal(HERE)
        if said is not None:
            sys.exit(f"The Megatron backend is not there yet. {said}")
        sys.exit(f"No server answers at {URL}. Next: python {HERE / 'server.py'}")
    runpy.run_path(str(HERE.parent / "transformer" / "lora.py"), run_name="__main__")
