"""dbx-auth doctor: what is wrong on this machine, and what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING

import click

from dbx_auth import settings
from dbx_auth.doctor import examine, mend
from dbx_auth.doctor.access import is_plain
from dbx_auth.doctor.findings import NOTE, OK, PROBLEM, WARNING, Finding, Given
from dbx_auth.errors import ConfigError
from dbx_auth.profile import Flags
from dbx_auth.world import World

from . import TOKEN, Verb, console, identity_options, output_option

if TYPE_CHECKING:
    from rich.console import Console

MARKS = {OK: ("✓", "ok", "green"), NOTE: ("·", "-", "dim"), WARNING: ("!", "!", "yellow"), PROBLEM: ("✗", "x", "red")}
"""Of each level: its mark, the mark where stdout knows no other letters, and its colour."""


@click.command(
    cls=Verb,
    examples=("dbx-auth doctor", "dbx-auth doctor --fix", "dbx-auth doctor -p DEV --offline -o json"),
    reads=(*TOKEN, "color"),
    own_exits={5: "there is a problem"},
)
@identity_options
@click.option("--fix", is_flag=True, help="Mend what can be mended without risk, and say what was done.")
@click.option("--offline", is_flag=True, help="Do not ask the workspace what time it is.")
@output_option("text", "json", settable=False)  # what would be asked may be what is damaged
@click.pass_context
def doctor(ctx: click.Context, world: World, flags: Flags, fix: bool, offline: bool, form: str) -> None:
    """Look for what is wrong on this machine, and say what to do.

    Nothing is changed without --fix, which moves damaged files of ours aside, takes from others what they may do with
    ours, and removes what killed programs left. The page holds no secret, so it can be shown to whoever helps.
    """
    given = Given(world, flags, offline)
    found, done = examine(given), list[str]()
    if fix:
        found, done = mend(given, found)
    if form == "json":
        click.echo(json.dumps(as_json(found, done), indent=2))
    elif shown := _console(given.world):
        from rich.text import Text

        for text, style in page(found, done, fix=fix):
            shown.print(Text(text, style=style), soft_wrap=True)  # whole, so that a command in it can be copied
    else:
        click.echo("\n".join(text for text, _ in page(found, done, fix=fix)))
    ctx.exit(ConfigError.exit_code if any(finding.level == PROBLEM for finding in found) else 0)


def as_json(found: Sequence[Finding], done: Sequence[str]) -> dict[str, object]:
    """Version 1: fields may be added, and never change."""
    fields = ("check", "level", "text", "hint")
    return {
        "version": 1,
        "findings": [{name: getattr(finding, name) for name in fields} for finding in found],
        "fixed": list(done),
    }


def page(found: Sequence[Finding], done: Sequence[str], *, fix: bool) -> Iterator[tuple[str, str]]:
    """The lines for a person, each with the style it has on a terminal."""
    plain = not _can_be_shown("".join(mark for mark, _, _ in MARKS.values()))
    width = 2 if plain else 1

    def line(level: str, text: str) -> tuple[str, str]:
        mark, spelled, colour = MARKS[level]
        return f"  {spelled if plain else mark:<{width}} {text}", "" if level == OK else colour

    for check, findings in groupby(found, lambda finding: finding.check):
        yield check, "bold"
        for finding in findings:
            yield line(finding.level, finding.text)
            if finding.hint:
                yield " " * (width + 5) + finding.hint, ""
        yield "", ""
    if fix:
        yield "fixed", "bold"
        yield from (line(OK, text) for text in done or ["nothing: nothing that can be mended without risk was found"])
        yield "", ""
    yield summary(found, fix=fix)


def summary(found: Sequence[Finding], *, fix: bool) -> tuple[str, str]:
    """The last line, which is what a person sees first."""
    counts = [(sum(f.level == level for f in found), level) for level in (PROBLEM, WARNING)]
    said = " and ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counts if n)
    mended = sum(finding.fix is not None for finding in found)
    if mended and not fix:
        said += f"; dbx-auth doctor --fix mends {mended} of them"
    return said or "nothing is wrong here", "bold red" if counts[0][0] else "bold yellow" if said else "bold green"


def _console(world: World) -> Console | None:
    """Where a page is shown, also where config.toml, which says how, cannot be used."""
    if is_plain(settings.path(world)):
        with suppress(ConfigError):
            return console(world)
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else None


def _can_be_shown(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeError):
        return False
    return True
