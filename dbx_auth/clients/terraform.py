"""Terraform: its provider takes a token from the environment, and asks a metadata service as often as it has to."""

from __future__ import annotations

from . import Client, Setup, Snippet


def text(setup: Setup) -> str:
    return f"""\
{setup.shell("exec")} -- terraform plan

# for what takes longer than an hour, which asks for a token again:
{setup.shell("exec", "--serve")} -- terraform apply"""


CLIENT = Client(
    title="Terraform",
    what=Snippet(text),
    programs=("terraform", "tofu"),
    by_hand=lambda setup: ['leave host and credentials out of the block: provider "databricks" {}'],
)
