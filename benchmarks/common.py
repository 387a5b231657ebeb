"""What the programs of this folder share: timing in turns, and one short table."""

import dataclasses
import importlib.metadata
import os
import platform
import statistics
import sys
import time
from pathlib import Path

TABLE = "BENCHMARKS_TABLE"  # names a file that `show` adds its rows to, for `python -m benchmarks`
_BEGIN, _ENOUGH = time.monotonic(), 130  # seconds after which no other round begins


@dataclasses.dataclass
class Row:
    """A line of the table.

    Attributes:
        what: what was measured.
        figures: of each round.
        limits: what they are held against, round by round.
        wanted: what the ratio of the two must be.
        unit: of both.
    """

    what: str
    figures: list
    limits: list
    wanted: str
    unit: str = "ms"

    @property
    def ratios(self):
        """Figure by limit, of each round."""
        return [a / b for a, b in zip(self.figures, self.limits, strict=True)]


def in_turns(jobs, rounds, clock=time.perf_counter):
    """Times functions in turns, so that whatever else the machine does slows down all of them.

    So that a program ends within three minutes, no round begins when it has run for long.

    Args:
        jobs: functions without arguments, by name; each runs once more before.
        rounds: how often each runs, at most.
        clock: for work of one thread time.thread_time, which other programs disturb less.

    Returns:
        The seconds of each round, a list by name. What a job returns, if anything, is taken for its
        seconds in place of the clock's.
    """
    for job in jobs.values():
        job()
    seconds = {name: [] for name in jobs}
    for number in range(rounds):
        if number and time.monotonic() - _BEGIN > _ENOUGH:
            print(f"After {_ENOUGH} s, {number} of {rounds} rounds must do.", file=sys.stderr)
            break
        # Whoever is first is not always first.
        for name in sorted(jobs, key=list(jobs).index, reverse=number % 2):
            start = clock()
            told = jobs[name]()
            seconds[name].append(clock() - start if told is None else told)
    return seconds


def scaled(seconds, factor):
    """Returns a list of seconds in another unit."""
    return [factor * s for s in seconds]


def machine(*packages):
    """Returns the machine and the versions in a line."""
    lines = (
        Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    )
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    first = f"{platform.machine()} {model}".strip()
    return ", ".join(
        [f"{first}: {os.cpu_count()} cores", f"Python {platform.python_version()}", *versions]
    )


def show(rows, *packages):
    """Prints the table: medians, the ratio's median, and its smallest and largest value.

    Args:
        rows: of `Row`.
        *packages: whose versions matter.
    """
    print(machine(*packages))
    width = max(len(row.what) for row in rows)
    print(f"{'':{width}}       here      limit  ratio  (of all rounds)  wanted")
    for row in rows:
        here, limit = (statistics.median(numbers) for numbers in (row.figures, row.limits))
        ratios = row.ratios
        print(
            f"{row.what:{width}} {_three(here)} {_three(limit)} {statistics.median(ratios):6.2f}  "
            f"({min(ratios):6.2f}.. {max(ratios):5.2f})  {row.wanted}  [{row.unit}]"
        )
    if TABLE in os.environ:
        with open(os.environ[TABLE], "a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in map(in_table, rows))


def in_table(row):
    """Returns a line of the table in docs/speed.md: what, held against, ratio and aim."""
    what, _, against = row.what.partition(" / ")
    low, high = (f"{ratio:.2f}" for ratio in (min(row.ratios), max(row.ratios)))
    program = Path(sys.argv[0]).stem
    ratio = low if low == high else f"{low} to {high}"
    return f"| {what} | {against} | {ratio} | {row.wanted} | `{program}` |"


def _three(number):
    """A number with about three digits that say something."""
    digits = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 1 else 3
    return f"{number:10,.{digits}f}"
