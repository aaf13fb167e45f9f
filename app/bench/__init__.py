"""What proving costs, measured here and now: ``veriregime bench …``.

inputs.py      windows of the simulated market, or of a candle file, as the circuits' integers
measure.py     one step alone in its process: keys, or proofs; the only part that loads ezkl
children.py    starts such a process and hears what it says
circuits.py    from a circuit to its figures: keys, proofs, calldata, gas
gas.py         the verifier contract of a circuit on a chain of its own
rows.py        the networks that are compared, with their settings and why
proving.py     the comparison: one run, one table
groth16.py     the outside peer
candidates.py  the settings that the circuit search tries
choosing.py    which of them is picked, by their figures alone
search.py      the circuit search
candles.py     the candle store: reading a window, adding a minute, pruning
table.py       figures as text
watching.py    what a person sees while it runs
"""
