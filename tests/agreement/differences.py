"""Where dbx-auth and the official tools may differ, and why: the one table that the test and the page are made of.

What dbx-auth has to answer is what the Python SDK answers once every cause of a difference is taken out of the state.
Each row takes out one: `mend` gives the state without it, or None where the state does not have it. A row with
`refuses` in its place names states that dbx-auth will not go on with at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from . import go, wire
from .answer import FAILED, UNUSABLE, Answer
from .sides import Bench
from .state import ATTRIBUTES, CONFIG_PROFILE, Line, Login, Section, State, ignored, methods_in, plain
from .states import AZURE
from .stubs import DATABRICKS

PYTHON_ORDER = (
    *("pat", "basic", "metadata-service", "oauth-m2m", "env-oidc", "file-oidc", "github-oidc", "azure-client-secret"),
    *("github-oidc-azure", "azure-cli", "azure-devops-oidc", "databricks-cli", "google-credentials", "google-id"),
)

WRITTEN = frozenset(
    ("pat", "basic", "oauth-m2m", "env-oidc", "file-oidc", "azure-msi", "azure-client-secret")
    + ("google-credentials", "google-id")
)
"""The auth types that stand on settings that a person wrote; the others on what is found on the machine."""

PYTHON = "the Python SDK differs from Go"
OURS = "we differ from both"

FOR_GROUPS = {"oauth-m2m", "databricks-cli", "github-oidc", "azure-devops-oidc", "env-oidc", "file-oidc"}
"""The auth types whose tokens can take a group's role."""

Mend = Callable[[State], State | None]


class Difference(NamedTuple):
    """One row. `official` and `ours` say what each does; `error` is what a state that we refuse ends with."""

    group: str
    name: str
    official: str
    ours: str
    why: str
    mend: Mend | None = None
    refuses: Callable[[State], bool] | None = None
    error: str = UNUSABLE


class Likeness(NamedTuple):
    """A row for what both we and Python do, and Go does not: seen where `holds`, and one of `auth_types` answers."""

    name: str
    official: str
    ours: str
    why: str
    holds: Callable[[State], bool]
    auth_types: frozenset[str]


class Verdict(NamedTuple):
    """What dbx-auth has to answer, and the rows that made it something else than the official answer."""

    expected: Answer
    rows: tuple[str, ...]


def steps(state: State) -> Iterator[tuple[Difference, State]]:
    """The rows that apply to a state, each with the state after it; a row that refuses is the last one."""
    for row in DIFFERENCES:
        if row.refuses:
            if row.refuses(state):
                yield row, state
        elif row.mend and (mended := row.mend(state)):
            state = mended
            yield row, state


def judge(bench: Bench, state: State, theirs: Answer) -> Verdict:
    """Go through the table; `theirs` is the official answer to the state as it is."""
    rows: list[str] = []
    expected = theirs
    for row, after in steps(state):
        if row.refuses and expected.error == UNUSABLE:
            break  # the file says no before the settings do
        answer = Answer(error=row.error) if row.refuses else bench.official(after)
        if not answer.agrees(expected):
            rows.append(row.name)
        expected = answer
        if row.refuses:
            break
    return Verdict(expected, tuple(rows))


# ---- hosts ----------------------------------------------------------------------------------------------------------


def form(host: str) -> str:
    """What is odd about a host that somebody wrote, empty where nothing is."""
    scheme, _, rest = host.rpartition("://")
    name = rest.partition("/")[0].partition("?")[0]
    path = rest.partition("?")[0].partition("/")[2].rstrip("/")
    if "@" in host:
        return "user"
    if " " in host:
        return "space"
    if scheme.lower() == "http" and not name.startswith("127."):
        return "http"
    if path and path.lower() != "serving-endpoints":
        return "path"
    return ""


def place(host: str) -> str:
    """The host that dbx-auth makes of what somebody wrote, empty where it makes none."""
    return "" if form(host) else go.site(host).lower()


