"""What a large deployment takes: figures from unit costs of bench/results.json, from
assumptions.toml, and from prices of `assess cost`.
"""
