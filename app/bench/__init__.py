"""What proving and serving cost, measured here and now: ``veriregime bench …``.

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
serving.py     what consumers meet: how soon a proved forecast is served, and the next two; as text in serving_text.py
api.py         `latest` beside a bare route; load.py asks both, from a process of its own
streaming.py   a thousand clients of the stream; followers.py are they, in a process of their own
served.py      the web servers that those two ask
dialogue.py    how the benches talk with such helpers
candles.py     the candle store: reading a window, adding a minute, pruning
table.py       figures as text
watching.py    what a person sees while it runs
"""
