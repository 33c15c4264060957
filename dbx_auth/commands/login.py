"""dbx-auth login: ask what is missing, log in, try the credential, keep it, and name what would win over it."""

from __future__ import annotations

import sys
from dataclasses import replace

import click

from dbx_auth import hosts, login as logins, oauth, profile as profiles, resolve, share as sharing, whoami
from dbx_auth.errors import AuthError, ConfigError, UsageError
from dbx_auth.login import METHODS, Browser, Key
from dbx_auth.profile import Flags, Profile, Setting
from dbx_auth.store import AuthJson
from dbx_auth.tokens import Token
from dbx_auth.world import World, tell

from . import TOKEN, Duration, Verb, identity

_BY_ENTRA = ("azure-browser", "azure-device-code")

AUTH_TYPES = {"pat": "stored", "m2m": "oauth-m2m", "azure-cli": "azure-cli"}
"""What a method ends as; all others end as `databricks-cli`."""


@click.command(
    cls=Verb,
    examples=(
        "dbx-auth login https://adb-1.2.azuredatabricks.net",
        "dbx-auth login --method browser    # without a host: find it in the browser",
        "dbx-auth login --host https://adb-1.2.azuredatabricks.net --share",
        "dbx-auth login --with-token < token.txt",
        'printf \'%s\\n\' "$CLIENT_ID" "$CLIENT_SECRET" | dbx-auth login --method m2m',
    ),
    reads=(*TOKEN, "browser", "discovery"),
    exits=(4, 5, 6),
)
@identity
@click.option("--method", type=click.Choice(list(METHODS)), help="How; asked for on a terminal, else browser.")
@click.option("--with-token", is_flag=True, help="Read a personal access token from stdin.")
@click.option("--client-id", metavar="ID", help="Service principal of --method m2m; its secret comes from stdin.")
@click.option("--scopes", metavar="LIST", default="", help="Scopes of the token, such as sql,files.")
@click.option("--group-id", metavar="ID", default="", help="Take the role of this group.")
@click.option("--share", is_flag=True, help="Also log in the Databricks CLI and the SDKs.")
@click.option("--force", is_flag=True, help="Log in anew even if a login works.")
@click.option("--no-browser", is_flag=True, help="Show the link; the address it ends at may be pasted.")
@click.option("--timeout", type=Duration(), default="5m", show_default=True, help="Wait for the browser.")
def login(
    world: World,
    flags: Flags,
    method: str | None,
    with_token: bool,
    client_id: str | None,
    scopes: str,
    group_id: str,
    share: bool,
    force: bool,
    no_browser: bool,
    timeout: float,
) -> None:
    """Log in, and keep the credential for every program on this machine."""
    world.harden()
    method = _given_method(method, with_token, client_id)
    shared_as, flags = _shared_as(flags, share, world)
    profile, method = _profile(world, flags, method)
    anew = bool(force or with_token or client_id or share)
    profile = _with_wishes(profile, scopes, group_id, anew=anew)
    if not anew and profile.host and _reuse(profile, method, world):
        return
    method = method or _ask_method(profile, share, world)
    _check_wishes(method, share, scopes, group_id)
    logins.rehearse(world)  # what cannot be kept is told before a person is sent to the browser, not after
    if share and profile.host:
        sharing.rehearse(shared_as or _name_for(profile.host, profile, world), profile.host, world)
    browser = Browser(tell, timeout, not no_browser)
    if method == "pat":
        key = logins.with_pat(profile.host, _read_token(with_token, world))
    elif method == "m2m":
        id, secret = _read_principal(client_id or "", world)
        key = logins.with_principal(replace(oauth.blank(profile), client_id=id), secret, world)
    elif method == "browser":
        key = (logins.with_browser if profile.host else logins.with_discovery)(oauth.blank(profile), world, browser)
    else:
        key = _on_azure(method, profile, browser, world)
    key = _choose_workspace(logins.in_workspace(key, profile.workspace_id), world)
    user = whoami.user(key.token, world, account_id=str(key.fields.get("account_id") or ""))
    if share:
        key = _share(key, profile, shared_as or _name_for(key.token.host, profile, world), world)
    logins.save(key, world)
    tell(f"logged in to {key.token.host}{f' as {user}' if user else ''}")
    _name_what_wins(key.token, AUTH_TYPES.get(method, "databricks-cli"), flags, world)


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


def _shared_as(flags: Flags, share: bool, world: World) -> tuple[str, Flags]:
    """The profile to share the login as, and the flags without one that does not exist yet."""
    if share and flags.profile and flags.profile not in profiles.read(world):
        return flags.profile, flags._replace(profile="")
    return flags.profile, flags


