"""A market on this machine, off the path of production: it takes the place of a venue in the demo and in the tests.

    market.py      what a market is, and a simulated one: seeded, one-minute candles, the same for everyone who asks
    recorded.py    the same over a candle file, with the times it was recorded at
    klines.py      what a venue shows of a market at one moment: the minute still forming, intervals, pages
    weights.py     how much of its request budget a client has used
    binance.py     Binance's public REST protocol over a market, so that ccxt needs nothing but another base URL
    server.py      the HTTP server, run in a child process by ``python -m app.sim``

Nothing here is imported by a stage of the pipeline: the candles come in through the same venue client as real ones.
"""
