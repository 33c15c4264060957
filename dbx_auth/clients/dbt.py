"""dbt: beside a gateway it asks for a token at each request, and in `exec` alone it takes one when it starts.

Its adapter is built on Databricks' SDK for Python, for which DATABRICKS_AUTH_TYPE goes before the token of a profile.
https://github.com/databricks/dbt-databricks/blob/main/dbt/adapters/databricks/credentials.py
"""

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
      token: "{{{{ env_var('DATABRICKS_TOKEN', 'from the metadata service') }}}}\""""


CLIENT = Client(
    title="dbt",
    what=Snippet(text),
    programs=("dbt",),
    by_hand=lambda setup: [
        "put this into ~/.dbt/profiles.yml",
        f"start it: {setup.shell('exec', '--serve')} -- dbt run",
    ],
)
