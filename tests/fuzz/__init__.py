"""Hostile bundles and candle files, by the hundred thousand: ``python -m tests.fuzz``.

`seeds` makes genuine inputs, `mutate` spoils them, `targets` hands them to the product and says what an answer must be,
`session` runs one target under a coverage-guided fuzzer, `report` tells what came of it.
"""
