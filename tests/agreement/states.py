"""Random machines, each from a seed and a number: `make(seed, 17)` is the same machine everywhere.

A machine gets zero to three ways to log in, each in the environment, in a profile or in the caller's arguments, and
then what real machines have too: half a credential, an empty variable, a host as somebody pasted it, a line that the
two INI readers take differently, a second profile for the same host.
"""

from __future__ import annotations

import json
from functools import cache
from random import Random

from . import wire
from .state import ATTRIBUTES, CONFIG_FILE, CONFIG_PROFILE, Line, Login, Section, State, plain
from .stubs import AZ, DATABRICKS

AWS = ("https://dbc-1.cloud.databricks.com", "https://dbc-2.cloud.databricks.com")
AZURE = f"https://{wire.AZURE_WORKSPACE}"
GCP = "https://1234567890.1.gcp.databricks.com"
ACCOUNT = f"https://{wire.ACCOUNT}"
LOCAL = "http://127.0.0.1:8080"
HOSTS = (*AWS, *AWS, AZURE, AZURE, GCP, ACCOUNT, LOCAL, f"https://{wire.OLD}")
RESOURCE_ID = "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Databricks/workspaces/ws"

AUTH_TYPES = (
    *("pat", "basic", "oauth-m2m", "databricks-cli", "metadata-service", "github-oidc", "azure-devops-oidc"),
    *("env-oidc", "file-oidc", "github-oidc-azure", "azure-msi", "azure-client-secret", "azure-cli"),
    *("google-credentials", "google-id", "no-such-type"),
)


def make(seed: int, number: int) -> State:
    """The machine of that number."""
    return _Maker(Random(f"{seed} {number}")).state()


