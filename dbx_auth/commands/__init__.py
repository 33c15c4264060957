"""One module for each verb: parse, call, render. What several verbs share is here."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from dbx_auth.errors import UsageError
from dbx_auth.profile import Flags, read as read_profiles
from dbx_auth.world import World

F = TypeVar("F", bound=Callable[..., Any])


def identity(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `world` and `flags`: the three identity options, before or after the verb, and the positional."""

    @click.argument("profile_or_host", required=False, metavar="[PROFILE|HOST]")
    @click.option("-p", "--profile", metavar="NAME", help="Profile of .databrickscfg.")
    @click.option("--host", metavar="URL", help="Workspace.")
    @click.option("--account-id", metavar="ID", help="Databricks account.")
    @wraps(function)
    def command(
        *, profile: str | None, host: str | None, account_id: str | None, profile_or_host: str | None, **rest: Any
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
        text = str(value).strip()
        factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
        try:
            seconds = float(text[:-1]) * factor if factor else float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < 10**9:
            self.fail(f"{text!r} is not a duration such as 900, 90s, 15m or 2h", param, ctx)
        return seconds


def output_option(*forms: str) -> Callable[[F], F]:
    return click.option(
        "-o", "--output", "form", type=click.Choice(forms), default=forms[0], show_default=True, help="Format."
    )