def _name_for(host: str, profile: Profile, world: World) -> str:
    """What to call the profile of a login that nobody gave a name."""
    return sharing.default_name(host, profile.value("account_id"), profiles.read(world))


def _profile(world: World, flags: Flags, method: str | None) -> tuple[Profile, str | None]:
    """The settings with a host in them; a person is asked for one, with the last login as the default.

    A person who does not know the host may find it in the browser, which is a method; a script has to say one or the
    other.
    """
    profile = profiles.load(world, flags)
    if profile.host and (profile.origin("host") != profiles.STORED or not _interactive()):
        return profile, method
    if method == "browser" and not profile.host:
        return profile, method
    if not _interactive():
        raise UsageError("no host to log in to", hint="dbx-auth login https://<your workspace>")
    may_find = not profile.host and not method
    question = "workspace URL (none: find it in the browser)" if may_find else "workspace URL"
    default = profile.host or ("" if may_find else None)
    while True:
        word = click.prompt(question, default=default, show_default=bool(default), err=True)
        if not word:
            return profile, "browser"
        try:
            said = hosts.canonical(word)
            host = said.url + (f"?o={said.workspace_id}" if said.workspace_id else "")
            flags = flags._replace(host=host, account_id=flags.account_id or said.account_id)
            return profiles.load(world, flags), method
        except (ConfigError, UsageError) as error:
            tell(str(error))
            tell(f"hint: {error.hint}")


def _with_wishes(profile: Profile, scopes: str, group_id: str, *, anew: bool) -> Profile:
    """The settings with what the command line adds for this login, and with an account where the host is of one.

    A login made anew does not take over the role and the scopes of the one before.
    """
    before = {
        n for n in ("scopes", "group_id") if anew and n in profile.settings and profile.origin(n) == profiles.STORED
    }
    said = {"scopes": scopes, "group_id": group_id}
    if hosts.is_account(profile.host) and not profile.value("account_id"):
        if not _interactive():
            hint = f"dbx-auth login {profile.host} --account-id ID"
            raise UsageError(f"{profile.host} has many accounts, and none was named", hint=hint)
        said["account_id"] = str(click.prompt("account id", err=True)).strip()
    flags = {n: Setting(n, v, f"flag --{n.replace('_', '-')}") for n, v in said.items() if v}
    kept = {n: s for n, s in profile.settings.items() if n not in before}
    return profile._replace(settings={**kept, **flags})


def _check_wishes(method: str, share: bool, scopes: str, group_id: str) -> None:
    """Refuse what the method cannot do, rather than do less than was asked for."""
    if share and method in _BY_ENTRA:
        text = f"a login of --method {method} cannot be shared: the Databricks CLI could not renew it"
        raise UsageError(text, hint="dbx-auth login --share --method browser")
    for option, said in (("--scopes", scopes), ("--group-id", group_id)):
        if said and method not in ("browser", "m2m"):
            raise UsageError(f"{option} does not go with --method {method}", hint=f"leave out {option}")


def _ask_method(profile: Profile, share: bool, world: World) -> str:
    """How, of what this machine and this host have; a script gets the browser."""
    if not _interactive():
        return "browser"
    offered = [name for name in logins.methods(profile, world) if not (share and name in _BY_ENTRA)]
    tell("how do you want to log in?")
    for number, name in enumerate(offered, 1):
        tell(f"  {number}  {METHODS[name]}")
    choice = click.prompt("method", type=click.IntRange(1, len(offered)), default=1, err=True)
    return offered[choice - 1]


def _on_azure(method: str, profile: Profile, browser: Browser, world: World) -> Key:
    if profile.cloud != "AZURE":
        raise UsageError(
            f"{profile.host or 'no host'} is not on Azure, so --method {method} is of no use",
            hint="dbx-auth login --method browser",
        )
    if method == "azure-browser":
        return logins.with_entra_browser(profile, world, browser)
    if method == "azure-device-code":
        return logins.with_device_code(profile, world, browser)
    named = {"auth_type": Setting("auth_type", method, "flag --method")}
    return logins.with_azure_cli(resolve.token(profile._replace(settings={**profile.settings, **named}), world))


def _read_token(with_token: bool, world: World) -> str:
    """A personal access token, from stdin or typed blind; never from the command line, which every user can read."""
    if with_token:
        return world.read_line() or ""
    if not _interactive():
        raise UsageError("no terminal to ask for the personal access token", hint="dbx-auth login --with-token < file")
    return str(click.prompt("personal access token", hide_input=True, err=True))


