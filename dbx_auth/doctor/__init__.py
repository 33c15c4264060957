"""What is wrong on this machine, and what to do about each: a table of checks that change nothing by themselves.

A finding holds no secret, because no check puts a value that could be one into its text; what comes from a file, a
server or a library is cleaned besides. Every check runs in a thread of its own and is given up after LIMIT seconds,
because a file system that hangs is a finding too. What can be mended without risk comes with its `fix`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from dbx_auth.errors import AuthError
from dbx_auth.profile import FIELDS
from dbx_auth.world import flat, masked

from . import directories, leftovers, locks, machine, network, settings, stores
from .findings import Finding, Given, problem, warning

LIMIT = 12.0
"""Seconds that one check may take; the slowest ask a keyring or the network, which have less."""


def examine(given: Given, only: Container[str] | None = None) -> list[Finding]:
    """What the checks find, in the order of the table; of all, or of those in `only`.

    They run side by side, and all are over after LIMIT seconds.
    """
    world, secrets = given.world, _secrets(given.world.env)
    runs = [_Run(name, check, given) for name, check in CHECKS.items() if only is None or name in only]
    end = world.monotonic() + LIMIT
    with world.waiting("looking around", LIMIT):
        return [_cleaned(finding, run.name, secrets) for run in runs for finding in run.result(end - world.monotonic())]


def mend(given: Given, findings: Sequence[Finding]) -> tuple[list[Finding], list[str]]:
    """Do what can be done about the findings: what is found then, and what was done."""
    done: list[str] = []
    failed: list[Finding] = []
    secrets = _secrets(given.world.env)
    for finding in findings:
        if finding.fix is None:
            continue
        try:
            done.append(_clean(finding.fix(), secrets))
        except AuthError as error:
            failed.append(_cleaned(warning(f"not mended: {error}", error.hint), finding.check, secrets))
        except Exception as error:
            why = getattr(error, "strerror", None) or f"{type(error).__name__} at {_place(error)}"
            failed.append(_cleaned(warning(f"not mended: {why}", finding.hint), finding.check, secrets))
    touched = {finding.check for finding in findings if finding.fix} | {"leftovers"}
    rest = [finding for finding in findings if finding.check not in touched]
    order = list(CHECKS)
    now = sorted([*rest, *examine(given, touched), *failed], key=lambda finding: order.index(finding.check))
    return now, list(filter(None, done))


class _Run:
    """One check in a thread of its own; that it fails, or does not come to an end, is a finding too."""

    def __init__(self, name: str, check: Callable[[Given], Iterable[Finding]], given: Given) -> None:
        import threading

        self.name = name
        self._found: list[Finding] = []
        self._thread = threading.Thread(target=self._run, args=(check, given), name=f"doctor {name}", daemon=True)
        self._thread.start()

    def result(self, seconds: float) -> list[Finding]:
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive():
            return [
                *self._found,
                problem(f"no answer within {LIMIT:g} s: a file system or a program hangs", "mount"),
            ]
        return self._found

    def _run(self, check: Callable[[Given], Iterable[Finding]], given: Given) -> None:
        try:
            self._found.extend(check(given))
        except AuthError as error:
            self._found.append(problem(str(error), error.hint))
        except Exception as error:  # its text stays unsaid: it may hold anything
            what = f"this could not be looked at: {type(error).__name__} at {_place(error)}"
            self._found.append(warning(what, "report this line, and the command that you ran"))


def _place(error: BaseException) -> str:
    where = error.__traceback__
    while where and where.tb_next:
        where = where.tb_next
    return f"{os.path.basename(where.tb_frame.f_code.co_filename)}:{where.tb_lineno}" if where else "nowhere"


def _secrets(env: Mapping[str, str]) -> list[str]:
    """What of the environment must not be seen, in case that an error repeats it."""
    names = {variable for field in FIELDS.values() if field.secret for variable in field.env}
    return [value for name, value in env.items() if name in names or _SECRET_NAME.match(name)]


_SECRET_NAME = re.compile(r"(DATABRICK|DBX|ARM_|AZURE|GOOGLE|AWS|SYSTEM_|ACTIONS_).*(TOKEN|SECRET|PASSWORD|KEY)", re.I)

_USERINFO = re.compile(r"(?<=//)\S*@")
_KEYS_OF_DATABRICKS = re.compile(r"\b(dapi|dose|dkea|dsapi|doau)[0-9A-Za-z-]{8,}")


def _cleaned(finding: Finding, check: str, secrets: Iterable[str]) -> Finding:
    return finding._replace(check=check, text=_clean(finding.text, secrets), hint=_clean(finding.hint, secrets))


def _clean(text: str, secrets: Iterable[str]) -> str:
    """`text` as one harmless line, without anything that looks like a secret."""
    line = masked(flat(text)[:4000], secrets)
    return _KEYS_OF_DATABRICKS.sub("***", _USERINFO.sub("***@", line))


CHECKS: dict[str, Callable[[Given], Iterable[Finding]]] = {
    "machine": machine.machine,
    "settings": settings.settings,
    "environment": settings.environment,
    ".databrickscfg": stores.profile_file,
    "auth.json": stores.auth_json,
    "token-cache.json": stores.token_cache,
    "config.toml": stores.config_toml,
    "directories": directories.directories,
    "leftovers": leftovers.leftovers,
    "locks": locks.locks,
    "renewals": locks.renewals,
    "keyring": machine.keyring,
    "cli-keyring": machine.cli_keyring,
    "proxies": network.proxies,
    "certificates": network.certificates,
    "clock": network.clock,
    "crashes": machine.core_dumps,
}
"""Every check, in the order of the page."""
