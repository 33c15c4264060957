"""Writes man/, a page for each verb, from the commands: `make man`. A test holds the pages equal to it.

click-man makes the page of a command; what it does not know of (examples, variables, exit codes) is added here, and
what roff would take for one of its own is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from pathlib import Path

import click
from click_man.man import ManPage

from dbx_auth import __version__, manual
from dbx_auth.cli import cli
from dbx_auth.commands import Verb
from dbx_auth.commands.models import Models

ROOT = Path(__file__).parent.parent
MAN = ROOT / "man"


def pages() -> dict[str, str]:
    """Every page under its name."""
    return {f"{_name(ctx)}.1": page(ctx) for ctx in contexts(root())}


def root() -> click.Context:
    return click.Context(cli, info_name="dbx-auth", **cli.context_settings)


def contexts(ctx: click.Context) -> Iterator[click.Context]:
    """That of a command, and those of all commands below it."""
    yield ctx
    for child in children(ctx):
        yield from contexts(child)


def children(ctx: click.Context) -> Iterator[click.Context]:
    """Those of the commands right below a command, in the order of its help."""
    command = ctx.command
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            if (found := command.get_command(ctx, name)) and not found.hidden:
                yield click.Context(found, info_name=name, parent=ctx)
    elif isinstance(command, Models):
        for name, word in command.words.items():
            yield click.Context(word, info_name=f"{ctx.info_name} {name}", parent=ctx.parent)


def page(ctx: click.Context) -> str:
    """The page of a command: its name, synopsis and options by click-man, all else by us. Raises TypeError for one
    that does not say what belongs on it.
    """
    command = ctx.command
    if not isinstance(command, Verb):
        raise TypeError(f"{ctx.command_path} has no examples, variables and exit codes: make it a Verb")
    made = ManPage(_name(ctx))
    made.version, made.date = f"dbx-auth {__version__}", date_of(__version__)
    made.short_help = escaped(command.get_short_help_str(limit=200).rstrip("."))
    made.synopsis = " ".join(command.collect_usage_pieces(ctx))
    options = [param.get_help_record(ctx) for param in command.get_params(ctx) if isinstance(param, click.Option)]
    made.options = [(option, escaped(help)) for option, help in filter(None, options)]
    exits = manual.exits(command.exits, command.own_exits)
    sections = {
        "DESCRIPTION": description(cleandoc(command.help or "")),
        "EXAMPLES": [".EX", *map(escaped, command.examples), ".EE"],
        "VERBS": tagged((child.command_path, escaped(_about(child.command))) for child in children(ctx)),
        "ENVIRONMENT": tagged(_variables(command)) or ["None."],
        "EXIT STATUS": tagged((code, escaped(text)) for code, text in exits.items()),
        "SEE ALSO": [see_also(ctx)],
    }
    # The synopsis is typed with spaces, where the name of the page has hyphens; and nothing is spread over the line.
    head, tags = str(made).replace(f".B {_name(ctx)}\n", f".B {ctx.command_path}\n").split(".SH OPTIONS\n")
    head = head.replace(".SH NAME", ".ad l\n.SH NAME")
    tags = re.sub(r"(?m)^\\fB(\\-\S+)\\fP(.*)$", lambda found: styled(found[1] + found[2]), tags)
    parts = {"DESCRIPTION": "", "EXAMPLES": "", "OPTIONS": tags}
    parts |= {name: "\n".join(lines) + "\n" for name, lines in sections.items() if lines}
    return head + "".join(f".SH {name}\n{text}" for name, text in parts.items())


def _name(ctx: click.Context) -> str:
    return ctx.command_path.replace(" ", "-")


def _variables(command: Verb) -> Iterator[tuple[str, str]]:
    for name in command.reads:
        yield name, ", ".join(map(whole, manual.VARIABLES[name]))


def _about(command: click.Command) -> str:
    return command.get_short_help_str(limit=200)


def date_of(version: str) -> str:
    """The day of a version, from the changelog; empty as long as it is not released."""
    found = re.search(rf"(?m)^## \[{re.escape(version)}\] - (\S+)", (ROOT / "CHANGELOG.md").read_text())
    return found[1] if found else ""


def escaped(text: str) -> str:
    """Text in which roff finds nothing to do, in ASCII."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    lines = re.sub("[^\\0-\\x7f]", lambda found: f"\\[u{ord(found[0]):04X}]", plain).split("\n")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in lines)


def description(help: str) -> list[str]:
    """The paragraphs of a help; one that begins with Click's mark for it stays in lines."""
    lines = []
    for paragraph in help.split("\n\n"):
        text = escaped(paragraph.removeprefix("\b\n"))
        lines += [".PP", ".nf", text, ".fi"] if paragraph.startswith("\b") else [".PP", text]
    return lines[1:]


def tagged(rows: Iterable[tuple[str, str]]) -> list[str]:
    """A list of terms and what each means, as roff."""
    return [line for tag, text in rows for line in (".TP", f"\\fB{escaped(tag)}\\fP", text)]


def whole(name: str) -> str:
    """A name that is not cut at the end of a line."""
    return f"\\%{escaped(name)}"


def styled(option: str) -> str:
    """Switches bold, and what follows them italic; the commas between them neither."""
    words = []
    for word in option.split():
        font = "B" if word.startswith("\\-") else "I"
        words.append(f"\\f{font}{word.rstrip(',')}\\fP{',' if word.endswith(',') else ''}")
    return " ".join(words)


def see_also(ctx: click.Context) -> str:
    """The pages of the commands above, and on the first page all others."""
    found = list(contexts(ctx))[1:] if ctx.parent is None else []
    while ctx.parent:
        ctx = ctx.parent
        found.insert(0, ctx)
    return ",\n".join(f".BR {whole(_name(each))} (1)" for each in found)


if __name__ == "__main__":
    MAN.mkdir(exist_ok=True)
    for old in MAN.glob("*.1"):
        old.unlink()
    for name, text in pages().items():
        (MAN / name).write_text(text)
