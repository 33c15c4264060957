"""dbx-auth login: ask what is missing, log in, try the credential, keep it, and name what would win over it."""

from __future__ import annotations

import sys

import click

from dbx_auth import hosts, login as logins, profile as profiles, resolve
from dbx_auth.errors import AuthError, ConfigError, UsageError
from dbx_auth.login import Key
from dbx_auth.profile import Flags, Profile
from dbx_auth.store import AuthJson
from dbx_auth.tokens import Token
from dbx_auth.world import World, tell

from . import Duration, identity

METHODS = {
    "browser": "in the browser, as yourself",
    "pat": "with a personal access token",
    "m2m": "as a service principal, with client id and secret",
}
"""The ways to log in, the one for most people first."""

AUTH_TYPES = {"browser": "databricks-cli", "pat": "stored", "m2m": "oauth-m2m"}


@click.command()
@identity
@click.option("--method", type=click.Choice(list(METHODS)), help="How; asked for on a terminal, else browser.")
@click.option("--with-token", is_flag=True, help="Read a personal access token from stdin.")
@click.option("--client-id", metavar="ID", help="Service principal of --method m2m; its secret comes from stdin.")
@click.option("--force", is_flag=True, help="Log in anew even if a login works.")
@click.option("--no-browser", is_flag=True, help="Show the link; the address it ends at may be pasted.")
@click.option("--timeout", type=Duration(), default="5m", show_default=True, help="Wait for the browser.")
def login(
    world: World,
    flags: Flags,
    method: str | None,
    with_token: bool,
    client_id: str | None,
    force: bool,
    no_browser: bool,
    timeout: float,
) -> None:
    """Log in, and keep the credential for every program on this machine.

    \b
    dbx-auth login https://adb-1.2.azuredatabricks.net
    dbx-auth login --with-token < token.txt
    printf '%s\\n' ID SECRET | dbx-auth login --method m2m
    """
    method = _given_method(method, with_token, client_id)
    profile = _profile(world, flags)
    if not (force or with_token or client_id) and profile.host and _reuse(profile, method, world):
        return
    method = method or (_ask_method() if _interactive() else "browser")
    if method == "pat":
        key = logins.with_pat(profile.host, _read_token(with_token, world))
    elif method == "m2m":
        key = logins.with_principal(
            profile.host, profile.value("account_id"), *_read_principal(client_id, world), world
        )
    else:
        key = _with_browser(profile, world, timeout, open_browser=not no_browser)
    user = logins.whoami(key.token, world)
    logins.save(key, world)
    tell(f"logged in to {profile.host}{f' as {user}' if user else ''}")
    _name_what_wins(profile.host, AUTH_TYPES[method], flags, world)


def _interactive() -> bool:
    """Whether there is a person to ask."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _given_method(method: str | None, with_token: bool, client_id: str | None) -> str | None:
    if with_token and client_id:
        raise UsageError("--with-token does not go with --client-id", hint="leave out one of them")
    implied = "pat" if with_token else "m2m" if client_id else None
    if method and implied and method != implied:
        option = "--with-token" if with_token else "--client-id"
        raise UsageError(f"{option} does not go with --method {method}", hint=f"leave out --method {method}")
    return method or implied


def _profile(world: World, flags: Flags) -> Profile:
    """The settings with a host in them; a person is asked for one, with the last login as the default.

    A script has to say which host it means.
    """
    profile = profiles.load(world, flags)
    if profile.host and profile.origin("host") != profiles.STORED:
        return profile
    if not _interactive():
        if profile.host:
            return profile
        raise UsageError("no host to log in to", hint="dbx-auth login https://<your workspace>")
    while True:
        word = click.prompt("workspace URL", default=profile.host or None, err=True)
        try:
            return profiles.load(world, flags._replace(host=hosts.canonical(word).url))
        except (ConfigError, UsageError) as error:
            tell(f"{error}\nhint: {error.hint}")


def _ask_method() -> str:
    tell("how do you want to log in?")
    for number, text in enumerate(METHODS.values(), 1):
        tell(f"  {number}  {text}")
    choice = click.prompt("method", type=click.IntRange(1, len(METHODS)), default=1, err=True)
    return list(METHODS)[choice - 1]


def _read_token(with_token: bool, world: World) -> str:
    """A personal access token, from stdin or typed blind; never from the command line, which every user can read."""
    if with_token:
        return world.read_line() or ""
    if not _interactive():
        raise UsageError("no terminal to ask for the personal access token", hint="dbx-auth login --with-token < file")
    return str(click.prompt("personal access token", hide_input=True, err=True))


def _read_principal(client_id: str | None, world: World) -> tuple[str, str]:
    """A service principal's id and secret: asked for on a terminal, else one to a line on stdin."""
    if not _interactive():
        return client_id or world.read_line() or "", world.read_line() or ""
    client_id = client_id or str(click.prompt("client id", err=True))
    return client_id, str(click.prompt("client secret", hide_input=True, err=True))


def _with_browser(profile: Profile, world: World, timeout: float, *, open_browser: bool) -> Key:
    return logins.with_browser(
        profile.host,
        profile.value("account_id"),
        world,
        tell,
        scopes=tuple(profile.value("scopes").replace(",", " ").split()),
        timeout=timeout,
        open_browser=open_browser,
    )


def _reuse(profile: Profile, method: str | None, world: World) -> bool:
    """Whether a login that works is there already; if so it becomes the last login, and we say so."""
    try:
        found = resolve.token(profile, world)
        if method and found.auth_type != AUTH_TYPES[method]:
            return False
        user = logins.whoami(found, world)
    except AuthError as error:
        world.note(f"no login to reuse: {error}")
        return False
    _remember(profile, found, world)
    tell(f"already logged in to {found.host}{f' as {user}' if user else ''}: {found.auth_type}, {found.origin}")
    tell("hint: dbx-auth login --force logs in anew")
    return True


def _remember(profile: Profile, found: Token, world: World) -> None:
    """Make a login that rests elsewhere the last login: auth.json points to its profile, and copies no secret."""
    file = AuthJson(world)
    entry = next((e for e in file.entries() if e.host == found.host), None)
    if entry:
        file.login(entry.fields)
    elif profile.name or found.auth_type == "databricks-cli":
        file.login({"type": "profile", "profile": profile.name, "host": found.host})


def _name_what_wins(host: str, auth_type: str, flags: Flags, world: World) -> None:
    """Resolve as `token` would from now on, and say so when it does not end at the new login."""
    try:
        found = resolve.token(profiles.load(world, flags._replace(host="")), world)
    except AuthError as error:
        world.warn(f"but `dbx-auth token` fails with the settings of this shell: {error}")
        return
    ours = found.origin in (AuthJson(world).name, profiles.STORED)
    if (found.host, found.auth_type) != (host, auth_type) or not ours:
        world.warn(f"{found.auth_type} ({found.origin}, {found.host}) wins over this login here")
