"""The program that SDKs start: its first two arguments are the profile and the host that it was installed for."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from dbx_auth.world import Ended, World, end_in_order, signals_held, tell

from .answers import answer


def main() -> NoReturn:
    end_in_order()
    if sys.stdout is None:  # started with >&-
        os._exit(1)
    try:
        # A caller reads both streams, so nothing is told.
        world = World.system()._replace(warn=lambda text: None, uninterrupted=signals_held)
        code, out, err = answer(sys.argv[3:], world, *sys.argv[1:3])
        for line in err.splitlines():
            tell(line)
        sys.stdout.buffer.write(out.encode())
        sys.stdout.flush()
    except Ended as signal:
        code = 128 + signal.number
    except KeyboardInterrupt:
        code = 130
    except OSError:  # nobody reads it
        code = 1
    os._exit(code)


if __name__ == "__main__":
    main()
