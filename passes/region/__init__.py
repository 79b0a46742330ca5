"""Regions read as expressions over strided accesses: what schedules and emitters work on."""
