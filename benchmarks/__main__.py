"""All benchmarks that need no GPU, as the table in docs/speed.md: python -m benchmarks --help."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import TABLE, machine
from core.config import ISBI_HOME, VOC_HOME
from core.support import errors
from core.support.flags import Parser

# Each with the flags that name its data.
PROGRAMS = {
    "pipeline": ("data", "isbi"),
    "elastic": (),
    "training": ("data",),
    "throughput": ("data",),
    "tiling": (),
    "own_data": ("data",),
    "checking": ("data",),
    "starting": (),
}


def get_args():
    """Parses the command line."""
    parser = Parser(
        prog="python -m benchmarks",
        description="Runs the programs of this folder that need no GPU, three minutes each at "
        "most, and prints one table. What lacks its data or a package is left out.",
    )
    for flag, home, layout in (("--data", VOC_HOME, "VOC"), ("--isbi", ISBI_HOME, "ISBI")):
        text = f"in {layout}'s layout (default: %(default)s)"
        parser.add_argument(flag, metavar="DIR", default=home, help=text)
    parser.add_argument("--only", nargs="+", choices=PROGRAMS, default=[*PROGRAMS], metavar="NAME")
    return parser.parse_args()


def main():
    """Runs them; returns 1 if one of them fails."""
    args, failed = get_args(), []
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table.md")
        table.touch()
        for name in args.only:
            flags = [part for flag in PROGRAMS[name] for part in (f"--{flag}", vars(args)[flag])]
            print(f"{name} ...", file=sys.stderr, flush=True)
            command = [sys.executable, "-m", f"benchmarks.{name}", *flags]
            environment = {**os.environ, TABLE: str(table)}
            if subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode:
                failed.append(name)
        print(machine("keras", "tensorflow", "numpy"))
        print("\n| what | held against | ratio | aim | `python -m benchmarks.` |")
        print("|---|---|---|---|---|")
        print(table.read_text(encoding="utf-8"), end="")
    if failed:
        print(f"\nLeft out, see above: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    errors.run(main)