class _Maker:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.said: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self.profiles: dict[str, dict[str, str]] = {}
        self.cache: dict[str, Login] = {}
        self.programs: set[str] = set()
        self.files: dict[str, str] = {}
        self.current = ""  # the profile that settings go to, empty for the environment
        self.host = random.choice(HOSTS)

    def chance(self, percent: float) -> bool:
        return self.random.random() * 100 < percent

    def state(self) -> State:
        has_file = self.chance(70)
        self.name_profiles(has_file)
        self.put_host()
        ways = [self.pat, self.pat, self.basic, self.m2m, self.cli, self.cli, self.cli, self.metadata, self.github]
        ways += [self.devops, self.env_oidc, self.file_oidc, self.azure_secret, self.azure_cli, self.azure_cli]
        ways += [self.msi, self.google_credentials, self.google_id]
        for _ in range(self.random.choices((0, 1, 2, 3), (8, 52, 30, 10))[0]):
            self.random.choice(ways)()
        self.disturb()
        if GCP in self.said.get("host", "") or GCP in self.env.get("DATABRICKS_HOST", ""):
            self.forget("azure_workspace_resource_id")  # no workspace is in two clouds
        sections = None
        if has_file:
            sections = tuple(self.section(name, settings) for name, settings in self.profiles.items())
            sections = self.oddly_laid(sections)
        return State(self.said, self.env, sections, self.cache, frozenset(self.programs), self.files)

    def name_profiles(self, has_file: bool) -> None:
        """Which profiles there are, and which of them is in use."""
        names = self.random.sample(("DEFAULT", "dev", "prod", "my.dot"), self.random.randint(1, 3)) if has_file else []
        self.profiles = {name: {} for name in names}
        how = self.random.random()
        self.current = self.random.choice(names) if names and how < 0.75 else ""
        if has_file and self.chance(15):
            value = self.current or self.random.choice(("", "gone", "__settings__", *names))
            self.profiles["__settings__"] = {"default_profile": value}
        if not self.current:
            name = self.random.choice(("dev", "gone", "__settings__"))
            if self.chance(9):
                self.env[CONFIG_PROFILE] = name
            elif self.chance(5):
                self.said["profile"] = name
        elif self.current != "DEFAULT" or self.chance(30):
            if self.chance(50):
                self.said["profile"] = self.current
            elif self.chance(85):
                self.env[CONFIG_PROFILE] = self.current
        if self.chance(5):
            self.env[CONFIG_FILE] = "{home}/other.cfg"

    def put(self, name: str, value: str, *, env_only: bool = False, beside: str = "") -> None:
        """Write a setting where this machine has its settings, or now and then elsewhere."""
        in_env = not self.current or env_only or self.chance(12)
        if beside:
            in_env = not self.current or beside not in self.profiles[self.current]
        if in_env or name not in ATTRIBUTES:
            self.env[ATTRIBUTES[name].env[0] if name in ATTRIBUTES else name] = value
        else:
            self.profiles[self.current][name] = value

    def forget(self, name: str) -> None:
        for settings in (self.env, *self.profiles.values()):
            for key in (name, *ATTRIBUTES[name].env):
                settings.pop(key, None)

    def put_host(self) -> None:
        if self.chance(6):
            return
        host = self.pasted(self.host)
        if self.chance(8):
            self.said["host"] = host
        else:
            self.put("host", host)
        if self.chance(4):
            self.said["host"] = self.pasted(self.random.choice(HOSTS))
        if self.chance(4):
            self.env["DATABRICKS_HOST"] = self.random.choice(HOSTS)
        if self.host == ACCOUNT and self.chance(75):
            self.put("account_id", wire.ACCOUNT_ID, beside="host")
        for name, settings in self.profiles.items():
            if name not in (self.current, "__settings__"):
                settings["host"] = self.random.choice((self.host if self.host != ACCOUNT else AWS[0], *AWS))

    def pasted(self, host: str) -> str:
        """The host in one of the forms that people paste."""
        bare = host.partition("://")[2]
        forms = {
            host: 130,
            bare: 5,
            f"{host}/": 6,
            host.upper(): 4,
            f"{host}?o=123": 3,
            f"{host}/?o=123": 2,
            f"{host}:443": 12,
            f"{host}/login.html": 2,
            f"{host}/serving-endpoints": 3,
            f"https://me:secret@{bare}": 2,
            f"http://{bare}": 2,
            f"https://my {bare}": 1,
        }
        if host == LOCAL:
            forms = {host: 100, f"{host}/": 8, host.upper(): 4, f"{host}?o=123": 2, f"{host}/serving-endpoints": 2}
        return self.random.choices(list(forms), list(forms.values()))[0]

    def pat(self) -> None:
        self.put("token", "two words" if self.chance(4) else f"dapi-{self.random.choice('abc')}")

    def basic(self) -> None:
        self.put("username", "me@example.com")
        if not self.chance(15):
            self.put("password", "pass word")

    def m2m(self) -> None:
        self.put("client_id", f"sp-{self.random.choice('ab')}")
        if not self.chance(15):
            self.put("client_secret", "wrong" if self.chance(15) else "right")

    def cli(self) -> None:
        """A login of the Databricks CLI, and mostly the CLI itself."""
        if not self.chance(15):
            self.programs.add(DATABRICKS)
        refresh, life = self.random.choice((("r-1", 3000), ("r-2", 3000), ("r-3", -60), ("dead-1", -60), ("", -60)))
        account = self.host
        if self.host == ACCOUNT:
            self.put("account_id", wire.ACCOUNT_ID, beside="host")
            account = f"{self.host}/oidc/accounts/{wire.ACCOUNT_ID}"
        names = [name for name in self.profiles if name != "__settings__"]
        for key in {self.current or account, account if self.chance(50) else "", *(names if self.chance(15) else ())}:
            if key and not self.chance(12):
                self.cache[key] = Login(f"cli.{key}", refresh, life)
        if self.current and self.chance(40):
            self.profiles[self.current]["auth_type"] = "databricks-cli"
            if self.chance(8):
                self.profiles[self.current] |= {"client_id": "sp-a", "client_secret": "right"}

    def metadata(self) -> None:
        self.put("metadata_service_url", wire.METADATA_URL + ("-gone" if self.chance(15) else ""))

    def federated(self) -> None:
        if not self.chance(25):
            self.put("client_id", f"sp-{self.random.choice('ab')}")
        if self.chance(15):
            self.put("token_audience", "api://mine", env_only=True)

    def github(self) -> None:
        self.env["ACTIONS_ID_TOKEN_REQUEST_URL"] = wire.GITHUB_URL
        if not self.chance(10):
            self.env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "runner"
        if self.chance(50):
            self.federated()
        else:
            self.put("azure_client_id", "app-1")
            if not self.chance(25):
                self.put("azure_tenant_id", wire.TENANT)
            self.resource_id(50)

    def devops(self) -> None:
        names = "PLANID JOBID TEAMPROJECTID HOSTTYPE ACCESSTOKEN TEAMFOUNDATIONCOLLECTIONURI".split()
        self.env |= {f"SYSTEM_{name}": name.lower() for name in names}
        self.env["SYSTEM_TEAMFOUNDATIONCOLLECTIONURI"] = wire.DEVOPS_URL
        if self.chance(20):
            del self.env[f"SYSTEM_{self.random.choice(names)}"]
        self.federated()

    def env_oidc(self) -> None:
        name = "DATABRICKS_OIDC_TOKEN" if self.chance(60) else "MY_ID_TOKEN"
        self.env[name] = "stale-id" if self.chance(15) else "env-id"
        if name == "MY_ID_TOKEN" and not self.chance(10):
            self.put("oidc_token_env", name)
        self.federated()

    def file_oidc(self) -> None:
        if not self.chance(10):
            self.files["id.jwt"] = "" if self.chance(10) else "file-id\n" if self.chance(10) else "file-id"
        variable = self.random.choice(ATTRIBUTES["oidc_token_filepath"].env)
        self.env[variable] = "{home}/id.jwt"
        self.federated()

    def azure_secret(self) -> None:
        self.put("azure_client_id", f"app-{self.random.choice('12')}")
        if not self.chance(10):
            self.put("azure_client_secret", "wrong" if self.chance(15) else "right")
        if not self.chance(20):
            self.put("azure_tenant_id", wire.TENANT)
        self.resource_id(15)

    def azure_cli(self) -> None:
        if not self.chance(15) and not self.programs & set(AZ):
            self.programs.add(self.random.choice((*AZ, AZ[0])))
        self.resource_id(30)

    def resource_id(self, percent: float) -> None:
        if self.chance(percent) and self.host != GCP:
            self.put("azure_workspace_resource_id", RESOURCE_ID)
            if self.chance(30):
                self.put("azure_environment", self.random.choice(("PUBLIC", "usgovernment")))

    def msi(self) -> None:
        self.put("azure_use_msi", self.random.choice(("true", "true", "1", "false")))
        if self.chance(30):
            self.put("azure_client_id", "app-1")
        self.resource_id(40)

    def google_credentials(self) -> None:
        text = google_account()
        if self.chance(50):
            self.files["google.json"] = text
            text = "{home}/google.json"
        self.put("google_credentials", "{home}/gone.json" if self.chance(10) else text, env_only=True)

    def google_id(self) -> None:
        self.put("google_service_account", "robot@project.iam.gserviceaccount.com")
        if not self.chance(15):
            self.files["adc.json"] = google_account()
            self.env["GOOGLE_APPLICATION_CREDENTIALS"] = "{home}/adc.json"

    def disturb(self) -> None:
        """What nobody planned."""
        if self.chance(8):
            self.put("auth_type", self.random.choice(AUTH_TYPES))
        if self.chance(5):
            self.env[self.random.choice(("DATABRICKS_TOKEN", "DATABRICKS_USERNAME", "DATABRICKS_HOST"))] = ""
        if self.chance(5):
            self.env["DATABRICKS_TOKEN"] = "dapi-stray"
        if self.chance(4):
            self.env["ARM_USE_MSI"] = "false"
        if self.chance(4):
            self.env["DATABRICKS_ACCOUNT_ID"] = wire.ACCOUNT_ID
        if self.chance(3):
            self.env["DATABRICKS_CLUSTER_ID"] = "cluster"
        if self.chance(3) and self.profiles:
            self.profiles[self.current or next(iter(self.profiles))]["scopes"] = "sql, all-apis"
        if self.chance(5):
            self.put("group_id", "group-1")
            if self.chance(15):
                self.put("auth_type", self.random.choice(("pat", "basic", "azure-cli")))
        if self.chance(3) and "profile" in self.said:
            self.env[CONFIG_PROFILE] = self.random.choice(("gone", "DEFAULT"))
        if self.chance(3) and self.host != ACCOUNT:
            self.said["account_id"] = wire.ACCOUNT_ID
        if self.chance(15):
            self.programs.add(DATABRICKS)
        other = [name for name in self.profiles if name not in (self.current, "__settings__")]
        if other and self.chance(40):
            self.profiles[other[0]]["token"] = "dapi-other"

    def section(self, name: str, settings: dict[str, str]) -> Section:
        lines = [self.line(key, value) for key, value in settings.items()]
        if self.chance(8) and name != "__settings__":
            lines.append(Line("token =", "token", "", odd="empty") if "token" not in settings else Line("# mine"))
        if self.chance(4) and lines and lines[0].key:
            lines.append(plain(lines[0].key, lines[0].value)._replace(odd="twice"))
        return Section(name, tuple(lines))

    def line(self, key: str, value: str) -> Line:
        """A line as people write it; now and then one that Python's reader takes differently."""
        if self.chance(92):
            return self.random.choice((plain(key, value), Line(f"{key}={value}", key, value)))
        odd = self.random.choice(("case", "quotes", "comment"))
        if odd == "case":
            return Line(f"{key.title()} = {value}", odd=odd)
        if odd == "quotes":
            return Line(f'{key} = "{value}"', key, value, odd)
        return Line(f"{key} = {value} {self.random.choice('#;')} mine", key, value, odd)

    def oddly_laid(self, sections: tuple[Section, ...]) -> tuple[Section, ...]:
        """The file's sections, now and then one in two parts, or DEFAULT without a header."""
        if self.chance(8) and sections[0].name == "DEFAULT":
            return (sections[0]._replace(name=""), *sections[1:])
        if self.chance(4) and len(sections[0].lines) > 1:
            name, lines = sections[0]
            return (Section(name, lines[:1]), *sections[1:], Section(name, lines[1:]))
        if self.chance(8):
            return (
                sections[0]._replace(lines=(Line("just some words", odd="words"), *sections[0].lines)),
                *sections[1:],
            )
        return sections


@cache
def google_account() -> str:
    """A service account of Google's with a key of its own, as its JSON file."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 1024).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "robot@project.iam.gserviceaccount.com",
            "private_key_id": "1",
            "private_key": key.decode(),
            "project_id": "project",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    )
