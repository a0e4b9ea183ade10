"""`python -m headwater.cli.child GRACE FDS ...`: a command as a child process of `headwater
serve`.
"""

import os
import sys

from headwater.cli import main
from headwater.serving.process.supervisor_link import SupervisorLink

if __name__ == "__main__":
    link_number, *listener = map(int, sys.argv[2].split(","))
    link = SupervisorLink(
        link_number, listener=listener[0] if listener else None, grace=float(sys.argv[1])
    )
    code = main(sys.argv[3:], supervised=link)
    os._exit(code)  # all data is on disk; the regular shutdown of libraries takes Python seconds
