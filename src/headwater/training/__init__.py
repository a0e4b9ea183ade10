"""A training row, top to bottom: requests, enrichment, features, labels, historical, dataset,
train.
"""
