"""Writes the tables of docs/*.md whose truth is in the code: `make tables`. A test holds the pages equal to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from dbx_auth import aadsts, catalogue, entra, fixes, sources
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


def families() -> list[list[str]]:
    """What a model of each family can do that the catalogue has no row for."""
    rows = [["family", "called through", "tools", "reasoning", "input", "context", "output", "offered"]]
    for facts in catalogue.defaults():
        rows.append([f"`{facts.family}`", *_facts(facts)])
    return rows


def known_models() -> list[list[str]]:
    """The models that the catalogue has a row for."""
    rows = [["model", "family", "called through", "tools", "reasoning", "input", "context", "output", "offered"]]
    for id, facts in sorted(catalogue.everything().items()):
        rows.append([f"`{id}`", facts.family, *_facts(facts)])
    return rows


def _facts(facts: catalogue.Facts) -> list[str]:
    words = {True: "yes", False: "no", None: ""}
    sizes = [f"{size:,}" if size else "" for size in (facts.context, facts.output)]
    able = [words[facts.tools], words[facts.reasoning], ", ".join(facts.input)]
    return [", ".join(facts.apis), *able, *sizes, "yes" if facts.default and facts.tools else "no"]


def quirks() -> list[list[str]]:
    """What endpoints refuse or do differently, and the families that do."""
    rows = [["quirk", "means", "of"]]
    every = [*catalogue.defaults(), *catalogue.everything().values()]
    for quirk, meaning in catalogue.quirks().items():
        who = dict.fromkeys(facts.family for facts in every if quirk in facts.quirks)
        rows.append([f"`{quirk}`", meaning, ", ".join(who)])
    return rows


def rows_of_fixes() -> list[list[str]]:
    """What each family refuses or answers oddly, and what becomes of it."""
    rows = [["fix", "for", "through", "what the client sent", "what came back", "what we make of it", "seen"]]
    for row in fixes.TABLE:
        answered = row.answered if "`" in row.answered else f"`{row.answered}`"
        told = [cell.replace("|", r"\|") for cell in (row.sent, answered, row.instead)]
        rows.append([f"`{row.name}`", _who(row.quirk), ", ".join(row.apis), *told, _link(row.evidence)])
    return rows


def _who(quirk: str) -> str:
    """The families with a quirk, and the models that have it without their family."""
    if not quirk:
        return "all"
    of_families = [facts.family for facts in catalogue.defaults() if quirk in facts.quirks]
    models = [
        f"`{id}`"
        for id, facts in catalogue.everything().items()
        if quirk in facts.quirks and facts.family not in of_families
    ]
    return ", ".join([*of_families, *models])


def _link(url: str) -> str:
    """A link under the name of its issue, else under that of its site."""
    thread = re.match(r"https://github\.com/[^/]+/([^/]+)/(?:issues|pull)/(\d+)$", url)
    site = re.match(r"https://(?:github\.com/[^/]+/)?([^/]+)", url)
    label = "#".join(thread.groups()) if thread else site[1] if site else url
    return f"[{label}]({url})"


TABLES: dict[str, Callable[[], list[list[str]]]] = {
    "order": order,
    "settings": settings,
    "codes": codes,
    "clouds": clouds,
    "families": families,
    "models": known_models,
    "quirks": quirks,
    "fixes": rows_of_fixes,
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