def has_form(kind: str) -> Callable[[State], bool]:
    return lambda state: form(state.host) == kind


def change_host(change: Callable[[str], str]) -> Mend:
    def mend(state: State) -> State | None:
        return None if change(state.host) == state.host else state.map_setting("host", change)

    return mend


def without_443(state: State) -> State | None:
    if not go.site(state.host).endswith(":443"):
        return None
    bare = go.site(state.host).removesuffix(":443")
    elsewhere = {name for name, settings in state.profiles.items() if go.site(settings.get("host", "")) == bare}
    kept = {key: login for key, login in state.cache.items() if not key.startswith(bare) and key not in elsewhere}
    mended = state.map_setting("host", lambda host: host.replace(":443", ""))
    return replace(mended, cache=kept).asked(port=":443")


# ---- the profile file -----------------------------------------------------------------------------------------------


def reread(odd: str) -> Mend:
    """Lines of that kind written as Python reads them; one that says nothing becomes one that nobody reads."""

    def mend(state: State) -> State | None:
        if not any(line.odd == odd for section in state.sections or () for line in section.lines):
            return None

        def line(section: str, old: Line) -> Line:
            return old if old.odd != odd else plain(old.key, old.value) if old.value else ignored(old)

        return state.map_lines(line)

    return mend


def merged(state: State) -> State | None:
    """Sections and keys that come twice, made one."""
    together: dict[str, dict[str, Line]] = {}
    lines = 0
    for section in state.sections or ():
        lines += len(section.lines)
        kept = together.setdefault(section.name, {})
        kept.update({line.key or line.text: line for line in section.lines})
    if not state.sections or (len(together), sum(map(len, together.values()))) == (len(state.sections), lines):
        return None
    return replace(state, sections=tuple(Section(name, tuple(kept.values())) for name, kept in together.items()))


def with_header(state: State) -> State | None:
    if not state.sections or state.sections[0].name or state.is_broken:
        return None
    if not state.sections[0].lines:
        return replace(state, sections=state.sections[1:])
    return replace(state, sections=(state.sections[0]._replace(name="DEFAULT"), *state.sections[1:]))


def without_empty_sections(state: State) -> State | None:
    kept = tuple(s for s in state.sections or () if any(not line.text.startswith("#") for line in s.lines))
    return None if state.sections is None or len(kept) == len(state.sections) else replace(state, sections=kept)


# ---- which settings apply -------------------------------------------------------------------------------------------

NEVER_BESIDE_PROFILE = {"workspace_id", "account_id", "auth_type", "discovery_url", "token_audience", "cloud"}


def no_file_for_flag(state: State) -> bool:
    return "profile" in state.said and state.sections is None


def reserved_without_file(state: State) -> bool:
    return state.sections is None and state.named_profile == "__settings__"


def flags_contradict(state: State) -> bool:
    theirs = place(state.profiles.get(state.said.get("profile", ""), {}).get("host", ""))
    said = place(state.said.get("host", ""))
    return bool("profile" in state.said and theirs and said) and theirs != said


def without_foreign_profile(state: State) -> State | None:
    name = state.env.get(CONFIG_PROFILE, "")
    theirs, said = place(state.profiles.get(name, {}).get("host", "")), place(state.said.get("host", ""))
    if "profile" in state.said or not theirs or not said or theirs == said or state.is_broken:
        return None
    return state.without_env([CONFIG_PROFILE])


def without_other_methods(state: State) -> State | None:
    """Only what completes the profile of --profile stays in the environment."""
    own = methods_in(state.profiles.get(state.said.get("profile", ""), {}))
    foreign = {name for name in state.from_env if ATTRIBUTES[name].tag and ATTRIBUTES[name].tag not in own}
    if "profile" not in state.said or not own or not foreign:
        return None
    return state.without_env(v for name in foreign for v in ATTRIBUTES[name].env)


