"""`python -m forge_envs` is `forge-envs`."""

import sys

from forge_envs.cli import main

if __name__ == "__main__":
    sys.exit(main())
