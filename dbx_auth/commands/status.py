"""dbx-auth status: who you are, through which source, until when, and why every earlier source was passed over."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from dbx_auth import output, profile as profiles, resolve, whoami
from dbx_auth.errors import AuthError, ConfigError, Temporary
from dbx_auth.profile import Flags, Profile
from dbx_auth.tokens import Demand, Token, format_expiry
from dbx_auth.world import World, flat

from . import TOKEN, Verb, console, identity, output_option

CHECK_BUDGET = 5.0
"""Seconds for asking the workspace."""


@click.command(
    cls=Verb,
    examples=("dbx-auth status", "dbx-auth status DEV", "dbx-auth status --offline -o json"),
    reads=(*TOKEN, "color"),
    exits=(5,),
    own_exits={4: "nobody is logged in", 6: "nobody could be asked"},
)
@identity
@click.option("--offline", is_flag=True, help="Do not ask the workspace, and renew nothing.")
@output_option("text", "json")
@click.pass_context
def status(ctx: click.Context, world: World, flags: Flags, offline: bool, form: str) -> None:
    """Who you are, where, through which source, until when, and why every earlier source was passed over."""
    found = report(profiles.load(world, flags), world, offline=offline)
    if form == "json":
        click.echo(json.dumps(found, indent=2))
    elif shown := console(world):
        shown.print(page(found))
    else:
        click.echo(plain(found))
    ctx.exit(6 if found["checked"] == "unreachable" else 0 if found["authenticated"] else 4)


def report(profile: Profile, world: World, *, offline: bool = False) -> dict[str, Any]:
    """All that there is to know, in the shape of `status -o json`, version 1."""
    try:
        resolution = resolve.resolve(profile, world, Demand(renew=not offline))
    except AuthError as refusal:
        resolution = resolve.Resolution(None, refusal, ())
    token, error = resolution.token, resolution.error
    user, checked = None, "offline"
    if token and not offline:
        user, error = _ask(token, profile, world)
        checked = "online"
    if isinstance(error, Temporary):
        checked = "unreachable"
    warnings = [f"{error} (hint: {error.hint})"] if error else []
    warnings += _passed_over(profile, world) + _several_methods(profile, token)
    life = token.life(world.now()) if token else None
    return {
        "version": 1,
        "authenticated": token is not None and error is None,
        "host": token.host if token else profile.host or None,
        "profile": profile.name or None,
        "auth_type": token.auth_type if token else None,
        "origin": token.origin if token else None,
        "user": user,
        "expires_at": format_expiry(token.expires_at) if token and token.expires_at else None,
        "expires_in": None if life is None or math.isinf(life) else math.floor(life),
        "refreshable": bool(token and token.refreshable),
        "checked": checked,
        "settings": [{"name": s.name, "value": s.shown, "origin": s.origin} for s in profile.settings.values()],
        "attempts": [attempt._asdict() for attempt in resolution.attempts],
        "warnings": warnings,
    }


def _ask(token: Token, profile: Profile, world: World) -> tuple[str | None, AuthError | None]:
    try:
        account_id = profile.value("account_id")
        return whoami.user(token, world, account_id=account_id, budget=CHECK_BUDGET) or None, None
    except AuthError as refusal:
        return None, refusal


def _passed_over(profile: Profile, world: World) -> list[str]:
    """The file's default profile, when the last login decides which host this is."""
    if not profile.by_login:
        return []
    try:
        sections = profiles.read(world)
    except ConfigError as error:
        return [str(error)]
    name = profiles.default_name(sections)
    host = profiles.host_of(sections.get(name, {}))
    if not host or name == profile.name or host == profile.host:
        return []
    return [
        f"the last login, {profile.host}, passes over profile {name} of {world.shorten(world.config_file)}, {host} "
        f"(hint: dbx-auth -p {name} status)"
    ]