def profile_before_env(state: State) -> State | None:
    """What the Databricks CLI 1.7 makes of --profile: see `ProfileAuthLoaders` in its libs/databrickscfg."""
    section = state.profiles.get(state.said.get("profile", ""))
    given = {name: value for name, value in state.from_env.items() if name not in ("profile", "config_file")}
    if not section or not given:
        return None
    allowed = {name: value for name, value in given.items() if name not in NEVER_BESIDE_PROFILE}
    before = {name: v for name, v in allowed.items() if not ATTRIBUTES[name].tag and name != "host"}
    settings = {**allowed, **section, **before, **state.said}
    mended = state.without_env(v for name in given for v in ATTRIBUTES[name].env)
    return replace(mended, said={name: value for name, value in settings.items() if name in ATTRIBUTES})


def msi_is_off(state: State) -> State | None:
    said = [*state.from_env.items(), *(pair for section in state.sections or () for pair in section.read.items())]
    if not any(name == "azure_use_msi" and value not in go.TRUE for name, value in said):
        return None
    return state.map_setting("azure_use_msi", lambda value: value if value in go.TRUE else "")


def homeless_credential(state: State) -> bool:
    """A whole credential for Databricks, and no host."""
    s = state.settings
    found = {
        "pat": "token" in s,
        "basic": "username" in s and "password" in s,
        "oauth-m2m": "client_id" in s and "client_secret" in s,
        "file-oidc": "oidc_token_filepath" in s,
    }
    named = s.get("auth_type")
    homeless = {name for name, is_whole in found.items() if is_whole and named in (None, name)}
    return not state.host and bool(homeless & FOR_GROUPS if "group_id" in s else homeless)


def token_of_two_words(state: State) -> bool:
    named = state.settings.get("auth_type", "pat")
    is_asked = state.host and named == "pat" and "group_id" not in state.settings
    return bool(is_asked) and " " in state.settings.get("token", "")


def failed(state: State, auth_types: set[str]) -> State | None:
    """Let these fail; where a group is wanted, those that cannot take its role are not even asked."""
    asked = auth_types & FOR_GROUPS if "group_id" in state.settings else auth_types
    return state.asked(fails=state.how.fails | asked) if asked else None


def homeless_service(state: State) -> State | None:
    found = {"metadata-service": "metadata_service_url", "google-id": "google_service_account"}
    is_asked = not state.host
    homeless = {name for name, setting in found.items() if setting in state.settings and is_asked}
    return failed(state, homeless)


def unknown_auth_type(state: State) -> bool:
    return state.settings.get("auth_type", "pat") not in go.ORDER


# ---- the Databricks CLI's logins ------------------------------------------------------------------------------------


def host_key(state: State) -> str:
    host, account = go.site(state.host), state.settings.get("account_id")
    return f"{host}/oidc/accounts/{account}" if account and host.startswith("https://accounts.") else host


def serves(login: Login | None) -> bool:
    return login is not None and (login.life > 0 or login.refresh.startswith("r-"))


def named_default(state: State) -> State | None:
    return state.say(profile="DEFAULT") if state.profile == "DEFAULT" and not state.named_profile else None


def unread(state: State) -> State | None:
    """A broken file, where no setting of it is wanted, is as good as none."""
    return replace(state, sections=()) if state.is_broken and state.host and not state.profile else None


def with_cli(state: State) -> State | None:
    if not state.cache or DATABRICKS in state.programs:
        return None
    return replace(state, programs=state.programs | {DATABRICKS})


def nameless_without_file(state: State) -> State | None:
    if state.sections is not None or not state.named_profile or not state.host:
        return None
    return state.without_env([CONFIG_PROFILE])


def at_home(state: State) -> State | None:
    """The login of a profile that is for another host is not there."""
    own = state.profiles.get(state.profile, {}).get("host", "")
    if state.profile not in state.cache or place(own) == place(state.host):
        return None
    return replace(state, cache={key: login for key, login in state.cache.items() if key != state.profile})


