"""Runs a script with U-Nets that halve the image twice: python tests/shallow.py train.py ARGS.

Half the layers are built, traced and compiled in half the time, in a process of its own.
"""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, __file__]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from nets import sizes

    sizes.DEPTH = 2
    del sys.argv[0]
    sys.argv[0] = str(ROOT / sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
