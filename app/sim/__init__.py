"""A market on this machine, off the path of production: it takes the place of the venues in the demo and in the tests.

    market.py        what a market is, and a simulated one: seeded, one-minute candles, the same for everyone who asks
    recorded.py      the same over a candle file, with the times it was recorded at
    views.py         one market seen from several venues: each with its level, a little noise, its own volume
    faults.py        how a venue is told to misbehave, and when
    distortion.py    what such faults do to candles
    klines.py        what a venue shows of a market at one moment: the minute still forming, intervals, pages
    exchange.py      one venue of this world, whatever its protocol, and the book of what it has answered
    weights.py       how much of its request budget a client has used
    binance.py       the public REST protocols of three venues, each good enough that ccxt needs nothing but another
    coinbase.py      base URL
    kraken.py
    interference.py  faults of requests, played before the venue sees them
    control.py       /faults and /requests: how the world is steered while it runs
    world.py         all of it as one application, each venue under its name
    server.py        the HTTP server, run in a child process by ``python -m app.sim``

Nothing here is imported by a stage of the pipeline: the candles come in through the same venue client as real ones.
"""