def login_of_a_principal(state: State) -> State | None:
    named = state.profiles.get(state.profile, {})
    if state.settings.get("auth_type") != "databricks-cli" or not {"client_id", "client_secret"} <= named.keys():
        return None
    return state.map_lines(lambda section, line: None if line.key in ("client_id", "client_secret") else line)


def login_for_group(state: State) -> State | None:
    if "group_id" not in state.settings:
        return None
    kept = {key: login for key, login in state.cache.items() if "://" not in key}
    return replace(state, cache=kept).asked(no_group=True)


def own_profiles_only(state: State) -> State | None:
    """Without a profile in use, only the profiles of this host that have a login are there."""
    if state.profile or not state.host or state.is_broken:
        return None
    there = tuple(
        s
        for s in state.sections or ()
        if place(s.read.get("host", "")) != place(state.host) or (s.name or "DEFAULT") in state.cache
    )
    return None if state.sections is None or len(there) == len(state.sections) else replace(state, sections=there)


def from_host_key(state: State) -> State | None:
    """A login that is kept under the host, put where the CLI looks for it."""
    login = state.cache.get(host_key(state))
    found = [n for n, s in state.profiles.items() if place(s.get("host", "")) == place(state.host) and n in state.cache]
    name = state.profile or (found[0] if len(found) == 1 else "")
    own = state.cache.get(name)
    if not name or login is None or serves(own) or (own and not serves(login)):
        return None
    return replace(state, cache={**state.cache, name: login})


# ---- the chain ------------------------------------------------------------------------------------------------------


def unnamed(state: State) -> bool:
    return "auth_type" not in state.settings


def by_order(state: State) -> State | None:
    return state.asked(walk=PYTHON_ORDER) if unnamed(state) and len(state.methods) > 1 else None


def on_and_on(state: State) -> State | None:
    return state.asked(walk=PYTHON_ORDER) if unnamed(state) and not state.how.walk else None


def in_order_of_go(state: State) -> State | None:
    return state.asked(walk=go.ORDER) if unnamed(state) else None


def to_the_first_refusal(state: State) -> State | None:
    return state.asked(final=WRITTEN) if unnamed(state) else None


def declining(*auth_types: str, when: Callable[[State], bool]) -> Mend:
    def mend(state: State) -> State | None:
        if "group_id" in state.settings and state.settings.get("auth_type") in auth_types:
            return None  # that it cannot take a group is said first
        return state.asked(declines=state.how.declines | set(auth_types)) if when(state) else None

    return mend


def failing(auth_type: str, when: Callable[[State], bool]) -> Mend:
    def mend(state: State) -> State | None:
        return failed(state, {auth_type}) if when(state) else None

    return mend


def as_go(auth_type: str, when: Callable[[State], bool]) -> Mend:
    def mend(state: State) -> State | None:
        return state.asked(as_go=state.how.as_go | {auth_type}) if when(state) else None

    return mend


def on_github(state: State) -> bool:
    return all(state.env.get(f"ACTIONS_ID_TOKEN_REQUEST_{name}") for name in ("URL", "TOKEN"))


def on_devops(state: State) -> bool:
    names = "PLANID JOBID TEAMPROJECTID HOSTTYPE ACCESSTOKEN TEAMFOUNDATIONCOLLECTIONURI".split()
    return all(state.env.get(f"SYSTEM_{name}") for name in names)


def elsewhere_on_azure(state: State) -> State | None:
    on_azure = go.site(state.host).removesuffix(":443").endswith(go.AZURE_DOMAINS)
    if "azure_workspace_resource_id" not in state.settings or not state.host or on_azure:
        return None
    return state.asked(azure_host=AZURE)


def found_for_github(state: State) -> State | None:
    wanted = {"azure_workspace_resource_id", "azure_client_id"}
    is_asked = on_github(state)
    if state.host or not wanted <= state.settings.keys() or not is_asked:
        return None
    if "azure_tenant_id" not in state.settings:
        return failed(state, {"github-oidc-azure"})
    return state.asked(azure_host=AZURE)


