"""Does dbx-auth pick the same identity as the official SDKs from the same machine?

`states` makes machines, `official` and `ours` ask the two sides, `differences` is the table of what may differ and why.
"""
