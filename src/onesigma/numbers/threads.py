"""Work on several threads, the calling one among them."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["shared_out"]

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def shared_out(work: Callable[[_Task], _Result], tasks: Sequence[_Task], *, threads: int) -> list[_Result]:
    """`[work(task) for task in tasks]`, each task taken by the thread that is free next.

    The calling thread works, too, and never waits for a task that nobody has begun: torch's own threads stay awake for
    some milliseconds after each of its operations, and whoever shares a core with one of them is slow.

    Args:
        work: Compiled loops without the GIL, or others that wait.
        tasks: As many more than threads as keeps them all busy to the end.
        threads: How many there are together.

    Raises:
        Exception: What `work` raised; tasks that nobody has begun are left.

    Example:
        >>> shared_out(lambda number: number * number, [1, 2, 3], threads=2)
        [1, 4, 9]
    """
    others = min(threads, len(tasks)) - 1
    if others < 1:
        return [work(task) for task in tasks]
    todo = deque(range(len(tasks)))
    results: list[Any] = [None] * len(tasks)

    def take() -> None:
        while True:
            try:
                place = todo.popleft()
            except IndexError:
                return
            results[place] = work(tasks[place])

    with ThreadPoolExecutor(others) as pool:
        helpers = [pool.submit(take) for _ in range(others)]
        try:
            take()
        finally:  # after an error, or Ctrl-C, nobody begins anew
            todo.clear()
        for helper in helpers:
            helper.result()
    return results