def _read_principal(client_id: str, world: World) -> tuple[str, str]:
    """A service principal's id and secret: asked for on a terminal, else one to a line on stdin."""
    if not _interactive():
        return client_id or world.read_line() or "", world.read_line() or ""
    client_id = client_id or str(click.prompt("client id", err=True))
    return client_id, str(click.prompt("client secret", hide_input=True, err=True))


def _choose_workspace(key: Key, world: World) -> Key:
    """Ask which workspace is meant, where the host serves several and none was named."""
    if key.fields.get("workspace_id") or not key.unified:
        return key
    found = whoami.workspaces(key.token, str(key.fields["account_id"]), world)
    if len(found) == 1:
        return logins.in_workspace(key, *found)
    if not found or not _interactive():
        tell(f"{key.token.host} serves several workspaces, and this login names none; to name one:")
        tell(f"hint: dbx-auth login '{key.token.host}?o=<workspace id>'")
        return key
    tell("which workspace?")
    for number, (id, name) in enumerate(found.items(), 1):
        tell(f"  {number}  {name} ({id})")
    choice = click.prompt("workspace", type=click.IntRange(1, len(found)), default=1, err=True)
    return logins.in_workspace(key, list(found)[choice - 1])


def _share(key: Key, profile: Profile, name: str, world: World) -> Key:
    """Put the login where the official tools look.

    A refresh token can be spent once, so it rests in one place only: theirs, and our entry points to the profile.
    """
    fields = key.fields
    said = {name: str(fields.get(name) or "") for name in ("account_id", "workspace_id", "group_id")}
    values = {"host": key.token.host, **said}
    if fields["type"] == "api":
        values["token"] = str(fields["key"])
    elif fields["type"] == "m2m":
        values |= {name: str(fields[name]) for name in ("client_id", "client_secret")}
    elif key.grant:
        values["scopes"] = ",".join(s for s in key.grant.scopes if key.grant.scopes != oauth.SCOPES)
        values["auth_type"] = "databricks-cli"
    else:
        values |= {name: profile.value(name) for name in ("azure_tenant_id", "azure_workspace_resource_id")}
        values["auth_type"] = str(fields["auth_type"])
    for place in sharing.share(name, values, key.grant, world):
        tell(f"shared in {place}")
    return key._replace(fields={"type": "profile", "profile": name, "host": key.token.host}) if key.grant else key


def _reuse(profile: Profile, method: str | None, world: World) -> bool:
    """Whether a login that works is there already; if so it becomes the last login, and we say so."""
    try:
        found = resolve.token(profile, world)
        if method and not _is_by(method, found, world):
            return False
        user = whoami.user(found, world, account_id=profile.value("account_id"))
    except AuthError as error:
        world.note(f"no login to reuse: {error}")
        return False
    _remember(profile, found, world)
    tell(f"already logged in to {found.host}{f' as {user}' if user else ''}: {found.auth_type}, {found.origin}")
    tell("hint: dbx-auth login --force logs in anew")
    return True


def _is_by(method: str, found: Token, world: World) -> bool:
    """Whether this is what the method would have ended as."""
    entry = AuthJson(world).find(found.host, "oauth") if found.origin == AuthJson(world).name else None
    by_entra = bool(entry and entry.text("authority"))
    return found.auth_type == AUTH_TYPES.get(method, "databricks-cli") and by_entra == (method in _BY_ENTRA)


def _remember(profile: Profile, found: Token, world: World) -> None:
    """Make a login that rests elsewhere the last login: auth.json points to its profile, and copies no secret."""
    file = AuthJson(world)
    entry = next((e for e in file.entries() if e.host == found.host), None)
    if entry:
        chosen = {"workspace_id": profile.workspace_id} if profile.workspace_id else {}
        file.login({**entry.fields, **chosen})
    elif found.auth_type == "azure-cli" and not profile.name:
        file.login(logins.with_azure_cli(found).fields)
    elif profile.name or found.auth_type == "databricks-cli":
        file.login({"type": "profile", "profile": profile.name, "host": found.host})


def _name_what_wins(logged_in: Token, auth_type: str, flags: Flags, world: World) -> None:
    """Resolve as `token` would from now on, and say so when it does not end at the new login."""
    try:
        found = resolve.token(profiles.load(world, flags._replace(host="")), world)
    except AuthError as error:
        world.warn(f"but `dbx-auth token` fails with the settings of this shell: {error}")
        return
    same = found.value == logged_in.value or found.origin in (AuthJson(world).name, profiles.STORED, "az")
    if (found.host, found.auth_type) != (logged_in.host, auth_type) or not same:
        world.warn(f"{found.auth_type} ({found.origin}, {found.host}) wins over this login here")