def az_has_no_login(state: State) -> bool:
    return "az-logged-out" in state.programs and go.is_azure(state)


def lost_on_account_host(state: State) -> State | None:
    """What Python stumbles over on an account console whose account nobody says."""
    if not go.site(state.host).startswith("https://accounts.") or "account_id" in state.settings:
        return None
    lost = set() if on_github(state) else {"github-oidc"}
    return state.asked(declines=state.how.declines | lost, no_account=True)


def account_wide(on: Callable[[State], bool]) -> Callable[[State], bool]:
    return lambda state: on(state) and bool(state.host) and "client_id" not in state.settings


def by_rule(state: State) -> State | None:
    """The OIDC document's address said outright, where the host's metadata does not tell it."""
    host = go.site(state.host)
    name = host.lower().partition("://")[2].partition(":")[0]
    settings = state.settings
    if "discovery_url" in settings or (name != wire.OLD and (name != wire.ACCOUNT or "account_id" in settings)):
        return None
    return state.say(discovery_url=f"{host}/oidc/.well-known/oauth-authorization-server")


def without_id_token(state: State) -> State | None:
    """ID tokens that somebody named and that are not there."""
    found = {
        "env-oidc": "oidc_token_env" in state.settings and not state.env.get(state.settings["oidc_token_env"]),
        "file-oidc": "oidc_token_filepath" in state.settings and not state.files.get("id.jwt"),
    }
    missing = {name for name, is_missing in found.items() if is_missing and state.host}
    return failed(state, missing)


