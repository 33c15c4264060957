"""Prints what a workspace serves that the catalogue does not know, as rows to complete: `make catalogue`.

It asks the workspace that `dbx-auth status` names, or the sandbox where no setting names one.
"""

from __future__ import annotations

import sys
import time

from dbx_auth import Credentials, catalogue, models, profile
from dbx_auth.models import Listing, Model
from dbx_auth.sandbox import Sandbox
from dbx_auth.world import World


def missing(listing: Listing) -> list[Model]:
    """Databricks' own models of which the catalogue has no row; what people made is theirs to describe."""
    ours = [model for model in listing.models if catalogue.ours(model.id)]
    return [model for model in ours if catalogue.facts(model.id).facts_from != "catalogue"]


def row(model: Model, date: str) -> str:
    """The beginning of a row for catalogue.toml, and what there is to go by."""
    said = [
        f"family {model.family}",
        f"APIs: {', '.join(model.apis) or 'not said'} ({model.origins.get('apis', 'by nobody')})",
        f"context: {model.context or 'not said'} ({model.origins.get('context', 'by nobody')})",
    ]
    lines = ["[[model]]", f'id = "{catalogue.bare(model.id)}"', *(f"# {each}" for each in said)]
    return "\n".join([*lines, 'source = "live"', f'date = "{date}"'])


def asked(world: World) -> Listing:
    """What the workspace of this machine's settings serves, or the sandbox."""
    if profile.load(world).host:
        token = Credentials(world=world).token()
        return models.listing(token.host, token.subject, token.headers, world, refresh=True)
    with Sandbox(auto_approve=True) as sandbox:
        headers = {"Authorization": f"Bearer {sandbox.pat}"}
        return models.listing(sandbox.url, "sandbox", headers, world, refresh=True)


def main() -> None:
    listing = asked(World.system())
    unknown = missing(listing)
    date = time.strftime("%Y-%m-%d", time.gmtime(listing.fetched_at))
    for model in unknown:
        print(row(model, date), end="\n\n")
    print(f"{listing.host} serves {len(listing.models)}; {len(unknown)} are not in the catalogue", file=sys.stderr)


if __name__ == "__main__":
    main()
