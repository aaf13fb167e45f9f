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
serving.py     what consumers meet: how soon a proved forecast is served, the next two, and under_load.py; as text in
               serving_text.py
api.py         `latest` beside a bare route; load.py asks both, from a process of its own
streaming.py   a thousand clients of the stream; followers.py are they, in a process of their own
served.py      the web servers that those two ask
dialogue.py    how the benches talk with such helpers
candles.py     the candle store: reading a window, adding a minute, pruning
table.py       figures as text
own_demo.py    the demo as a process of its own, and an API beside it, for the benches that watch a running system
looks.py       what such a system holds at one moment: memory, files, threads; rows and bytes of its database
soak.py        hours of it, and whether anything grows; trend.py says what growth is, soak_text.py tells it
under_load.py  ticks while as much is asked as can be answered; visitors.py are those who ask
sizes.py       bytes of every kind of row
capacity.py    what many feeds take: capacity_constants.py, capacity_measuring.py finds them, capacity_model.py has the
               formulas, capacity_text.py tells it
year.py        a year against those formulas: year_markets.py, year_troubles.py, year_proving.py, year_publishing.py
"""
