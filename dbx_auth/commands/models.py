"""dbx-auth models: what the workspace serves, for a person, a program or a shell loop."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from dbx_auth import models as model_lists, offers, profile as profiles, resolve
from dbx_auth.catalogue import APIS, INPUTS
from dbx_auth.errors import UsageError
from dbx_auth.models import Listing, Model
from dbx_auth.profile import Flags
from dbx_auth.tokens import Token, format_expiry
from dbx_auth.world import World, flat, tell

from . import TOKEN, Verb, console, identity, identity_options, offered, output_option

if TYPE_CHECKING:
    from rich.console import Console

    from dbx_auth.calling import Outcome

WIDE = 104
"""Columns of a terminal that hold the whole table; a narrower one gets what matters most."""

CLIENTS = ("opencode", "codex", "litellm", "models.dev")
"""The formats that are configuration of other programs: the rows of `recipes.FORMATS`, which a list never loads."""

COLORS = {"tools": "green", "reasoning": "magenta", "image": "blue", "audio": "blue", "video": "blue"}

SHOWN = ("id", "name", "family", "task", "ready", "apis", "tools", "reasoning", "input", "context", "output", "cost")
"""The facts that `models show` has a line for, beside the quirks."""


class Models(Verb):
    """A verb whose first word may be `show` or `check`; any other word says whose models are listed."""

    @property
    def words(self) -> dict[str, click.Command]:
        return {"show": show_one, "check": check}

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in self.words:
            return self.words[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Words"):
            words = self.words.items()
            formatter.write_dl([(f"{ctx.info_name} {name}", word.get_short_help_str(100)) for name, word in words])


def _one_of(*words: str) -> Any:
    """A callback that takes one of a few words, and names the nearest for any other."""

    def chosen(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is None or value in words:
            return value
        near = model_lists.nearest(value, words) or words
        raise UsageError(
            f"{param.opts[0]} {value} is none of {', '.join(words)}", hint=f"dbx-auth models {param.opts[0]} {near[0]}"
        )

    return chosen


def _asking(function: Any) -> Any:
    """The options that say how the list is come by."""
    refresh = click.option(
        "--refresh", is_flag=True, help="Ask the workspace even if the list is younger than 5 minutes."
    )
    return refresh(
        click.option("--offline", is_flag=True, help="What the catalogue knows, without asking the workspace.")(
            function
        )
    )


@click.command(
    cls=Models,
    examples=(
        "dbx-auth models",
        "dbx-auth models --family claude-sonnet -o names",
        "dbx-auth models show databricks-claude-sonnet-4-5",
        "dbx-auth models check databricks-gpt-5",
    ),
    reads=(*TOKEN, "color"),
    exits=(4, 5, 6),
)
@identity
@click.option("--all", "everything", is_flag=True, help="All endpoints, also those that chat clients cannot use.")
@click.option("--task", metavar="TASK", help="Only this task, such as llm/v1/embeddings.")
@click.option(
    "--family", metavar="NAME", shell_complete=offered(offers.families), help="Only this family, such as claude-sonnet."
)
@click.option("--api", metavar="API", callback=_one_of(*APIS), help=f"Only what speaks it: {', '.join(APIS)}.")
@click.option("--tools", is_flag=True, help="Only what can call tools.")
@click.option("--input", metavar="KIND", callback=_one_of(*INPUTS), help=f"Only what takes it: {', '.join(INPUTS)}.")
@_asking
@output_option("text", "json", "names", *CLIENTS)
def models(
    world: World,
    flags: Flags,
    everything: bool,
    task: str | None,
    family: str | None,
    api: str | None,
    tools: bool,
    input: str | None,
    refresh: bool,
    offline: bool,
    form: str,
) -> None:
    """List the models that the workspace serves: chat models that can call tools and are ready now.

    The formats opencode, codex, litellm and models.dev are ready configuration for these, with no secret in it.
    """
    listing, profile, _ = _listing(world, flags, refresh, offline)
    shown = model_lists.select(
        listing.models, everything=everything, task=task, family=family, api=api, tools=tools, input=input
    )
    if form == "json":
        click.echo(json.dumps(as_json(listing, shown), indent=2))
    elif form == "names":
        click.echo("".join(f"{flat(m.id)}\n" for m in shown), nl=False)
    elif form in CLIENTS:
        from dbx_auth import calling, recipes

        who = recipes.Who(profile, listing.host)
        click.echo(recipes.FORMATS[form](shown, calling.base(listing.host, world), who))
        if form in recipes.READ_FROM_ENVIRONMENT:
            tell(f"hint: it takes the token from the environment when it starts: {recipes.START}")
    else:
        show(listing, shown, console(world))
    if not shown:
        _tell_the_nearest(listing, task, family)


def _listing(world: World, flags: Flags, refresh: bool, offline: bool) -> tuple[Listing, str, Token | None]:
    """The list, the profile it was asked for with, and the token; there is none where the catalogue answers."""
    profile = profiles.load(world, flags)
    if offline:
        return model_lists.offline(profile.host, world), profile.name, None
    token = resolve.token(profile, world)
    listing = model_lists.listing(token.host, model_lists.identity(token), token.headers, world, refresh=refresh)
    return listing, profile.name, token


def _tell_the_nearest(listing: Listing, task: str | None, family: str | None) -> None:
    """A family or task that nothing has may be mistyped."""
    from dbx_auth import catalogue

    tasks = {model.task for model in listing.models if model.task}
    said = (
        ("family", family, {*catalogue.families(), *(model.family for model in listing.models)}),
        ("task", task, {*tasks, *(task.rpartition("/")[2] for task in tasks)}),
    )
    for what, word, words in said:
        if word and word not in words and (near := model_lists.nearest(word, sorted(words))):
            tell(f"there is no {what} {word}; the nearest: {', '.join(near)}")


def as_json(listing: Listing, shown: Iterable[Model]) -> dict[str, Any]:
    return {**_head(listing), "models": [model.as_json() for model in shown]}


def _head(listing: Listing) -> dict[str, Any]:
    return {
        "version": 1,
        "host": listing.host or None,
        "source": listing.source,
        "fetched_at": None if listing.fetched_at is None else format_expiry(listing.fetched_at),
    }


def show(listing: Listing, shown: list[Model], page: Console | None) -> None:
    """A table where there is a page, aligned columns in a pipe."""
    if shown and page:
        page.print(table(shown, wide=page.width >= WIDE))
    elif shown:
        columns([[m.id, m.family, ",".join(m.apis), can(m), size(m.context)] for m in shown])
    if not shown:
        tell("no model to show")
    hidden = len(listing.models) - len(shown)
    if hidden:
        tell(f"{hidden} more with --all")


def columns(rows: Sequence[Sequence[str]]) -> None:
    """Lines of cells, each as wide as the widest above and below it."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo(flat("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()))


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
    """The list as something rich can print: a block for each family; what is a guess or not ready is dim."""
    from itertools import groupby

    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    headings = ("model", "can", "context", "output", "called through") if wide else ("model", "can", "context")
    for name in headings:
        grid.add_column(name, justify="right" if name in ("context", "output") else "left", no_wrap=name == "model")

    def cell(model: Model, text: str, fact: str) -> Text:
        is_guess = text == "-" or model.origins.get(fact) == "family default"
        return Text(flat(text), style="dim" if is_guess else "")

    for family, members in groupby(sorted(shown, key=lambda m: (m.family, m.id)), key=lambda m: m.family):
        grid.add_row()
        grid.add_row(Text(flat(family), style="bold cyan"))
        for m in members:
            abilities = [Text(flat(word), style=COLORS.get(word, "dim")) for word in can(m).split(",")]
            row = [
                Text(f"  {flat(m.id)}", style="" if m.ready else "dim"),
                Text(", ").join(abilities),
                cell(m, size(m.context), "context"),
                cell(m, size(m.output), "output"),
                Text(flat(", ".join(m.apis)), style="" if m.apis else "dim"),
            ]
            grid.add_row(*row[: len(headings)])
    return grid


