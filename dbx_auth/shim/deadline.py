"""Work that is given up after a while, and never in the middle of what would lose a login."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from dbx_auth.errors import Temporary
from dbx_auth.world import World

Found = TypeVar("Found")


def within(seconds: float, work: Callable[[World], Found], world: World) -> Found:
    """What `work` says when it is handed the world, or Temporary after so many seconds.

    A refresh token that has been sent is spent, and who leaves before its successor is kept ends the login. That alone
    is waited for, however long it takes (`refresh.BUDGET`); whatever comes here also to end this process waits too.
    """
    import threading

    spending, gone = threading.RLock(), threading.Event()
    answers: list[Found | BaseException] = []
    late = Temporary("there is no token in time", hint="try again, or look what takes so long: dbx-auth -v token")

    @contextmanager
    def uninterrupted() -> Iterator[None]:
        with spending:
            if gone.is_set():
                raise late
            yield

    def run() -> None:
        try:
            answers.append(work(world._replace(uninterrupted=uninterrupted)))
        except BaseException as error:
            answers.append(error)

    thread = threading.Thread(target=run, name="token", daemon=True)
    try:
        thread.start()
        thread.join(max(0.0, seconds))
    finally:
        with world.uninterrupted(), spending:  # who is impatient presses Ctrl-C twice
            gone.set()
    thread.join(0.1)  # what was spent while we waited for it is an answer in a moment
    found = answers[0] if answers else late
    if isinstance(found, BaseException):
        raise found
    return found
