"""A discrete-event simulation of the ingest and serving tiers: one machine as it was measured, and
fleets as they are planned.
"""
