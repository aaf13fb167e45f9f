"""Faults, one after another, against a rig of real processes; after each it is seen that nothing is broken or lost.

``python -m tests.chaos --faults 300 --hours 30`` is the long form, `test_chaos` the short one. `schedule` says what
comes when, `faults` does it, `driving` times the recovery, `invariants` looks, `report` tells.
"""