# ---- one model -----------------------------------------------------------------------------------------------------


@click.command(
    "show",
    cls=Verb,
    examples=(
        "dbx-auth models show databricks-claude-sonnet-4-5",
        "dbx-auth models show databricks-gpt-5 --offline -o json",
    ),
    reads=(*TOKEN, "color"),
    exits=(4, 5, 6),
)
@click.argument("name", shell_complete=offered(offers.models))
@identity
@_asking
@output_option("text", "json")
def show_one(world: World, flags: Flags, name: str, refresh: bool, offline: bool, form: str) -> None:
    """Tell all about one model, where each fact comes from, and how to call it."""
    from dbx_auth import calling, recipes

    listing, profile, _ = _listing(world, flags, refresh, offline)
    model = model_lists.find(listing, name)
    where, who = calling.base(listing.host, world), recipes.Who(profile, listing.host)
    examples = {"curl": recipes.curl(model, where, who), "python": recipes.python(model, where, who)}
    if form == "json":
        click.echo(json.dumps({**_head(listing), "model": model.as_json(), "examples": examples}, indent=2))
        return
    page = console(world)
    rows = about(model)
    if page:
        page.print(details(rows))
    else:
        columns(rows)
    for what, example in examples.items():
        click.echo(f"\n{what}:\n")
        click.echo(flat_lines(example) if example else "nobody has said which API it speaks")


