import threading

import pytest

from core.support.threads import mapped


def test_results_come_in_order():
    hold = threading.Event()

    def work(item):
        if item == 0:
            hold.wait(10)  # the first is the last to be ready
        elif item == 3:
            hold.set()
        return item * item

    assert list(mapped(work, range(6), ahead=5, workers=3)) == [0, 1, 4, 9, 16, 25]


def test_no_more_than_asked_for_is_read_ahead():
    read = []

    def items():
        for item in range(100):
            read.append(item)
            yield item

    results = mapped(str, items(), ahead=4)
    assert next(results) == "0" and len(read) == 5
    assert next(results) == "1" and len(read) == 6
    results.close()


def test_errors_arrive_where_the_result_would_have():
    results = mapped(lambda item: 1 / item, [1, 0, 1], ahead=2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
