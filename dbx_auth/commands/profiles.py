"""dbx-auth profiles: the sections of .databrickscfg, and which of them is the default."""

from __future__ import annotations

import json
from typing import Any

import click

from dbx_auth import profile as profile_module
from dbx_auth.profile import FIELDS
from dbx_auth.world import World, flat, tell, without_login

from . import Verb, output_option


@click.command(
    cls=Verb,
    examples=("dbx-auth profiles", "dbx-auth profiles -o json"),
    reads=("profiles", "settings"),
    exits=(5,),
)
@output_option("text", "json")
@click.pass_obj
def profiles(world: World, form: str) -> None:
    """List the profiles of .databrickscfg."""
    found = listing(world)
    if form == "json":
        click.echo(json.dumps({"version": 1, "profiles": found}, indent=2))
        return
    if not found:
        tell(f"{world.shorten(world.config_file)} has no profiles")
    widths = [max((len(p[key]) for p in found), default=0) for key in ("name", "host")]
    for p in found:
        mark = "(default)" if p["default"] else ""
        line = f"{p['name']:<{widths[0]}}  {p['host']:<{widths[1]}}  {p['auth_type'] or ''}  {mark}"
        click.echo(flat(line.rstrip()))


def listing(world: World) -> list[dict[str, Any]]:
    """Each profile that names a host or an account; `auth_type` is what it says, or what its settings amount to."""
    sections = profile_module.read(world)
    default = profile_module.default_name(sections)
    return [
        {
            "name": name,
            "host": without_login(values.get("host", "")),
            "account_id": values.get("account_id"),
            "auth_type": values.get("auth_type") or _method(values),
            "default": name == default,
        }
        for name, values in sections.items()
        if name != "__settings__" and (values.get("host") or values.get("account_id"))
    ]


def _method(values: dict[str, str]) -> str | None:
    methods = {FIELDS[name].method for name in FIELDS.keys() & values.keys() if FIELDS[name].method}
    return "oauth-m2m" if methods == {"oauth"} else methods.pop() if len(methods) == 1 else None