DIFFERENCES = (
    Difference(
        PYTHON,
        "empty section",
        "Python takes `[dev]` with nothing in it for a profile.",
        "It is no profile, as for Go.",
        "A profile that says nothing is a mistake that should be heard of.",
        without_empty_sections,
    ),
    Difference(
        PYTHON,
        "key in capitals",
        "Python reads `Token = x` as `token`.",
        "Keys keep their case, as for Go and the CLI: `Token` is none that we know.",
        "The CLI writes the file, so its reader decides what is in it.",
        reread("case"),
    ),
    Difference(
        PYTHON,
        "quoted value",
        'Python keeps the quotes of `token = "x"` in the value.',
        "Quotes around a value are dropped, as by Go and the CLI.",
        "The CLI writes the file, so its reader decides what is in it.",
        reread("quotes"),
    ),
    Difference(
        PYTHON,
        "comment behind a value",
        "Python takes `token = x # mine` whole.",
        "` #` and ` ;` begin a comment, as for Go and the CLI.",
        "The CLI writes the file, so its reader decides what is in it.",
        reread("comment"),
    ),
    Difference(
        PYTHON,
        "empty value",
        "In Python `token =` counts as a way to log in, and stands in the way of another.",
        "It is as if the line were not there, as for Go.",
        "Nobody logs in with nothing.",
        reread("empty"),
    ),
    Difference(
        PYTHON,
        "section or key twice",
        "Python stops with an error.",
        "It is one section, and the last value wins, as for Go and the CLI.",
        "The CLI writes the file, so its reader decides what is in it.",
        merged,
    ),
    Difference(
        PYTHON,
        "values before the first section",
        "Python stops with an error.",
        "They belong to `DEFAULT`, as for Go and the CLI.",
        "The CLI writes the file, so its reader decides what is in it.",
        with_header,
    ),
    Difference(
        PYTHON,
        "`ARM_USE_MSI=false`",
        "In Python any text is true, so that `false` counts as a way to log in.",
        "False is false, as for Go.",
        "Whoever says no does not mean yes.",
        msi_is_off,
    ),
    Difference(
        OURS,
        "`--profile` and no file",
        "The SDKs look for other credentials.",
        "An error that names the file.",
        "Whoever names a profile wants that one, and not whoever else may be logged in.",
        refuses=no_file_for_flag,
    ),
    Difference(
        OURS,
        "`__settings__` and no file",
        "The SDKs pass over the name as over any other without a file.",
        "An error: it is never a profile.",
        "The name does not become right when the file goes away.",
        refuses=reserved_without_file,
    ),
    Difference(
        OURS,
        "`--profile` and `--host` contradict",
        "The SDKs send the profile's secrets to the other host.",
        "An error that names both hosts, as of the CLI's `auth` commands.",
        "A secret stays with the host that it was written down with.",
        refuses=flags_contradict,
    ),
    Difference(
        OURS,
        "`--host` and a profile of the environment",
        "The SDKs send the secrets of `DATABRICKS_CONFIG_PROFILE` to the host of the argument.",
        "A profile for another host is left out.",
        "A secret stays with the host that it was written down with.",
        without_foreign_profile,
    ),
    Difference(
        OURS,
        "`--profile` and another way in the environment",
        "The CLI and the SDKs refuse: more than one authorization method.",
        "The environment completes how a profile logs in, and adds no other way.",
        "A stray variable must not stand in the way of what was asked for by name.",
        without_other_methods,
    ),
    Difference(
        OURS,
        "`--profile` beats the environment",
        "In the SDKs the environment wins over a profile given as an argument, value by value.",
        "The profile wins for its host and how it logs in, as in the CLI since 1.7.",
        "Our flags are those of the CLI, and so is what they mean.",
        profile_before_env,
    ),
    Difference(
        OURS,
        "host with a user name",
        "Go drops it; Python does so too, and breaks the host where it has a port.",
        "Refused.",
        "A password in a host ends in logs, and it logs nobody in.",
        refuses=has_form("user"),
    ),
    Difference(
        OURS,
        "host with white space",
        "The SDKs send requests to it.",
        "Refused.",
        "No such host exists; it was pasted wrongly.",
        refuses=has_form("space"),
    ),
    Difference(
        OURS,
        "host without TLS",
        "The SDKs send secrets over http.",
        "Refused, but for loopback.",
        "Whoever is on the way could read them.",
        refuses=has_form("http"),
    ),
    Difference(
        OURS,
        "host with a path",
        "Go drops the path, Python keeps it and breaks its later requests.",
        "Refused, but for `/serving-endpoints`, which is dropped.",
        "A page's address is a mistake, and what was meant is not ours to guess.",
        refuses=has_form("path"),
    ),
    Difference(
        OURS,
        "host in capitals",
        "The SDKs keep the case of a host.",
        "Lower case.",
        "Names in DNS have no case, and a login is found by its host.",
        change_host(lambda host: host if form(host) else host.lower()),
    ),
    Difference(
        PYTHON,
        "host with a query",
        "Python keeps `?o=123` in the host, and breaks its later requests.",
        "It is dropped, and names the workspace, as for Go.",
        "It is what a browser shows.",
        change_host(lambda host: host.partition("?")[0]),
    ),
    Difference(
        PYTHON,
        "host with `/serving-endpoints`",
        "Python keeps the path, and breaks its later requests.",
        "It is dropped, as Go drops any path.",
        "It is the address that model clients are given.",
        change_host(lambda host: host.partition("/serving-endpoints")[0]),
    ),
    Difference(
        PYTHON,
        "host with port 443",
        "Python takes the port away.",
        "It stays, as in Go.",
        "Cached logins are found by the host as Go writes it.",
        without_443,
    ),
    Difference(
        PYTHON,
        "host without metadata",
        "Python's OAuth fails where `/.well-known/databricks-config` is not there or names no account.",
        "The endpoints are where they have always been, as for Go.",
        "Older workspaces and private links have no such page.",
        by_rule,
    ),
    Difference(
        PYTHON,
        "unknown auth type",
        "Python says that nothing is configured.",
        "An error that names the auth types there are, as of Go.",
        "A typing error should not look like a missing login.",
        refuses=unknown_auth_type,
    ),
    Difference(
        OURS,
        "credential without a host",
        "The SDKs say that nothing is configured.",
        "An error that says which credential has no host.",
        "One line in a shell's profile is missing, and one should be told which.",
        refuses=homeless_credential,
        error=FAILED,
    ),
    Difference(
        OURS,
        "token of two words",
        "The SDKs send whatever is there.",
        "Refused.",
        "No token has a space in it, and no server would say what is wrong.",
        refuses=token_of_two_words,
        error=FAILED,
    ),
    Difference(
        PYTHON,
        "`DEFAULT` is a profile's name",
        "Python asks the CLI for a login of the host when DEFAULT is used because nobody names a profile.",
        "The login under `DEFAULT` counts, as for Go.",
        "The CLI keeps its logins under the names of profiles.",
        named_default,
    ),
    Difference(
        OURS,
        "broken profile file that is not in use",
        "The CLI gives no login while a line of the file cannot be understood.",
        "A login under the host is taken; `-v` tells of the line.",
        "Nothing in the file was asked for.",
        unread,
    ),
    Difference(
        OURS,
        "no Databricks CLI installed",
        "The SDKs run `databricks auth token`, and have no login without the program.",
        "The CLI's logins are read where they lie.",
        "A container that is given the file needs no program beside it.",
        with_cli,
    ),
    Difference(
        OURS,
        "a profile's name and no profile file",
        "The SDKs ask the CLI for a login of that profile, which it does not know.",
        "A login under the host is taken.",
        "The host is all that there is to go by.",
        nameless_without_file,
    ),
    Difference(
        OURS,
        "a profile's login and another host",
        "The SDKs send the profile's access token to whatever `DATABRICKS_HOST` says.",
        "A profile's login is used for the profile's own host only.",
        "A token stays with the host that it is for.",
        at_home,
    ),
    Difference(
        OURS,
        "`auth_type = databricks-cli` beside a client secret",
        "The CLI gives no token for a profile that has a client id and secret.",
        "Its login is used, as the auth type says.",
        "It was asked for by name.",
        login_of_a_principal,
    ),
    Difference(
        OURS,
        "a login and a group",
        "The SDKs never ask the CLI for a token where `group_id` is set.",
        "A login under the profile's name is used; one under the host, which is nobody's in particular, is not.",
        "The CLI can log in to a profile with a group's role.",
        login_for_group,
    ),
    Difference(
        OURS,
        "profiles of a host that have no login",
        "The CLI refuses to choose among profiles of one host, and takes the only one even if it has no login.",
        "Only profiles with a login count.",
        "There is nothing to choose where one is logged in.",
        own_profiles_only,
    ),
    Difference(
        OURS,
        "login under the host alone",
        "The CLI looks under the profile's name only.",
        "Without a login there that works, the one under the profile's host is taken.",
        "It is a login for the same host, which older versions of the CLI kept there.",
        from_host_key,
    ),
    Difference(
        OURS,
        "several ways to log in",
        "The SDKs refuse: more than one authorization method configured.",
        "The order decides, and `status` warns.",
        "`ARM_*` and `GOOGLE_*` are there for other tools; a stray variable must not lock a person out.",
        by_order,
    ),
    Difference(
        PYTHON,
        "the chain goes on",
        "In Python one strategy that fails ends the chain, and one is taken before it has a token.",
        "The next is asked, as by Go; taken is what gives a token.",
        "A broken login of one kind should not hide a good one of another.",
        on_and_on,
    ),
    Difference(
        PYTHON,
        "the order of the chain",
        "Python asks the Azure CLI before the Databricks CLI, and tries metadata services and OIDC earlier.",
        "The order of Go and the CLI.",
        "The same machine should be the same person in every tool, and the CLI is what people look at.",
        in_order_of_go,
    ),
    Difference(
        PYTHON,
        "`azure-msi`",
        "Python has no such strategy.",
        "A managed identity is used, as by Go.",
        "It is how a program on Azure logs in.",
        as_go(
            "azure-msi",
            lambda state: (
                "azure_use_msi" in state.settings
                or ("group_id" in state.settings and state.settings.get("auth_type") == "azure-msi")
            ),
        ),
    ),
    Difference(
        PYTHON,
        "GitHub without a client id",
        "Python does not try.",
        "The account's own federation policy is asked, as by Go.",
        "Such policies need no service principal.",
        as_go("github-oidc", account_wide(on_github)),
    ),
    Difference(
        PYTHON,
        "Azure DevOps without a client id",
        "Python does not try.",
        "The account's own federation policy is asked, as by Go.",
        "Such policies need no service principal.",
        as_go("azure-devops-oidc", account_wide(on_devops)),
    ),
    Difference(
        PYTHON,
        "account console without an account id",
        "Python stumbles over the missing id where it has no login to ask for.",
        "There is no login, as for Go.",
        "One thing that is missing should not hide the others.",
        lost_on_account_host,
    ),
    Difference(
        PYTHON,
        "Google off Google Cloud",
        "Python tries Google's credentials on every host.",
        "Only for workspaces on Google Cloud, as Go.",
        "No other workspace takes them.",
        declining(
            "google-credentials",
            "google-id",
            when=lambda state: not go.is_gcp(state),
        ),
    ),
    Difference(
        OURS,
        "service without a host",
        "The SDKs pass over a metadata service or a Google service account that has no host to be for.",
        "It is told among what failed.",
        "One line in a shell's profile is missing, and one should be told which.",
        homeless_service,
    ),
    Difference(
        PYTHON,
        "Azure credentials off Azure",
        "Python stumbles over `ARM_*`: its whole chain ends with an AttributeError.",
        "They are passed over, as by Go.",
        "Terraform needs these variables, whatever the workspace.",
        declining("azure-client-secret", "github-oidc-azure", when=lambda state: not go.is_azure(state)),
    ),
    Difference(
        OURS,
        "Azure under another name",
        "With a resource id and a host outside Azure's domains the SDKs do not know whom to ask for a token.",
        "Azure's public cloud is asked.",
        "A workspace may have a name of its own, and the resource id says that it is Azure.",
        elsewhere_on_azure,
    ),
    Difference(
        OURS,
        "GitHub, Azure and no host",
        "The SDKs do not try `github-oidc-azure` without a host.",
        "Azure is asked for the host of the resource id, as it is with a client secret; that needs `ARM_TENANT_ID`.",
        "The resource id says which workspace it is.",
        found_for_github,
    ),
    Difference(
        PYTHON,
        "`az` is not logged in",
        "Python passes over it without a word.",
        "It is told among what failed, as by Go.",
        "`az login` may be all that is missing.",
        failing("azure-cli", az_has_no_login),
    ),
    Difference(
        PYTHON,
        "ID token that is not there",
        "Python passes over a named variable or file that is not there.",
        "An error that names it, as of Go.",
        "Whoever names it expects it.",
        without_id_token,
    ),
    Difference(
        OURS,
        "refused settings end the chain",
        "Go goes on to the next way when a client secret is wrong.",
        "What a person wrote and what is refused ends the search; only what was found on the machine is passed over.",
        "Silently becoming somebody else is worse than an error.",
        to_the_first_refusal,
    ),
)


LIKE_PYTHON = (
    Likeness(
        "no tenant id",
        "Go does not try an Entra service principal without `ARM_TENANT_ID`.",
        "The workspace is asked for its tenant.",
        "It knows, and one variable fewer has to be right.",
        lambda state: "azure_tenant_id" not in state.settings,
        frozenset(("azure-client-secret", "github-oidc-azure")),
    ),
    Likeness(
        "ID token file that ends with a line break",
        "Go sends the line break along.",
        "It is no part of the token.",
        "Most editors and `echo` write one.",
        lambda state: state.files.get("id.jwt", "").endswith("\n"),
        frozenset(("file-oidc",)),
    ),
)
