"""`headwater ingest` that rolls its archive into a file after each commit, so that kills fall into
that, too.
"""

import functools
import sys

from headwater import cli
from headwater.ingestion import source_ingestor

source_ingestor.IngestLimits = functools.partial(source_ingestor.IngestLimits, roll=1)
sys.exit(cli.main())
