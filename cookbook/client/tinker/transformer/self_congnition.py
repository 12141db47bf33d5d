"""`self_cognition.py` under the name that Twinkle's first documentation gave it."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).with_name("self_cognition.py")), run_name="__main__")
