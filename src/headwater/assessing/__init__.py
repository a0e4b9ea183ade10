"""Whether real time is right for a project: readiness, the cost of each way to serve, and the
origin of each number.
"""
