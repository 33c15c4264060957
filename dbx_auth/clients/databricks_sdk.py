"""The Databricks SDKs: they run what DATABRICKS_CLI_PATH names as if it were the Databricks CLI."""

from __future__ import annotations

from dbx_auth import shim
from dbx_auth.world import World

from . import Client, Program, Setup, quoted


def text(setup: Setup) -> str:
    return f"export DATABRICKS_CLI_PATH={quoted([shim.place(setup.world)], setup.world.platform)}"


def is_there(world: World) -> bool:
    return shim.is_ours(shim.place(world))


def install(setup: Setup) -> str:
    """For whom a person named, and else for nobody in particular: an SDK says which it asks for."""
    world, named = setup.world, setup.named
    return shim.install(shim.place(world), world, profile=named.profile, host="" if named.profile else named.host)


def uninstall(world: World) -> bool:
    return shim.uninstall(shim.place(world))


CLIENT = Client(
    title="Databricks SDKs",
    what=Program(shim.place, is_there, install, uninstall, text),
    programs=("databricks",),
    shadows=("DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID", "DATABRICKS_METADATA_SERVICE_URL"),
)
