"""`headwater ingest` that rolls its archive into a file after each commit, so that kills fall into that, too."""

import functools
import sys

from headwater import cli
from headwater.pipelines import intake

intake.Limits = functools.partial(intake.Limits, roll=1)
sys.exit(cli.main())
