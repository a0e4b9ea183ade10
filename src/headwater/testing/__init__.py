"""For tests, headwater's and yours: a naive reference, small random cases, and the laws that every
aggregation obeys.
"""
