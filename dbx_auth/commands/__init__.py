"""One module for each verb: parse, call, render. What several verbs share is here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dbx_auth import offers
from dbx_auth.errors import AuthError, ConfigError, UsageError
from dbx_auth.files import is_there
from dbx_auth.profile import Flags, read as read_profiles
from dbx_auth.world import World, flat

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])


WHO = ("profile", "workspace", "login", "files")
"""The rows of `manual.VARIABLES` that say for whom a token is, and what gets it."""

TOKEN = (*WHO, "network")
"""The rows that whoever gets a token heeds."""


# ---- help ------------------------------------------------------------------------------------------------------------


class Verb(click.Command):
    """A command whose help has examples, the variables it heeds, and its exit codes.

    `reads` are rows of `manual.VARIABLES`, `exits` codes of `manual.EXITS` that not every verb has, and `own_exits`
    those that mean something special here.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        reads: Sequence[str] = (),
        exits: Sequence[int] = (),
        own_exits: Mapping[int, str] | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(*args, **rest)
        self.examples = examples
        self.reads = reads
        self.exits = exits
        self.own_exits = own_exits or {}

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        with formatter.section("Examples"):
            _write(formatter, self.examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from dbx_auth import manual

        rows = [(name, manual.shortened(manual.VARIABLES[name])) for name in self.reads]
        is_short = any(text.endswith(" more") for _, text in rows)
        page = f" (all of it: man {ctx.command_path.replace(' ', '-')})" if is_short else ""
        with formatter.section(f"Environment{page}"):
            formatter.write_dl(rows or [("none", "")])
        with formatter.section("Exit codes"):
            _write(formatter, manual.in_columns(manual.exits(self.exits, self.own_exits)))


class Group(Verb, click.Group):
    """A verb with words of its own."""

    command_class = Verb


def _write(formatter: click.HelpFormatter, lines: Iterable[str]) -> None:
    """Lines as they are, because who pastes a command wants it whole."""
    for line in lines:
        formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


# ---- what several verbs take -----------------------------------------------------------------------------------------


Offer = Callable[[World, Mapping[str, Any]], Mapping[str, str]]
"""Words that a shell may offer, and what there is to say of each; a function of `offers`."""


def offered(*offers: Offer) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]:
    """What completes a parameter: words that are on this machine; none, and no error, where they cannot be read."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        said = {**ctx.find_root().params, **{name: value for name, value in ctx.params.items() if value}}
        found: dict[str, str] = dict.fromkeys(getattr(ctx.command, "words", ()), "")
        for offer in offers:
            with suppress(AuthError, OSError):
                found |= offer(ctx.obj, said)
        return [
            CompletionItem(word, help=flat(text) or None)
            for word, text in found.items()
            if word.startswith(incomplete) and word.isprintable()
        ]

    return complete


def identity(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `world` and `flags`: the three identity options, before or after the verb, and the positional."""
    who = offered(offers.profiles, offers.hosts)
    place = click.argument("profile_or_host", required=False, metavar="[PROFILE|HOST]", shell_complete=who)
    return place(identity_options(function))


def identity_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same without the positional, for a verb that has others."""

    @click.option(
        "-p", "--profile", metavar="NAME", help="Profile of .databrickscfg.", shell_complete=offered(offers.profiles)
    )
    @click.option("--host", metavar="URL", help="Workspace.", shell_complete=offered(offers.hosts))
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
    return is_there(os.path.join(world.config_dir, "config.toml"))


def wanted_life(world: World) -> float | None:
    """Seconds of life that a token has to have left, as `min_ttl` of config.toml says."""
    if not has_settings(world):
        return None
    from dbx_auth import settings

    return settings.min_ttl(world)


def need_gateway() -> None:
    """Raise ConfigError where what the gateway is made with is not installed."""
    try:
        import starlette.requests  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError("the gateway is not installed", hint="pip install 'dbx-auth[gateway]'") from error


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
