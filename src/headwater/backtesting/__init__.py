"""The lift of fresher features: one model at several freshness levels, with confidence
intervals.
"""
