"""Turns a layer off in each process of a measurement; `bench.layers` puts it on PYTHONPATH."""

import os

if name := os.environ.get("BENCH_LAYER_OFF"):
    from bench.switches import OFF

    OFF[name]()
