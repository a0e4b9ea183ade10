"""P-values of clusters by cluster-experiments: JSON lines in, JSON lines out. Runs in an
environment of its own, see scripts/oracles.sh.
"""

import json
import sys

import pandas as pd
from cluster_experiments import ClusteredOLSAnalysis, TTestClusteredAnalysis

for line in sys.stdin:
    asked = json.loads(line)
    frame = pd.DataFrame(asked["rows"])
    frame["treatment"] = frame["treated"].map({False: "A", True: "B"})
    covariates = asked.get("effects", [])
    for name in covariates:
        frame[name] = frame[name].astype(str)
    if asked["kind"] == "means":
        p = TTestClusteredAnalysis(cluster_cols=["cluster"], target_col="target").get_pvalue(frame)
        print(json.dumps({"p": float(p)}))
    else:
        analysis = ClusteredOLSAnalysis(
            cluster_cols=["cluster"], target_col="target", covariates=covariates
        )
        print(
            json.dumps(
                {
                    "effect": float(analysis.get_point_estimate(frame)),
                    "se": float(analysis.get_standard_error(frame)),
                }
            )
        )
