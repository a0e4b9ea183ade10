"""`python -m headwater.cli.child GRACE FDS ...`: a command as a child of `headwater serve`, which starts it so and nobody else does."""

import sys

from headwater.cli import main
from headwater.serving.leash import Leash

if __name__ == "__main__":
    own, *door = map(int, sys.argv[2].split(","))
    sys.exit(main(sys.argv[3:], supervised=Leash(own, door=door[0] if door else None, grace=float(sys.argv[1]))))
