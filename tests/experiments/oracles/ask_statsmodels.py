"""Regressions and Welch's test by statsmodels: JSON lines in, JSON lines out. Runs in an
environment of its own, see scripts/oracles.sh.
"""

import json
import sys

import numpy as np
import statsmodels.api as sm
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

for line in sys.stdin:
    asked = json.loads(line)
    if asked["kind"] == "welch":
        control, treated = (DescrStatsW(np.array(values)) for values in asked["arms"])
        t, p, degrees = CompareMeans(treated, control).ttest_ind(usevar="unequal")
        print(json.dumps({"t": float(t), "p": float(p), "degrees": float(degrees)}))
        continue
    outcome, treated, region, bucket = (
        np.array(asked[name]) for name in ("outcome", "treated", "region", "bucket")
    )
    dummies = [
        (codes[:, None] == np.unique(codes)[start:]).astype(float)
        for codes, start in ((region, 0), (bucket, 1))
    ]
    fitted = sm.OLS(outcome, np.column_stack([treated, *dummies])).fit(
        cov_type="cluster", cov_kwds={"groups": region}, use_t=True
    )
    print(
        json.dumps(
            {
                "effect": float(fitted.params[0]),
                "se": float(fitted.bse[0]),
                "p": float(fitted.pvalues[0]),
            }
        )
    )
