"""dbx-auth models: what the workspace serves, for a person, a program or a shell loop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dbx_auth import models as model_lists, profile as profiles, resolve
from dbx_auth.models import Listing, Model
from dbx_auth.profile import Flags
from dbx_auth.tokens import Token, format_expiry
from dbx_auth.world import World, flat, tell

from . import console, identity, output_option

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 104
"""Columns of a terminal that hold the whole table; a narrower one gets what matters most."""


@click.command()
@identity
@click.option("--all", "everything", is_flag=True, help="All endpoints, also those that chat clients cannot use.")
@click.option("--task", metavar="TASK", help="Only this task, such as llm/v1/embeddings.")
@click.option("--family", metavar="NAME", help="Only this family, such as claude-sonnet.")
@click.option("--refresh", is_flag=True, help="Ask the workspace even if the list is younger than 5 minutes.")
@click.option("--offline", is_flag=True, help="What the catalogue knows, without asking the workspace.")
@output_option("text", "json", "names")
def models(
    world: World,
    flags: Flags,
    everything: bool,
    task: str | None,
    family: str | None,
    refresh: bool,
    offline: bool,
    form: str,
) -> None:
    """List the models that the workspace serves: chat models that can call tools and are ready now."""
    profile = profiles.load(world, flags)
    if offline:
        listing = model_lists.offline(profile.host)
    else:
        token = resolve.token(profile, world)
        listing = model_lists.listing(token.host, _identity(token), token.headers, world, refresh=refresh)
    shown = model_lists.select(listing.models, everything=everything, task=task, family=family)
    if form == "json":
        click.echo(json.dumps(as_json(listing, shown), indent=2))
    elif form == "names":
        click.echo("".join(f"{flat(m.id)}\n" for m in shown), nl=False)
    else:
        show(listing, shown, console(world))


def _identity(token: Token) -> str:
    """Who asks, as far as it can be told without asking: one person's list must not be shown to another."""
    return f"{token.auth_type} {token.origin} {token.subject}"


def as_json(listing: Listing, shown: list[Model]) -> dict[str, Any]:
    return {
        "version": 1,
        "host": listing.host or None,
        "source": listing.source,
        "fetched_at": None if listing.fetched_at is None else format_expiry(listing.fetched_at),
        "models": [model.as_json() for model in shown],
    }


def show(listing: Listing, shown: list[Model], page: Console | None) -> None:
    """A table where there is a page, aligned columns in a pipe."""
    if shown and page:
        page.print(table(shown, wide=page.width >= WIDE))
    elif shown:
        rows = [[m.id, m.family, ",".join(m.apis), can(m), size(m.context)] for m in shown]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        for row in rows:
            cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
            click.echo(flat("  ".join([*cells, row[4]]).rstrip()))
    if not shown:
        tell("no model to show")
    hidden = len(listing.models) - len(shown)
    if hidden:
        tell(f"{hidden} more with --all")


def can(model: Model) -> str:
    """What a model can do, in a few words."""
    words = [name for name, fact in (("tools", model.tools), ("reasoning", model.reasoning)) if fact]
    return ",".join([*words, *(kind for kind in model.input if kind != "text")]) or "-"


def size(tokens: int | None) -> str:
    if tokens is None:
        return "-"
    if tokens < 1000:
        return str(tokens)
    return f"{tokens / 1_000_000:.3g}M" if tokens >= 1_000_000 else f"{tokens // 1000}k"


def table(shown: list[Model], *, wide: bool = True) -> Any:
    """The list as something rich can print: a block for each family."""
    from itertools import groupby

    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    columns = ("model", "can", "context", "output", "called through") if wide else ("model", "can", "context")
    for name in columns:
        grid.add_column(name, justify="right" if name in ("context", "output") else "left", no_wrap=name == "model")
    for family, members in groupby(sorted(shown, key=lambda m: (m.family, m.id)), key=lambda m: m.family):
        grid.add_row()
        grid.add_row(Text(flat(family), style="bold cyan"))
        for m in members:
            cells = (can(m).replace(",", ", "), size(m.context), size(m.output), ", ".join(m.apis))
            title = Text(f"  {flat(m.id)}", style="" if m.ready else "dim")
            row = [title, *(Text(flat(cell), style="dim" if cell == "-" else "") for cell in cells)]
            grid.add_row(*row[: len(columns)])
    return grid
