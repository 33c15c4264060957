"""The Databricks SDKs: they run what DATABRICKS_CLI_PATH names as if it were the Databricks CLI."""

from __future__ import annotations

import os

from . import Client, Setup, Snippet, quoted


def text(setup: Setup) -> str:
    shim = os.path.join(setup.world.data_dir, "bin", "databricks")
    return f"export DATABRICKS_CLI_PATH={quoted([shim], setup.world.platform)}"


CLIENT = Client(
    title="Databricks SDKs",
    what=Snippet("sh", text),
    programs=("databricks",),
    shadows=("DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID", "DATABRICKS_METADATA_SERVICE_URL"),
)
