"""One module for each verb: parse, call, render. What several verbs share is here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dbx_auth.errors import UsageError
from dbx_auth.profile import Flags, read as read_profiles
from dbx_auth.world import World

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])


def identity(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `world` and `flags`: the three identity options, before or after the verb, and the positional."""
    place = click.argument("profile_or_host", required=False, metavar="[PROFILE|HOST]", shell_complete=_words)
    return place(identity_options(function))


def _words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What may stand there instead of a profile or host: the words of a verb that has some."""
    return [word for word in getattr(ctx.command, "words", ()) if word.startswith(incomplete)]


def identity_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same without the positional, for a verb that has others."""

    @click.option("-p", "--profile", metavar="NAME", help="Profile of .databrickscfg.")
    @click.option("--host", metavar="URL", help="Workspace.")
    @click.option("--account-id", metavar="ID", help="Databricks account.")
    @wraps(function)
    def command(
        *,
        profile: str | None,
        host: str | None,
        account_id: str | None,
        profile_or_host: str | None = None,
        **rest: Any,
    ) -> Any:
        ctx = click.get_current_context()
        before: Flags = ctx.meta["flags"]
        flags = Flags(profile or before.profile, host or before.host, account_id or before.account_id)
        if profile_or_host:
            flags = _with_positional(ctx.obj, flags, profile_or_host)
        return function(ctx.obj, flags, **rest)

    return command


def _with_positional(world: World, flags: Flags, word: str) -> Flags:
    """A profile of that name, else a host; a profile may be named beside a host."""
    is_profile = word in read_profiles(world)
    if flags.host or (flags.profile and is_profile):
        option = "--host" if flags.host else "--profile"
        raise UsageError(f"{word} cannot stand beside {option}", hint=f"use {word} alone")
    if is_profile:
        return flags._replace(profile=word)
    if "." not in word and ":" not in word:
        raise UsageError(f"{word} is neither a profile nor a host", hint="dbx-auth profiles")
    return flags._replace(host=word)


class Duration(click.ParamType):  # type: ignore[type-arg]  # it takes an argument only since click 8.4
    """Seconds, as a number or as `90s`, `15m`, `2h`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from dbx_auth.settings import seconds

        try:
            return seconds(str(value))
        except ValueError:
            self.fail(f"{str(value).strip()!r} is not a duration such as 900, 90s, 15m or 2h", param, ctx)


def has_settings(world: World) -> bool:
    """Whether there is a `config.toml`; where there is none, nothing is imported to read it."""
    return os.path.exists(os.path.join(world.config_dir, "config.toml"))


def output_option(*forms: str, settable: bool = True) -> Callable[[F], F]:
    """The format; where no option says it and it is `settable`, what `output` of config.toml says."""

    def chosen(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
        if value is None and settable and has_settings(ctx.obj):
            from dbx_auth import settings

            return settings.output(ctx.obj)
        return value or forms[0]

    help = f"Format.  [default: {forms[0]}]"
    return click.option("-o", "--output", "form", type=click.Choice(forms), callback=chosen, help=help)


def console(world: World) -> Console | None:
    """Where a page is shown to a person; None where stdout goes to a program."""
    color = "auto"
    if has_settings(world):
        from dbx_auth import settings

        color = settings.color(world)
    if not sys.stdout.isatty() and color != "always":
        return None
    from rich.console import Console

    return Console(
        highlight=False, no_color=True if color == "never" else None, force_terminal=color == "always" or None
    )
