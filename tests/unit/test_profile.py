"""Which settings apply: flag, environment, profile, last login, value by value, and each with its origin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from machine import HOST, OTHER, Machine

from dbx_auth import profile as profiles
from dbx_auth.errors import ConfigError, Unavailable, UsageError
from dbx_auth.profile import FIELDS, LARGEST, STORED, Flags, Profile, Setting, load

FILE = "file ~/.databrickscfg"
CFG = f"""
[DEFAULT]
host = {HOST}
token = default-token

[PROD]
host = {OTHER}
token = prod-token
account_id = prod-account

[M2M]
host = {OTHER}
client_id = prod-client
client_secret = prod-secret

[HOSTLESS]
token = hostless-token

[LOGIN]
host = {OTHER}

[EMPTY]
"""


@pytest.fixture
def cfg(machine: Machine) -> Machine:
    """A machine with a profile file."""
    machine.write(machine.config, CFG)
    return machine


def values(profile: Profile) -> dict[str, str]:
    return {name: setting.value for name, setting in profile.settings.items()}


def origins(profile: Profile) -> dict[str, str]:
    return {name: setting.origin for name, setting in profile.settings.items()}


def last_login(machine: Machine, host: str = OTHER, **fields: str) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": "k", "host": host, **fields}})


# ---- the table of settings -----------------------------------------------------------------------------------------

VARIABLES = [(variable, name) for name, field in FIELDS.items() for variable in field.env]
KEYS = [(key, name) for name, field in FIELDS.items() for key in field.keys or (name,)]


def sample(name: str) -> str:
    return HOST if name == "host" else f"some {name}"


@pytest.mark.parametrize(("variable", "name"), VARIABLES)
def test_every_variable_of_the_table_is_read(machine: Machine, variable: str, name: str) -> None:
    machine.env[variable] = sample(name)
    assert load(machine.world).settings == {name: Setting(name, sample(name), f"env {variable}")}


@pytest.mark.parametrize("variable", [variable for variable, _ in VARIABLES])
def test_an_empty_variable_is_not_set(cfg: Machine, variable: str) -> None:
    cfg.env[variable] = ""
    assert load(cfg.world) == Profile(
        "DEFAULT",
        {
            "host": Setting("host", HOST, f"{FILE} [DEFAULT]"),
            "token": Setting("token", "default-token", f"{FILE} [DEFAULT]"),
        },
    )


@pytest.mark.parametrize(("key", "name"), KEYS)
def test_every_key_of_the_table_is_read_from_a_profile(machine: Machine, key: str, name: str) -> None:
    machine.write(machine.config, f"[A]\n{key} = {sample(name)}\n")
    settings = load(machine.world, Flags(profile="A")).settings
    assert settings == {name: Setting(name, sample(name), f"{FILE} [A]")}


def test_the_variables_are_those_of_the_databricks_sdks() -> None:
    theirs = """
        DATABRICKS_HOST DATABRICKS_ACCOUNT_ID DATABRICKS_WORKSPACE_ID DATABRICKS_GROUP_ID DATABRICKS_CLOUD
        DATABRICKS_DISCOVERY_URL DATABRICKS_AUTH_TYPE DATABRICKS_TOKEN DATABRICKS_USERNAME DATABRICKS_PASSWORD
        DATABRICKS_CLIENT_ID DATABRICKS_CLIENT_SECRET DATABRICKS_TOKEN_AUDIENCE DATABRICKS_OIDC_TOKEN_ENV
        DATABRICKS_OIDC_TOKEN_FILEPATH DATABRICKS_OIDC_TOKEN_FILE DATABRICKS_METADATA_SERVICE_URL
        DATABRICKS_GOOGLE_SERVICE_ACCOUNT GOOGLE_CREDENTIALS DATABRICKS_AZURE_RESOURCE_ID ARM_USE_MSI ARM_CLIENT_ID
        ARM_CLIENT_SECRET ARM_TENANT_ID ARM_ENVIRONMENT
    """
    assert {variable for variable, _ in VARIABLES} == set(theirs.split())


def test_what_is_secret_is_flagged() -> None:
    assert {name for name, field in FIELDS.items() if field.secret} == {
        "token",
        "password",
        "client_secret",
        "metadata_service_url",
        "google_credentials",
        "azure_client_secret",
    }


def test_of_two_variables_for_one_setting_the_first_wins(machine: Machine) -> None:
    machine.env |= {"DATABRICKS_OIDC_TOKEN_FILE": "second", "DATABRICKS_OIDC_TOKEN_FILEPATH": "first"}
    assert load(machine.world).value("oidc_token_filepath") == "first"


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("token_audience", "audience", "token_audience"),
        ("oidc_token_filepath", "databricks_id_token_filepath", "oidc_token_filepath"),
    ],
)
def test_of_the_keys_that_the_sdks_disagree_about_both_are_read(
    machine: Machine, first: str, second: str, name: str
) -> None:
    machine.write(machine.config, f"[A]\n{second} = second\n{first} = first\n[B]\n{second} = second\n{first} =\n")
    assert load(machine.world, Flags(profile="A")).value(name) == "first"
    assert load(machine.world, Flags(profile="B")).value(name) == "second"


def test_a_key_nobody_knows_is_passed_over(machine: Machine) -> None:
    machine.write(machine.config, f"[DEFAULT]\nhost = {HOST}\nTOKEN = x\ncluster_id = y\nfuture = z\n")
    assert values(load(machine.world)) == {"host": HOST}


# ---- value by value ------------------------------------------------------------------------------------------------


def test_a_machine_with_nothing_has_no_settings(machine: Machine) -> None:
    assert load(machine.world) == Profile("", {})


def test_the_default_profile_applies_when_nothing_else_does(cfg: Machine) -> None:
    found = load(cfg.world)
    assert (found.name, found.by_login) == ("DEFAULT", False)
    assert values(found) == {"host": HOST, "token": "default-token"}
    assert set(origins(found).values()) == {f"{FILE} [DEFAULT]"}


def test_a_flag_beats_the_environment_and_the_environment_a_profile_of_the_environment(cfg: Machine) -> None:
    cfg.env |= {
        "DATABRICKS_CONFIG_PROFILE": "PROD",
        "DATABRICKS_HOST": "env.cloud.databricks.com",
        "DATABRICKS_TOKEN": "env-token",
        "DATABRICKS_AUTH_TYPE": "pat",
    }
    found = load(cfg.world, Flags(host=OTHER + "/"))
    assert found.name == "PROD"
    assert found.settings == {
        "host": Setting("host", OTHER, "flag --host"),
        "token": Setting("token", "env-token", "env DATABRICKS_TOKEN"),
        "account_id": Setting("account_id", "prod-account", f"{FILE} [PROD]"),
        "auth_type": Setting("auth_type", "pat", "env DATABRICKS_AUTH_TYPE"),
    }


def test_a_host_that_is_typed_leaves_out_a_profile_of_the_environment_for_another(cfg: Machine) -> None:
    """Its token was given with its own host, and somebody may have mistyped this one."""
    cfg.env["DATABRICKS_CONFIG_PROFILE"] = "PROD"
    found = load(cfg.world, Flags(host="flag.cloud.databricks.com"))
    assert (found.name, values(found)) == ("", {"host": "https://flag.cloud.databricks.com"})


def test_a_profile_of_the_environment_fills_what_the_environment_leaves_open(cfg: Machine) -> None:
    cfg.env |= {"DATABRICKS_CONFIG_PROFILE": "PROD", "DATABRICKS_ACCOUNT_ID": "env-account"}
    assert values(load(cfg.world)) == {"host": OTHER, "token": "prod-token", "account_id": "env-account"}


def test_the_account_id_flag_beats_everything_and_chooses_nothing(cfg: Machine) -> None:
    cfg.env["DATABRICKS_ACCOUNT_ID"] = "env-account"
    for flags, name in ((Flags(account_id="a"), "DEFAULT"), (Flags(profile="PROD", account_id="a"), "PROD")):
        found = load(cfg.world, flags)
        assert found.name == name
        assert found.settings["account_id"] == Setting("account_id", "a", "flag --account-id")


# ---- an explicit profile -------------------------------------------------------------------------------------------


def test_an_explicit_profile_beats_the_environment(cfg: Machine) -> None:
    cfg.env |= {
        "DATABRICKS_CONFIG_PROFILE": "M2M",
        "DATABRICKS_HOST": "env.cloud.databricks.com",
        "DATABRICKS_TOKEN": "env-token",
    }
    found = load(cfg.world, Flags(profile="PROD"))
    assert found.name == "PROD"
    assert values(found) == {"host": OTHER, "token": "prod-token", "account_id": "prod-account"}
    assert set(origins(found).values()) == {f"{FILE} [PROD]"}


@pytest.mark.parametrize(
    "name", ["account_id", "workspace_id", "auth_type", "discovery_url", "token_audience", "cloud"]
)
def test_beside_an_explicit_profile_the_environment_never_routes(cfg: Machine, name: str) -> None:
    cfg.env[FIELDS[name].env[0]] = "env"
    assert load(cfg.world, Flags(profile="LOGIN")).settings == {"host": Setting("host", OTHER, f"{FILE} [LOGIN]")}


@pytest.mark.parametrize("name", ["group_id", "azure_environment"])
def test_beside_an_explicit_profile_the_environment_keeps_what_is_neither_host_nor_login(
    machine: Machine, name: str
) -> None:
    machine.write(machine.config, f"[A]\nhost = {HOST}\n{name} = file\n")
    machine.env[FIELDS[name].env[0]] = "env"
    assert load(machine.world, Flags(profile="A")).value(name) == "env"


def test_the_environment_fills_the_gaps_of_an_explicit_profile(cfg: Machine) -> None:
    cfg.env |= {"DATABRICKS_TOKEN": "env-token", "DATABRICKS_HOST": HOST}
    assert values(load(cfg.world, Flags(profile="LOGIN"))) == {"host": OTHER, "token": "env-token"}
    assert values(load(cfg.world, Flags(profile="HOSTLESS"))) == {"host": HOST, "token": "hostless-token"}


def test_the_environment_completes_the_login_of_an_explicit_profile(machine: Machine) -> None:
    machine.write(machine.config, f"[CI]\nhost = {HOST}\nclient_id = ci\n")
    machine.env["DATABRICKS_CLIENT_SECRET"] = "env-secret"
    assert values(load(machine.world, Flags(profile="CI"))) == {
        "host": HOST,
        "client_id": "ci",
        "client_secret": "env-secret",
    }


@pytest.mark.parametrize(
    ("profile", "variables"),
    [
        ("M2M", {"DATABRICKS_TOKEN": "canary"}),
        ("M2M", {"DATABRICKS_USERNAME": "canary", "DATABRICKS_PASSWORD": "canary"}),
        ("PROD", {"DATABRICKS_CLIENT_ID": "canary", "DATABRICKS_CLIENT_SECRET": "canary"}),
        ("PROD", {"ARM_CLIENT_ID": "canary", "ARM_TENANT_ID": "canary"}),
    ],
)
def test_the_environment_never_logs_in_in_place_of_an_explicit_profile(
    cfg: Machine, profile: str, variables: dict[str, str]
) -> None:
    # The Databricks CLI refuses such a mixture (more than one authorization method). To take the environment's
    # token, and to send it to the profile's host at that, would be to become someone else in silence.
    cfg.env |= variables
    assert "canary" not in values(load(cfg.world, Flags(profile=profile))).values()


def test_an_explicit_profile_beats_the_last_login_and_our_own_preference(cfg: Machine) -> None:
    last_login(cfg, HOST)
    cfg.write(Path(cfg.world.config_dir, "config.toml"), 'profile = "M2M"')
    assert load(cfg.world, Flags(profile="PROD")).name == "PROD"


@pytest.mark.parametrize("host", [OTHER, OTHER.upper(), "prod.cloud.databricks.com/", f"{OTHER}/?o=1"])
def test_a_profile_and_its_own_host_may_both_be_named(cfg: Machine, host: str) -> None:
    found = load(cfg.world, Flags(profile="PROD", host=host))
    assert found.settings["host"] == Setting("host", OTHER, "flag --host")
    assert found.value("token") == "prod-token"


def test_a_profile_and_another_host_contradict_each_other(cfg: Machine) -> None:
    with pytest.raises(UsageError, match=f"^profile PROD is for {OTHER}, not for {HOST}$") as contradiction:
        load(cfg.world, Flags(profile="PROD", host=HOST))
    assert "--profile" in contradiction.value.hint
    assert "--host" in contradiction.value.hint


def test_a_profile_without_a_host_takes_the_one_that_is_named(cfg: Machine) -> None:
    assert values(load(cfg.world, Flags(profile="HOSTLESS", host=HOST))) == {"host": HOST, "token": "hostless-token"}


# ---- which profile -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MISSING", "EMPTY", "prod", "PROD ", "", "host"])
@pytest.mark.parametrize("by", ["flag", "env"])
def test_a_profile_that_is_not_there_is_an_error_that_names_those_that_are(cfg: Machine, name: str, by: str) -> None:
    if by == "env":
        cfg.env["DATABRICKS_CONFIG_PROFILE"] = name
    if not name:
        assert load(cfg.world).name == "DEFAULT", "an empty name is no name"
        return
    before = cfg.files()
    with pytest.raises(ConfigError) as missing:
        load(cfg.world, Flags(profile=name if by == "flag" else ""))
    assert str(missing.value) == (
        f"~/.databrickscfg has no profile {name}; it has: DEFAULT, PROD, M2M, HOSTLESS, LOGIN"
    )
    assert missing.value.hint == "dbx-auth profiles"
    assert cfg.files() == before


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "[__settings__]\ndefault_profile = X\n"])
def test_where_there_are_no_profiles_an_explicit_one_leads_to_login(machine: Machine, text: str | None) -> None:
    if text is not None:
        machine.write(machine.config, text)
    with pytest.raises(ConfigError, match="has no profile PROD; it has: none$") as missing:
        load(machine.world, Flags(profile="PROD"))
    assert missing.value.hint == "dbx-auth login"


def test_without_a_file_a_profile_of_the_environment_is_no_error(machine: Machine) -> None:
    # As in the SDKs: an image may set the name, and the secrets come as variables.
    machine.env |= {"DATABRICKS_CONFIG_PROFILE": "PROD", "DATABRICKS_HOST": HOST, "DATABRICKS_TOKEN": "t"}
    found = load(machine.world)
    assert (found.name, values(found)) == ("PROD", {"host": HOST, "token": "t"})


@pytest.mark.parametrize("by", ["flag", "env", "default_profile", "config.toml"])
def test_settings_is_a_reserved_section_and_no_profile(machine: Machine, by: str) -> None:
    machine.write(machine.config, "[__settings__]\ndefault_profile = __settings__\nhost = h\n")
    if by == "env":
        machine.env["DATABRICKS_CONFIG_PROFILE"] = "__settings__"
    if by == "config.toml":
        machine.write(Path(machine.world.config_dir, "config.toml"), 'profile = "__settings__"')
    with pytest.raises(ConfigError, match="^__settings__ is a reserved section of ~/.databrickscfg, not a profile$"):
        load(machine.world, Flags(profile="__settings__" if by == "flag" else ""))


def test_default_profile_beats_default(cfg: Machine) -> None:
    cfg.write(cfg.config, f"[__settings__]\ndefault_profile = PROD\n{CFG}")
    assert load(cfg.world).name == "PROD"


@pytest.mark.parametrize("text", ["", "default_profile =", "default_profile =  ", "auth_storage = plaintext"])
def test_without_a_default_profile_it_is_default(cfg: Machine, text: str) -> None:
    cfg.write(cfg.config, f"[__settings__]\n{text}\n{CFG}")
    assert load(cfg.world).name == "DEFAULT"


@pytest.mark.parametrize("name", ["GONE", "EMPTY"])
def test_a_default_profile_that_is_gone_is_an_error(cfg: Machine, name: str) -> None:
    cfg.write(cfg.config, f"[__settings__]\ndefault_profile = {name}\n{CFG}")
    with pytest.raises(ConfigError, match=f"has no profile {name}; it has: DEFAULT"):
        load(cfg.world)


@pytest.mark.parametrize("text", ["", "[DEFAULT]\n", "[DEFAULT]\n[A]\nhost = h\n", "[A]\nhost = h\n"])
def test_without_a_default_section_there_is_silently_no_profile(machine: Machine, text: str) -> None:
    machine.write(machine.config, text)
    assert load(machine.world) == Profile("", {})


@pytest.mark.parametrize("by", ["flag", "env"])
def test_default_named_and_empty_is_an_error(machine: Machine, by: str) -> None:
    machine.write(machine.config, "[DEFAULT]\n[A]\nhost = h\n")
    if by == "env":
        machine.env["DATABRICKS_CONFIG_PROFILE"] = "DEFAULT"
    with pytest.raises(ConfigError, match="has no profile DEFAULT; it has: A$"):
        load(machine.world, Flags(profile="DEFAULT" if by == "flag" else ""))


def test_nobody_inherits_from_default(cfg: Machine) -> None:
    assert load(cfg.world, Flags(profile="HOSTLESS")).host == ""


def test_the_file_may_be_elsewhere(machine: Machine) -> None:
    machine.write(machine.home / "x" / "cfg", CFG)
    for path in ("~/x/cfg", str(machine.home / "x" / "cfg")):
        machine.env["DATABRICKS_CONFIG_FILE"] = path
        assert origins(load(machine.world, Flags(profile="LOGIN"))) == {"host": "file ~/x/cfg [LOGIN]"}


# ---- when the file is not read -------------------------------------------------------------------------------------

METHODS = sorted(name for name, field in FIELDS.items() if field.method and field.env)


@pytest.mark.parametrize("name", ["host", *METHODS])
def test_a_host_or_any_login_in_the_environment_leaves_the_file_unread(machine: Machine, name: str) -> None:
    machine.write(machine.config, b"not even \xff text")
    machine.env[FIELDS[name].env[0]] = sample(name)
    found = load(machine.world)
    assert (found.name, list(found.settings)) == ("", [name])


def test_a_host_flag_leaves_the_file_unread(machine: Machine) -> None:
    machine.write(machine.config, b"not even \xff text")
    assert values(load(machine.world, Flags(host=HOST))) == {"host": HOST}


@pytest.mark.parametrize("name", sorted(n for n, f in FIELDS.items() if f.env and not f.method and n != "host"))
def test_a_variable_that_is_no_login_leaves_the_file_in_force(cfg: Machine, name: str) -> None:
    cfg.env[FIELDS[name].env[0]] = "env"
    assert values(load(cfg.world)) == {"host": HOST, "token": "default-token", name: "env"}


def test_a_profile_that_is_named_is_read_whatever_the_environment_says(cfg: Machine) -> None:
    cfg.env |= {"DATABRICKS_TOKEN": "env-token", "DATABRICKS_CONFIG_PROFILE": "PROD"}
    assert values(load(cfg.world)) == {"host": OTHER, "token": "env-token", "account_id": "prod-account"}


# ---- the last login ------------------------------------------------------------------------------------------------


def test_the_last_login_decides_when_nothing_else_says_which_host(cfg: Machine) -> None:
    last_login(cfg, OTHER, account_id="a")
    assert load(cfg.world) == Profile(
        "", {"host": Setting("host", OTHER, STORED), "account_id": Setting("account_id", "a", STORED)}, by_login=True
    )


def test_the_last_login_beats_default_profile(cfg: Machine) -> None:
    cfg.write(cfg.config, f"[__settings__]\ndefault_profile = M2M\n{CFG}")
    last_login(cfg, HOST)
    assert values(load(cfg.world)) == {"host": HOST}


def test_our_own_preference_beats_the_last_login_and_default_profile(cfg: Machine) -> None:
    cfg.write(cfg.config, f"[__settings__]\ndefault_profile = M2M\n{CFG}")
    cfg.write(Path(cfg.world.config_dir, "config.toml"), '# mine\nprofile = "PROD"\n')
    last_login(cfg, HOST)
    found = load(cfg.world)
    assert (found.name, found.by_login, found.host) == ("PROD", False, OTHER)


@pytest.mark.parametrize("variable", ["DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CONFIG_PROFILE"])
def test_the_environment_beats_our_own_preference(cfg: Machine, variable: str) -> None:
    cfg.write(Path(cfg.world.config_dir, "config.toml"), 'profile = "GONE"\n')
    cfg.env[variable] = {"DATABRICKS_HOST": HOST, "DATABRICKS_CONFIG_PROFILE": "LOGIN"}.get(variable, "t")
    assert load(cfg.world).name in ("", "LOGIN")


def test_a_preference_that_is_gone_is_an_error(cfg: Machine) -> None:
    cfg.write(Path(cfg.world.config_dir, "config.toml"), 'profile = "GONE"\n')
    with pytest.raises(ConfigError, match="has no profile GONE"):
        load(cfg.world)


@pytest.mark.parametrize("text", ["", "profile = ''", "profile = 3", "profile = ['A']", "min_ttl = 60", "# x"])
def test_a_config_toml_without_a_preference_says_nothing(cfg: Machine, text: str) -> None:
    cfg.write(Path(cfg.world.config_dir, "config.toml"), text)
    assert load(cfg.world).name == "DEFAULT"


@pytest.mark.parametrize(
    "text", ["profile = ", "[", b"\xff", b"\x00", "x = " + "[" * 100_000, "x = " + "1" * 5_000, "x = 2026-13-45"]
)
def test_a_config_toml_that_is_none_is_named(cfg: Machine, text: str | bytes) -> None:
    cfg.write(Path(cfg.world.config_dir, "config.toml"), text)
    before = cfg.files()
    with pytest.raises(ConfigError, match=r"^~/\.config/dbx-auth/config\.toml is not ") as damaged:
        load(cfg.world)
    assert damaged.value.hint
    assert cfg.files() == before


def test_a_last_login_that_points_to_a_profile_is_that_profile(cfg: Machine) -> None:
    last_login(cfg, OTHER, type="profile", profile="PROD")
    found = load(cfg.world)
    assert (found.name, found.by_login) == ("PROD", True)
    assert origins(found)["token"] == f"{FILE} [PROD]"


def test_a_last_login_that_points_to_a_profile_that_is_gone_is_an_error(cfg: Machine) -> None:
    last_login(cfg, OTHER, type="profile", profile="GONE")
    with pytest.raises(ConfigError, match="has no profile GONE"):
        load(cfg.world)


@pytest.mark.parametrize("variable", ["DATABRICKS_HOST", "DATABRICKS_CONFIG_PROFILE"])
def test_the_last_login_says_nothing_where_the_environment_says_which_host(cfg: Machine, variable: str) -> None:
    last_login(cfg, "https://third.cloud.databricks.com", account_id="a")
    cfg.env[variable] = {"DATABRICKS_HOST": HOST, "DATABRICKS_CONFIG_PROFILE": "LOGIN"}[variable]
    found = load(cfg.world)
    assert not found.by_login
    assert list(found.settings) == ["host"]


OURS = [name for name in METHODS if FIELDS[name].env[0].startswith("DATABRICKS_")]
SHARED = [name for name in METHODS if name not in OURS]


@pytest.mark.parametrize("name", OURS)
def test_what_the_environment_gives_never_goes_to_the_host_of_the_last_login(machine: Machine, name: str) -> None:
    last_login(machine, OTHER)
    machine.env[FIELDS[name].env[0]] = "env"
    with pytest.raises(ConfigError, match=f"^{name} is set .*but no host to send it to$"):
        load(machine.world).require((name, "host"))


@pytest.mark.parametrize("name", SHARED)
def test_what_other_tools_have_set_never_goes_to_the_host_of_the_last_login(machine: Machine, name: str) -> None:
    last_login(machine, OTHER)
    machine.env[FIELDS[name].env[0]] = "env"
    with pytest.raises(Unavailable, match="not set: host"):
        load(machine.world).require((name, "host"))


@pytest.mark.parametrize("name", [name for name in METHODS if name in SHARED or not FIELDS[name].secret])
def test_a_stray_variable_does_not_hide_the_last_login(machine: Machine, name: str) -> None:
    # ARM_TENANT_ID is set on many a machine, ARM_CLIENT_SECRET where Terraform runs. They do not say which host, and to
    # say "log in" to a person who has just done so, again and again, is a circle.
    last_login(machine, OTHER)
    machine.env[FIELDS[name].env[0]] = "env"
    found = load(machine.world)
    assert found.settings["host"] == Setting("host", OTHER, STORED)
    found.require(("host",))


@pytest.mark.parametrize("name", [name for name in OURS if FIELDS[name].secret])
def test_a_secret_of_the_environment_is_not_passed_over_for_the_last_login(machine: Machine, name: str) -> None:
    # With a host, the source `stored` would answer before `basic` and `oauth-m2m` are asked, and the person be
    # somebody else than the environment says.
    last_login(machine, OTHER)
    machine.env[FIELDS[name].env[0]] = "env"
    assert load(machine.world).host == ""


# ---- hosts in settings ---------------------------------------------------------------------------------------------


def test_the_host_is_made_canonical_and_keeps_its_origin(machine: Machine) -> None:
    machine.env["DATABRICKS_HOST"] = "DEV.cloud.databricks.com/serving-endpoints/?o=12&a=acc"
    assert load(machine.world).settings == {
        "host": Setting("host", HOST, "env DATABRICKS_HOST"),
        "workspace_id": Setting("workspace_id", "12", "env DATABRICKS_HOST"),
        "account_id": Setting("account_id", "acc", "env DATABRICKS_HOST"),
    }


def test_an_id_that_is_set_beats_the_one_in_the_host(machine: Machine) -> None:
    machine.env |= {"DATABRICKS_HOST": f"{HOST}?o=12&a=acc", "DATABRICKS_WORKSPACE_ID": "34"}
    assert load(machine.world, Flags(account_id="flag")).settings == {
        "host": Setting("host", HOST, "env DATABRICKS_HOST"),
        "workspace_id": Setting("workspace_id", "34", "env DATABRICKS_WORKSPACE_ID"),
        "account_id": Setting("account_id", "flag", "flag --account-id"),
    }


def test_a_host_that_is_none_is_named_with_its_origin(machine: Machine) -> None:
    machine.write(machine.config, "[A]\nhost = http://h\n")
    machine.env["DATABRICKS_HOST"] = "http://e"
    for flags, kind, origin in (
        (Flags(host="http://f"), UsageError, "flag --host"),
        (Flags(), ConfigError, "env DATABRICKS_HOST"),
        (Flags(profile="A"), ConfigError, f"{FILE} [A]"),
    ):
        with pytest.raises(kind) as refused:
            load(machine.world, flags)
        assert type(refused.value) is kind
        assert str(refused.value).startswith("the host must use https: http://")
        assert str(refused.value).endswith(f" ({origin})")
        assert refused.value.hint.startswith("use https://")


# ---- a service principal that login keeps --------------------------------------------------------------------------

PRINCIPAL = {"type": "m2m", "client_id": "stored-id", "client_secret": "stored-secret", "host": OTHER}


@pytest.mark.parametrize("key", ["databricks", f"databricks:{OTHER}"])
def test_a_stored_principal_serves_its_host(machine: Machine, key: str) -> None:
    machine.write(machine.auth_json, {key: PRINCIPAL})
    machine.env["DATABRICKS_HOST"] = OTHER
    found = load(machine.world)
    assert found.settings["client_id"] == Setting("client_id", "stored-id", STORED)
    assert found.settings["client_secret"] == Setting("client_secret", "stored-secret", STORED)
    found.require(("client_id", "client_secret", "host"))


def test_a_stored_principal_serves_no_other_host(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": PRINCIPAL})
    machine.env["DATABRICKS_HOST"] = HOST
    assert list(load(machine.world).settings) == ["host"]


def test_a_stored_principal_after_its_own_login_needs_nothing_else(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": PRINCIPAL})
    found = load(machine.world)
    assert set(origins(found).values()) == {STORED}
    found.require(("client_id", "client_secret", "host"))


@pytest.mark.parametrize("variable", ["DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"])
def test_a_stored_principal_never_completes_half_of_another(machine: Machine, variable: str) -> None:
    machine.write(machine.auth_json, {"databricks": PRINCIPAL})
    machine.env |= {"DATABRICKS_HOST": OTHER, variable: "env"}
    assert STORED not in origins(load(machine.world)).values()


@pytest.mark.parametrize("field", ["client_id", "client_secret"])
@pytest.mark.parametrize("value", [None, "", 3])
def test_half_a_stored_principal_is_none(machine: Machine, field: str, value: object) -> None:
    machine.write(machine.auth_json, {"databricks": PRINCIPAL | {field: value}})
    machine.env["DATABRICKS_HOST"] = OTHER
    assert list(load(machine.world).settings) == ["host"]


@pytest.mark.parametrize("damage", ["{", "[]", b"\xff"])
def test_a_damaged_auth_json_is_not_the_end_where_the_host_is_known(machine: Machine, damage: str | bytes) -> None:
    machine.write(machine.auth_json, damage)
    machine.env |= {"DATABRICKS_HOST": HOST, "DATABRICKS_TOKEN": "t"}
    before = machine.files()
    assert values(load(machine.world)) == {"host": HOST, "token": "t"}
    assert machine.files() == before


def test_a_damaged_auth_json_is_told_where_it_would_decide(machine: Machine) -> None:
    machine.write(machine.auth_json, "{")
    with pytest.raises(ConfigError, match="not JSON: line 1"):
        load(machine.world)


# ---- what a source may ask for -------------------------------------------------------------------------------------


def settings(**given: str) -> Profile:
    """Settings whose values are `value@origin`."""
    made = {}
    for name, text in given.items():
        value, _, origin = text.partition("@")
        made[name] = Setting(name, value, origin or "env X")
    return Profile("", made)


@pytest.mark.parametrize(
    ("given", "needs", "missing"),
    [
        ({}, ("token", "host"), "not set: token (DATABRICKS_TOKEN)"),
        ({}, ("host",), "not set: host (DATABRICKS_HOST)"),
        ({}, ("scopes",), "not set: scopes"),
        ({"host": HOST}, ("token", "host"), "not set: token (DATABRICKS_TOKEN)"),
        ({"username": "u"}, ("username", "password", "host"), "not set: password (DATABRICKS_PASSWORD)"),
        (
            {"host": HOST},
            ("client_id", "client_secret", "host"),
            "not set: client_id (DATABRICKS_CLIENT_ID), client_secret (DATABRICKS_CLIENT_SECRET)",
        ),
    ],
)
def test_what_is_missing_is_named_and_the_next_source_is_asked(
    given: dict[str, str], needs: tuple[str, ...], missing: str
) -> None:
    with pytest.raises(Unavailable) as unavailable:
        settings(**given).require(needs)
    assert str(unavailable.value) == missing


@pytest.mark.parametrize("host", [None, f"{OTHER}@{STORED}"])
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"token": "canary@env DATABRICKS_TOKEN"}, "token is set (env DATABRICKS_TOKEN)"),
        ({"token": f"canary@{FILE} [A]"}, f"token is set ({FILE} [A])"),
        ({"username": "u@env U", "password": "canary@env P"}, "username is set (env U)"),
        ({"client_id": f"i@{STORED}", "client_secret": "canary@env S"}, "client_secret is set (env S)"),
    ],
)
def test_a_token_without_a_host_is_a_settings_error_and_the_stored_host_is_none_for_it(
    given: dict[str, str], named: str, host: str | None
) -> None:
    profile = settings(**given, **({"host": host} if host else {}))
    with pytest.raises(ConfigError) as homeless:
        profile.require((*given, "host"))
    assert str(homeless.value) == f"{named}, but no host to send it to"
    assert homeless.value.hint == "export DATABRICKS_HOST=https://<your workspace>"
    assert "canary" not in str(homeless.value)


@pytest.mark.parametrize(
    ("given", "needs"),
    [
        ({"token": "t", "host": HOST}, ("token", "host")),
        ({"host": HOST}, ("host",)),
        ({"host": f"{HOST}@{STORED}"}, ("host",)),
        ({"host": f"{HOST}@{STORED}", "client_id": f"i@{STORED}"}, ("client_id", "host")),
        ({"host": HOST, "client_id": f"i@{STORED}"}, ("client_id", "host")),  # found by that very host
        ({"oidc_token_env": "X"}, ("oidc_token_env",)),
        ({}, ()),
    ],
)
def test_where_all_is_there_the_source_is_asked(given: dict[str, str], needs: tuple[str, ...]) -> None:
    settings(**given).require(needs)


def test_a_setting_that_is_absent_is_an_empty_string() -> None:
    profile = settings(host=HOST)
    assert (profile.value("token"), profile.host, profile.origin("host")) == ("", HOST, "env X")


# ---- files that cannot be used -------------------------------------------------------------------------------------


def refused(machine: Machine) -> ConfigError:
    before = machine.files()
    with pytest.raises(ConfigError) as error:
        profiles.read(machine.world)
    assert machine.files() == before
    assert str(machine.config) in error.value.hint
    assert str(error.value).startswith("~/.databrickscfg ")
    return error.value


def test_a_file_that_is_not_there_has_no_sections(machine: Machine) -> None:
    assert profiles.read(machine.world) == {}


def test_a_path_through_a_file_is_a_file_that_is_not_there(machine: Machine) -> None:
    machine.write(machine.home / "file", "")
    machine.env["DATABRICKS_CONFIG_FILE"] = "~/file/cfg"
    assert profiles.read(machine.world) == {}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_and_carriage_returns_change_nothing(machine: Machine, mark: bytes, end: str) -> None:
    machine.write(machine.config, mark + CFG.replace("\n", end).encode())
    found = profiles.read(machine.world)
    assert list(found) == ["DEFAULT", "PROD", "M2M", "HOSTLESS", "LOGIN", "EMPTY"]
    assert found["PROD"] == {"host": OTHER, "token": "prod-token", "account_id": "prod-account"}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    ("text", "line"), [(b"\xff", 1), (b"[A]\n\xff", 2), (b"[A]\r\nhost = h\r\n# caf\xe9\r\n", 3), (b"\n\n\n\xc3", 4)]
)
def test_what_is_not_utf_8_is_named_with_its_line(machine: Machine, text: bytes, line: int, mark: bytes) -> None:
    machine.write(machine.config, mark + text)
    assert str(refused(machine)) == f"~/.databrickscfg is not UTF-8 text: line {line}"


def test_what_is_no_ini_is_named_with_its_line(machine: Machine) -> None:
    machine.write(machine.config, "[A]\nhost = h\ncanary-secret\n")
    error = refused(machine)
    assert "cannot be understood: line 3: " in str(error)
    assert "DATABRICKS_CONFIG_FILE" in error.hint
    assert "canary" not in str(error)


def test_a_file_larger_than_any_profile_file_is_not_taken_in(machine: Machine) -> None:
    machine.write(machine.config, b"#" * LARGEST)
    assert profiles.read(machine.world) == {}
    machine.write(machine.config, b"#" * (LARGEST + 1))
    assert str(refused(machine)) == f"~/.databrickscfg is larger than {LARGEST} bytes"


def test_a_directory_in_place_of_the_file_is_named(machine: Machine) -> None:
    machine.config.mkdir()
    assert "cannot be read: Is a directory" in str(refused(machine))


def test_a_link_that_leads_nowhere_but_to_itself_is_named(machine: Machine) -> None:
    machine.config.symlink_to(machine.config)
    with pytest.raises(ConfigError, match="cannot be read: Too many levels"):
        profiles.read(machine.world)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything; the directory and the link stand for it")
def test_a_file_that_may_not_be_read_is_named(cfg: Machine) -> None:
    cfg.config.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        profiles.read(cfg.world)


def test_a_link_to_a_dotfile_kept_elsewhere_is_followed(machine: Machine) -> None:
    machine.config.symlink_to(machine.write(machine.home / "dotfiles" / "cfg", CFG))
    assert load(machine.world).name == "DEFAULT"


def test_reading_settings_leaves_no_trace(cfg: Machine) -> None:
    before = sorted(cfg.home.rglob("*"))
    for flags in (Flags(), Flags(profile="PROD"), Flags(host=HOST)):
        load(cfg.world, flags)
    assert sorted(cfg.home.rglob("*")) == before


def test_printing_a_profile_by_accident_shows_no_secret(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN="canary-token", DATABRICKS_USERNAME="somebody")
    shown = repr(load(machine.world))
    assert "canary" not in shown and "somebody" in shown and "***" in shown


def test_a_stored_principal_brings_the_account_it_was_given_with(machine: Machine) -> None:
    """An account console has a token endpoint for each account, so without it there is nowhere to ask."""
    host = "https://accounts.cloud.databricks.com"
    principal = {"type": "m2m", "client_id": "c", "client_secret": "s", "host": host, "account_id": "acc"}
    machine.write(machine.auth_json, {"databricks:x": principal})
    assert load(machine.world, Flags(host=host)).value("account_id") == "acc"
    assert load(machine.world, Flags(host=host, account_id="mine")).value("account_id") == "mine"


# ---- what a login keeps beside its host ------------------------------------------------------------------------------


def test_a_login_brings_its_workspace_and_its_group_and_no_profile_gets_them(machine: Machine) -> None:
    entry = {"type": "oauth", "access": "a", "host": HOST, "workspace_id": "77", "group_id": "8"}
    machine.write(machine.auth_json, {"databricks": entry})
    machine.write(machine.config, f"[DEV]\nhost = {HOST}\n")
    for flags in (Flags(), Flags(host=HOST)):
        found = load(machine.world, flags)
        assert {n: found.settings[n].origin for n in ("workspace_id", "group_id")} == dict.fromkeys(
            ("workspace_id", "group_id"), STORED
        )
    assert set(load(machine.world, Flags("DEV")).settings) == {"host"}
    assert set(load(machine.world, Flags(host=OTHER)).settings) == {"host"}


def test_a_principal_brings_the_rights_it_was_kept_with(machine: Machine) -> None:
    entry = {
        "type": "m2m",
        "client_id": "i",
        "client_secret": "s",
        "host": HOST,
        "group_id": "8",
        "scopes": "sql files",
    }
    machine.write(machine.auth_json, {"databricks": entry})
    found = load(machine.world, Flags(host=HOST))
    assert (found.value("client_id"), found.value("group_id"), found.scopes) == ("i", "8", ("sql", "files"))
    machine.env["DATABRICKS_CLIENT_ID"] = "another"
    assert load(machine.world, Flags(host=HOST)).value("scopes") == "", "they belong to the principal that is kept"