def about(model: Model) -> list[tuple[str, str, str, str]]:
    """Each fact of a model: its name, what it is, where that comes from, and for a quirk what it means."""
    from dbx_auth import catalogue

    facts = [(fact, said(getattr(model, fact)), model.origins.get(fact, ""), "") for fact in SHOWN]
    meanings = catalogue.quirks()
    origin = model.origins.get("quirks", "")
    return [*facts, *(("quirk", quirk, origin, meanings.get(quirk, "")) for quirk in model.quirks)]


def said(fact: object) -> str:
    """A fact in words."""
    match fact:
        case True:
            return "yes"
        case False:
            return "no"
        case int():
            return f"{fact:,}"
        case tuple() if hasattr(fact, "_asdict"):
            return ", ".join(f"{name} ${price:g}" for name, price in fact._asdict().items() if price is not None)
        case tuple():
            return ", ".join(fact) or "-"
    return str(fact or "-")


def details(rows: Iterable[tuple[str, str, str, str]]) -> Any:
    """The facts as something rich can print."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    last = ""
    for name, *cells in rows:
        styles = ("dim" if cells[0] == "-" else "", "dim", "")
        texts = [Text(flat(cell), style=style) for cell, style in zip(cells, styles, strict=True)]
        grid.add_row(Text("" if name == last else name, style="cyan"), *texts)
        last = name
    return grid


def flat_lines(text: str) -> str:
    return "\n".join(map(flat, text.split("\n")))


# ---- trying them ---------------------------------------------------------------------------------------------------


@click.command(
    cls=Verb,
    examples=("dbx-auth models check databricks-gpt-5 databricks-gemini-3-pro", "dbx-auth models check NAME -o json"),
    reads=TOKEN,
    exits=(4, 5, 6),
    own_exits={1: "one does not do what it is asked"},
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=offered(offers.models))
@identity_options
@output_option("text", "json")
@click.pass_context
def check(ctx: click.Context, world: World, flags: Flags, names: tuple[str, ...], form: str) -> None:
    """Send models one small call of a tool, and tell what works.

    Each is called through the API that the list says it speaks.
    """
    from dbx_auth import calling

    listing, _, token = _listing(world, flags, refresh=False, offline=False)
    chosen = [model_lists.find(listing, name) for name in names]
    where = calling.base(listing.host, world)
    outcomes: list[Outcome] = []
    for number, model in enumerate(chosen, 1):
        tell(f"{number} of {len(chosen)}: {model.id}, through {calling.preferred(model) or 'no API'}")
        outcomes.append(calling.check(model, where, token.headers if token else {}, world))
    if form == "json":
        found = [outcome._asdict() for outcome in outcomes]
        click.echo(json.dumps({"version": 1, "host": listing.host, "models": found}, indent=2))
    else:
        rows = [[o.id, o.api or "-", "works" if o.works else "fails", f"{o.seconds:.1f} s", o.said] for o in outcomes]
        columns(rows)
    ctx.exit(0 if all(outcome.works for outcome in outcomes) else 1)
