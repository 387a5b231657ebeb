"""Threads that work beside the network."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from core.support.errors import UserError, obey_interrupts


def mapped(function, items, ahead, workers=2):
    """Applies a function to items in threads and yields the results in the order of the items.

    At most `ahead` results wait. The items, an iterable, are read in the caller's thread; what the
    function raises is raised here.
    """
    waiting = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            obey_interrupts()
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def attempts(function, items, title, workers=1):
    """Applies a function to items in threads, behind a progress bar.

    Yields the results in the order of the items; for a `UserError`, the error itself.
    """

    def attempt(item):
        try:
            return function(item)
        except UserError as error:
            return error

    done = mapped(attempt, items, 4 * workers, max(1, workers))
    return tqdm(done, title, len(items), leave=False, disable=None)
