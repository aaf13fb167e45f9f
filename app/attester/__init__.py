"""An attester's own judgement: does a proposal say what its own venues say? A role in a process of its own.

`judge` is the whole ladder; `market` keeps what the attester sees itself, `tolerance` says how close is close enough,
`pins` compares its keys with the oracle's registry.
"""
