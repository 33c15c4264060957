"""Writes the tables of docs/*.md whose truth is in the code: `make tables`. A test holds the pages equal to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from dbx_auth import aadsts, entra, sources
from dbx_auth.profile import FIELDS

DOCS = Path(__file__).parent


def order() -> list[list[str]]:
    """The sources as they are asked."""
    rows = [["", "source", "needs", "when it fails", "group"]]
    for number, name in enumerate(sources.ORDER, 1):
        source = sources.load(name)
        needs = ", ".join(f"`{setting}`" for setting in source.needs) or "nothing that is set"
        after = "the next is asked" if source.ambient else "stops"
        rows.append([str(number), f"[{name}](#{name})", needs, after, "yes" if name in sources.FOR_GROUPS else ""])
    return rows


def settings() -> list[list[str]]:
    """The settings and where they are read from."""
    rows = [["setting, and key in `.databrickscfg`", "environment", "shown as"]]
    for name, field in FIELDS.items():
        keys = ", ".join(f"`{key}`" for key in field.keys or (name,))
        variables = ", ".join(f"`{variable}`" for variable in field.env) or "none"
        rows.append([keys, variables, "`***`" if field.secret else "it is"])
    return rows


def codes() -> list[list[str]]:
    """What Entra ID refuses with."""
    rows = [["code", "means", "what to do"]]
    return rows + [[f"AADSTS{code}", means, hint] for code, (means, hint) in aadsts.MEANINGS.items()]


def clouds() -> list[list[str]]:
    rows = [["`ARM_ENVIRONMENT`", "who logs people in", "service management", "resource manager"]]
    return rows + [[f"`{name}`", *(f"`{place}`" for place in cloud)] for name, cloud in entra.CLOUDS.items()]


TABLES: dict[str, Callable[[], list[list[str]]]] = {
    "order": order,
    "settings": settings,
    "codes": codes,
    "clouds": clouds,
}


def filled(page: str) -> str:
    """A page with its tables as the code has them now."""

    def table(match: re.Match[str]) -> str:
        head, *rows = TABLES[match[1]]()
        lines = [head, ["---"] * len(head), *rows]
        written = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"<!-- table: {match[1]} -->\n{written}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, page, flags=re.S)


if __name__ == "__main__":
    for path in DOCS.glob("*.md"):
        path.write_text(filled(path.read_text()))