def _several_methods(profile: Profile, token: Token | None) -> list[str]:
    """Settings for several ways to log in at once, where nobody says which one is meant."""
    if len(profile.methods) < 2 or profile.value("auth_type"):
        return []
    taken = f"{token.auth_type} comes first here" if token else "the first that has what it needs is asked"
    return [
        f"there are settings for {' and '.join(profile.methods)}; {taken}, and the Databricks SDKs refuse to choose "
        f"(hint: export DATABRICKS_AUTH_TYPE={token.auth_type if token else 'pat'})"
    ]


def ends(found: dict[str, Any]) -> str:
    """Until when the token lives, in words."""
    if found["expires_in"] is None:
        return "nobody knows; a key does not say"
    renewed = ", then renewed by itself" if found["refreshable"] else ", and then a new login is needed"
    return f"in {output.duration(found['expires_in'])}{renewed}"


def facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What a person wants to know first."""
    rows = [("host", found["host"] or "none"), ("profile", found["profile"]), ("user", found["user"])]
    if found["auth_type"]:
        rows += [("source", f"{found['auth_type']}, {found['origin']}"), ("token ends", ends(found))]
    return [(name, value) for name, value in (*rows, ("checked", found["checked"])) if value]


def headline(found: dict[str, Any]) -> str:
    if found["authenticated"]:
        return f"logged in to {found['host']}"
    if found["checked"] == "unreachable":
        return f"cannot reach {found['host']}"
    return f"not logged in to {found['host']}" if found["host"] else "not logged in"


def plain(found: dict[str, Any]) -> str:
    """The page for a pipe or a log."""
    lines = [headline(found), *(f"  {name}: {value}" for name, value in facts(found))]
    lines += ["sources:", *(f"  {a['auth_type']}: {a['outcome']}: {a['reason']}" for a in found["attempts"])]
    lines += ["settings:", *(f"  {s['name']}: {s['value']} ({s['origin']})" for s in found["settings"])]
    return "\n".join(map(flat, [*lines, *(f"warning: {text}" for text in found["warnings"])]))


def _folded(attempts: list[dict[str, str]]) -> list[dict[str, str]]:
    """The attempts, with those at the end that nobody needed in one line."""
    asked = [a for a in attempts if a["outcome"] != "not asked"]
    rest = attempts[len(asked) :]
    return [*asked, {**rest[0], "auth_type": f"{len(rest)} more"}] if len(rest) > 1 else attempts


def page(found: dict[str, Any]) -> Any:
    """The page for a person at a terminal, as something rich can print."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    def cell(text: str, style: str = "") -> Text:
        return Text(flat(text), style=style)

    def grid(*rows: tuple[Text, ...]) -> Padding:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        for row in rows:
            table.add_row(*row)
        return Padding(table, (0, 0, 1, 2))

    good = found["authenticated"]
    marks = {"used": ("✓", "green"), "failed": ("✗", "red"), "unavailable": ("·", "dim"), "not asked": ("·", "dim")}
    parts: list[Any] = [
        Text(),
        cell(("✓ " if good else "✗ ") + headline(found), "bold green" if good else "bold red"),
        Text(),
        grid(*((cell(name, "dim"), cell(value, "bold" if name == "user" else "")) for name, value in facts(found))),
    ]
    if attempts := _folded(found["attempts"]):
        parts += [
            cell("sources, in the order they are asked", "bold"),
            grid(
                *(
                    (
                        cell(f"{marks[a['outcome']][0]} {a['auth_type']}", marks[a["outcome"]][1]),
                        cell(a["outcome"], marks[a["outcome"]][1]),
                        cell(a["reason"], "" if a["outcome"] in ("used", "failed") else "dim"),
                    )
                    for a in attempts
                )
            ),
        ]
    if found["settings"]:
        parts += [
            cell("settings", "bold"),
            grid(*((cell(s["name"], "dim"), cell(s["value"]), cell(s["origin"], "dim")) for s in found["settings"])),
        ]
    parts += [Padding(cell(f"! {text}", "yellow"), (0, 0, 1, 0)) for text in found["warnings"]]
    return Group(*parts)
