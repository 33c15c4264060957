"""dbt: profiles.yml takes a token from the environment when it starts."""

from __future__ import annotations

from . import Client, Setup, Snippet


def text(setup: Setup) -> str:
    return f"""\
databricks:
  target: dev
  outputs:
    dev:
      type: databricks
      host: {setup.host.partition("://")[2]}
      http_path: /sql/1.0/warehouses/YOUR-WAREHOUSE
      schema: default
      token: "{{{{ env_var('DATABRICKS_TOKEN') }}}}\""""


CLIENT = Client(
    title="dbt",
    what=Snippet("yaml", text),
    programs=("dbt",),
    by_hand=lambda setup: [
        "put this into ~/.dbt/profiles.yml",
        f"start it: {setup.shell('exec')} -- dbt run",
    ],
)
