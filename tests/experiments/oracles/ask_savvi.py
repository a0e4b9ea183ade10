"""Sequential p-values of sample ratios by savvi: JSON lines in and out. Runs in an environment of
its own, see scripts/oracles.sh.
"""

import json
import sys

import numpy as np
from savvi.multinomial import Multinomial

for line in sys.stdin:
    asked = json.loads(line)
    test = Multinomial(0.05, np.array(asked["weights"]), k=asked["prior"])
    before, least = np.zeros(len(asked["weights"]), np.int64), 1.0
    for counts in asked["looks"]:
        test.update(np.array(counts) - before)
        before = np.array(counts)
        least = min(least, test.calculate_p_value())
    print(json.dumps({"p": float(least)}))
