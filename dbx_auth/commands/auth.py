"""dbx-auth auth: the `auth` commands of the Databricks CLI, in its words, for fingers and scripts that know them.

Each is one of our verbs under another name, or shows in the CLI's shape what a verb of ours has found. What a token
does not need, as all that `login` brings, is imported by who needs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from dbx_auth import hosts, profile as profiles, resolve, whoami
from dbx_auth.errors import AuthError, UsageError
from dbx_auth.profile import FIELDS, STORED, Flags, Profile, Setting
from dbx_auth.shim.answers import document
from dbx_auth.shim.deadline import within
from dbx_auth.shim.pflag import IGNORED
from dbx_auth.tokens import Demand, Token
from dbx_auth.world import World, flat, tell

from . import TOKEN, WHO, Duration, Group, identity, identity_options
from .profiles import listing
from .status import CHECK_BUDGET, report

AT_ONCE = 16
"""How many profiles are tried at the same time."""


def _log_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take what the CLI is told everywhere about its logs, of which there are none here."""
    for name in sorted(IGNORED):
        function = click.option(f"--{name}", expose_value=False, hidden=True)(function)
    return click.option("--debug", is_flag=True, expose_value=False, hidden=True)(function)


@click.group(
    cls=Group,
    examples=(
        "dbx-auth auth token --host https://adb-1.2.azuredatabricks.net",
        "dbx-auth auth profiles --skip-validate -o json",
        "dbx-auth auth describe --profile DEV",
        "dbx-auth auth switch --profile DEV",
    ),
    reads=(*TOKEN, "output"),
    exits=(4, 5, 6),
)
@_log_options
@identity_options
def auth(world: World, flags: Flags) -> None:
    """Do as `databricks auth` does."""
    click.get_current_context().meta["flags"] = flags


def _form(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    said = value or ctx.obj.env.get("DATABRICKS_OUTPUT_FORMAT", "")
    return "json" if said.lower() == "json" else "text"


_formats = click.Choice(["text", "json"], case_sensitive=False)
_output = click.option(
    "-o", "--output", "form", type=_formats, callback=_form, help="Format.  [default: DATABRICKS_OUTPUT_FORMAT, text]"
)


@auth.command(
    "token",
    examples=("dbx-auth auth token --profile DEV", "dbx-auth auth token DEV --force-refresh -o text"),
    reads=TOKEN,
    exits=(4, 5, 6),
)
@_log_options
@identity
@click.option("--force-refresh", is_flag=True, help="Renew the token even if it is fresh.")
@click.option("--timeout", type=Duration(), metavar="TIME", help="Give up after a while, such as 30s.")
@click.option("-o", "--output", "form", type=_formats, default="json", show_default=True, help="Format.")
def _token(world: World, flags: Flags, force_refresh: bool, timeout: float | None, form: str) -> None:
    """Print a token and when it ends."""

    def ask(world: World) -> Token:
        return resolve.token(profiles.load(world, flags), world, Demand(force=force_refresh))

    found = within(timeout, ask, world) if timeout else ask(world)
    click.echo(found.value if form == "text" else document(found))


# ---- profiles --------------------------------------------------------------------------------------------------------


@auth.command(
    "profiles",
    examples=("dbx-auth auth profiles", "dbx-auth auth profiles --skip-validate -o json"),
    reads=(*TOKEN, "output"),
    exits=(5,),
)
@_log_options
@click.option("--skip-validate", is_flag=True, help="Do not try whether they log in.")
@_output
@click.pass_obj
def _profiles(world: World, skip_validate: bool, form: str) -> None:
    """List the profiles, and whether each logs in."""
    rows = listing(world)
    valid = {} if skip_validate else _valid([row["name"] for row in rows], world)
    sections = profiles.read(world)
    found = [_described(row, sections[row["name"]], valid.get(row["name"], False)) for row in rows]
    if form == "json":
        click.echo(json.dumps({"profiles": found or None}, indent=2))
        return
    cells = [("Name", "Host", "Valid")]
    for row in found:
        name = row["name"] + (" (Default)" if row.get("default") else "")
        cells.append((name, row.get("host", ""), "YES" if row["valid"] else "NO"))
    widths = [max(len(cell[column]) for cell in cells) for column in (0, 1)]
    for first, second, third in cells:
        click.echo(flat(f"{first:<{widths[0]}}  {second:<{widths[1]}}  {third}"))


def _described(row: dict[str, Any], section: dict[str, str], valid: bool) -> dict[str, Any]:
    """A profile in the fields that the CLI has for it; what is not set is not there."""
    optional = {"host": row["host"], "account_id": row["account_id"], "workspace_id": section.get("workspace_id")}
    return {
        "name": row["name"],
        **{name: value for name, value in optional.items() if value},
        "cloud": hosts.cloud(row["host"]).lower(),
        "auth_type": row["auth_type"] or "",
        "valid": valid,
        **({"default": True} if row["default"] else {}),
    }


def _valid(names: list[str], world: World) -> dict[str, bool]:
    """Whether the workspace of each profile knows who comes with it, asked of all at once."""
    from concurrent.futures import ThreadPoolExecutor

    resolve.load()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(names, pool.map(lambda name: _logs_in(name, world), names), strict=True))


