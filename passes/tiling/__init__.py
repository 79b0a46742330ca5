"""Schedules: what they are, which are legal for a workload, and which one the cost model picks."""
