"""`python -m dbx_auth` is `dbx-auth`."""

from .cli import main

main()
