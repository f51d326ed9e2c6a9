"""Work that is shared out: in order, once each, errors told, by the calling thread too."""

import threading
import time

import pytest

from onesigma.numbers.threads import shared_out


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_results_come_in_the_order_of_the_tasks_and_each_is_done_once(threads: int, count: int) -> None:
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        return -number

    assert shared_out(work, range(count), threads=threads) == [-number for number in range(count)]
    assert sorted(done) == list(range(count))


def test_the_calling_thread_works_on_while_another_is_held_up() -> None:
    here, held = threading.get_ident(), threading.Event()
    done: list[int] = []

    def work(number: int) -> None:
        if threading.get_ident() != here:
            held.wait()
            return
        done.append(number)
        if len(done) == 19:  # all but the one that the other has in hand
            held.set()

    shared_out(work, range(20), threads=2)
    assert len(done) >= 19


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_what_work_raises_arrives_and_the_rest_is_left(where: str) -> None:
    here, begun = threading.get_ident(), threading.Event()
    done: list[int] = []

    def work(number: int) -> None:
        is_here = threading.get_ident() == here
        done.append(number)
        if is_here == (where == "here"):
            begun.set()
            raise IndexError(f"task {number}")
        begun.wait(10)
        time.sleep(1e-2)

    with pytest.raises(IndexError, match="task"):
        shared_out(work, range(2000), threads=2)
    assert where == "elsewhere" or len(done) < 10


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    shared_out(time.sleep, [1e-3] * 8, threads=4)
    assert threading.active_count() == before
