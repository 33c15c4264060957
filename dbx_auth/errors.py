"""The ways it can fail, each with an exit code, an error code and a hint.

    AuthError
    ├── Refused                  1  REFUSED          the server, or a rule of ours, said no
    ├── UsageError               2  USAGE            the command line does not fit together
    ├── LoginRequired            4  UNAUTHENTICATED  a person must log in
    │   └── NotConfigured                            every source was asked; carries the attempts
    ├── ConfigError              5  CONFIG           a file or setting is unusable
    └── Temporary                6  TEMPORARY        network, lock, 429 or 5xx: retrying may help
        ├── Unreachable                              nobody answers at that address: nothing was sent
        └── InDoubt                                  it was sent, and what became of it is not known

`Unavailable` stands apart: a source raises it to say "not me, ask the next", and it never leaves `resolve`.
Messages are lower-case, have no final period, and never hold a secret.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple


class Attempt(NamedTuple):
    """What happened when a source was asked.

    `outcome` is `used`, `unavailable`, `failed` or `not asked`.
    """

    auth_type: str
    outcome: str
    reason: str


class AuthError(Exception):
    """Something said no. `hint` is what to type or to look at next: a command or a setting that can be pasted.

    `retry_after` is how many seconds the server wants to be left alone, where it said so.
    """

    exit_code = 1
    error_code = "REFUSED"
    retryable = False

    def __init__(self, message: str, *, hint: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.retry_after = retry_after


class Refused(AuthError):
    """The server, or a rule of ours, said no, and asking again will not help."""


class UsageError(AuthError):
    """The flags and arguments given do not fit together."""

    exit_code = 2
    error_code = "USAGE"


class LoginRequired(AuthError):
    """A person has to log in; no amount of retrying will help."""

    exit_code = 4
    error_code = "UNAUTHENTICATED"


class NotConfigured(LoginRequired):
    """Every source was asked and none had a token; `attempts` tells the whole tale."""

    def __init__(self, message: str, attempts: Sequence[Attempt], *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.attempts = tuple(attempts)


class ConfigError(AuthError):
    """A file or a setting is unusable; nothing was changed."""

    exit_code = 5
    error_code = "CONFIG"


class Temporary(AuthError):
    """The network, a lock or a busy server is in the way; the same command may work in a while."""

    exit_code = 6
    error_code = "TEMPORARY"
    retryable = True


class Unreachable(Temporary):
    """Nobody answers at that address: the name is unknown, the way is closed, or nothing listens."""


class InDoubt(Temporary):
    """The request went out and no whole answer came: whether the server acted on it is not known."""


class Unavailable(Exception):
    """A source's settings are absent: not a failure, ask the next one."""


def mistake(error: BaseException) -> Refused:
    """What we did not foresee. Its text stays unsaid: it may hold a secret; where it happened does not."""
    where = error.__traceback__
    while where and where.tb_next:
        where = where.tb_next
    place = f"{os.path.basename(where.tb_frame.f_code.co_filename)}:{where.tb_lineno}" if where else "nowhere"
    return Refused(
        f"a mistake of ours: {type(error).__name__} at {place}",
        hint="please report it, with this line and the command that you ran",
    )
