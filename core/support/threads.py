"""Threads that work beside the network."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor


def mapped(function, items, ahead, workers=2):
    """Applies a function to items in threads, a bounded number of items ahead of who consumes them.

    Args:
        function: of one item.
        items: an iterable; it is read in the caller's thread.
        ahead: how many results may wait.
        workers: number of threads.

    Yields:
        The results, in the order of the items. What the function raises is raised here.
    """
    waiting = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