def _logs_in(name: str, world: World) -> bool:
    def ask(world: World) -> str:
        profile = profiles.load(world, Flags(name))
        return whoami.user(resolve.token(profile, world), world, account_id=profile.value("account_id"))

    try:
        within(CHECK_BUDGET, ask, world._replace(warn=world.note))
    except AuthError as error:
        world.note(f"{name}: {error}")
        return False
    return True


# ---- describe --------------------------------------------------------------------------------------------------------


@auth.command(
    "describe",
    examples=("dbx-auth auth describe --profile DEV", "dbx-auth auth describe -o json"),
    reads=(*TOKEN, "output"),
    exits=(5,),
)
@_log_options
@identity
@click.option("--sensitive", is_flag=True, help="Show secrets, too.")
@_output
def _describe(world: World, flags: Flags, sensitive: bool, form: str) -> None:
    """Tell who you are, and with which settings."""
    profile = profiles.load(world, flags)
    found = report(profile, world)
    settings = [s._replace(value=s.value if sensitive else _masked(s)) for s in profile.settings.values()]
    click.echo(
        json.dumps(_as_object(found, profile, settings), indent=2)
        if form == "json"
        else "\n".join(map(flat, _as_lines(found, profile, settings)))
    )


def _masked(setting: Setting) -> str:
    return "********" if FIELDS[setting.name].secret else setting.shown


def _as_lines(found: dict[str, Any], profile: Profile, settings: list[Setting]) -> list[str]:
    lines = [] if found["authenticated"] else [f"Unable to authenticate: {found['warnings'][0]}", "-----"]
    rows = {"Host": found["host"], "Account ID": profile.value("account_id"), "User": found["user"]}
    rows |= {"Authenticated with": found["auth_type"]}
    rows |= {"Token storage": found["origin"]} if found["auth_type"] == "databricks-cli" else {}
    if found["authenticated"]:
        lines += [*(f"{name}: {value}" for name, value in rows.items() if value), "-----"]
    lines.append("Current configuration:")
    for setting in settings:
        mark, but = "✓", ""
        if _is_of_another(setting, found["auth_type"]):
            mark, but = "~", f", not used for auth type {found['auth_type']}"
        lines.append(f"  {mark} {setting.name}: {setting.value} (from {' '.join(_source(setting))}{but})")
    return [*lines, *([f"  ✓ profile: {profile.name}"] if profile.name else [])]


def _as_object(found: dict[str, Any], profile: Profile, settings: list[Setting]) -> dict[str, Any]:
    configuration = {
        s.name: {
            "value": s.value,
            "source": dict(zip(("name", "type"), _source(s), strict=True)),
            "auth_type_mismatch": _is_of_another(s, found["auth_type"]),
        }
        for s in settings
    }
    details = {"auth_type": found["auth_type"] or "", "host": found["host"] or "", "configuration": configuration}
    if profile.name:
        details["profile"] = profile.name
    good = found["authenticated"]
    said = {"username": found["user"] or ""} if good else {"error": found["warnings"][0]}
    account_id = profile.value("account_id")
    stored = {"token_storage": {"location": found["origin"]}} if found["auth_type"] == "databricks-cli" else {}
    return {
        "status": "success" if good else "error",
        **said,
        **({"account_id": account_id} if account_id else {}),
        "details": details,
        **stored,
    }


def _is_of_another(setting: Setting, auth_type: str | None) -> bool:
    """Whether a setting logs in in another way than the one that was taken."""
    method = FIELDS[setting.name].method
    return bool(method and auth_type) and method not in (auth_type, str(auth_type).partition("-")[0])


def _source(setting: Setting) -> tuple[str, str]:
    """Where a setting comes from, as the CLI says it: a name and what that is."""
    kind, _, name = setting.origin.partition(" ")
    if setting.origin == STORED:
        return "dbx-auth", "login"
    types = {"env": "environment variable", "file": "config file", "flag": "flag"}
    return name.rpartition(" [")[0] if kind == "file" else name, types.get(kind, "")


# ---- env, switch, login, logout --------------------------------------------------------------------------------------


@auth.command(
    "env",
    examples=("dbx-auth auth env --profile DEV",),
    reads=WHO,
    exits=(5,),
)
@_log_options
@identity
def _env(world: World, flags: Flags) -> None:
    """Print the settings as variables, in JSON."""
    profile = profiles.load(world, flags)
    variables = {FIELDS[s.name].env[0]: s.value for s in profile.settings.values() if FIELDS[s.name].env}
    if profile.name:
        variables["DATABRICKS_CONFIG_PROFILE"] = profile.name
    click.echo(json.dumps({"env": variables}, indent=2))


@auth.command(
    "switch",
    examples=("dbx-auth auth switch --profile DEV",),
    reads=WHO,
    exits=(5, 6),
)
@_log_options
@identity_options
def _switch(world: World, flags: Flags) -> None:
    """Make a profile the default of the file."""
    if not flags.profile:
        raise UsageError("please specify a profile using --profile", hint="dbx-auth auth switch --profile DEV")
    from dbx_auth import share

    share.set_default(flags.profile, world)
    tell(f'Default profile set to "{flags.profile}".')
    chosen = profiles.load(world)
    if chosen.name != flags.profile:
        what = f"profile {chosen.name}" if chosen.name else f"the last login, {chosen.host},"
        world.warn(f"{what} still comes first here (hint: dbx-auth -p {flags.profile} login)")


@auth.command(
    "login",
    examples=("dbx-auth auth login --host https://adb-1.2.azuredatabricks.net --profile DEV",),
    reads=(*TOKEN, "browser", "discovery"),
    exits=(4, 5, 6),
)
@_log_options
@identity
@click.option("--timeout", type=Duration(), default="5m", show_default=True, help="Wait for the browser.")
@click.option("--scopes", metavar="LIST", default="", help="Scopes of the token, such as sql,files.")
@click.pass_context
def _login(ctx: click.Context, world: World, flags: Flags, timeout: float, scopes: str) -> None:
    """Log in with the browser, also the SDKs."""
    from .login import login

    ctx.invoke(login, **flags._asdict(), method="browser", share=True, timeout=timeout, scopes=scopes)


@auth.command(
    "logout",
    examples=("dbx-auth auth logout --profile DEV",),
    reads=WHO,
    exits=(5, 6),
)
@_log_options
@identity
@click.option("--auto-approve", is_flag=True, help="Has no effect: nobody is asked.")
@click.pass_context
def _logout(ctx: click.Context, world: World, flags: Flags, auto_approve: bool) -> None:
    """Forget a login, also for the SDKs."""
    from .logout import logout

    ctx.invoke(logout, **flags._asdict(), share=True)
