"""``veriregime api``: everything that is answered over HTTP, and nothing else."""

from __future__ import annotations

from app.cli.terminal import MarketStart, Port, Speed, WallStart, market_clock, read_settings


def api(
    port: Port = None,
    market_start_ms: MarketStart = None,
    wall_start_ms: WallStart = 0,
    speed: Speed = 1.0,
) -> None:
    """Run the HTTP side alone, where pipelines run elsewhere.

    Reads the database that pipelines write, so it wants the same VERIREGIME_DATABASE_URL and feeds; any number of such
    processes answer alike. Goes on until Ctrl-C or SIGTERM.
    """
    from app.serve import serve_api
    from app.web.server import listen

    settings = read_settings(port=port)
    listener = listen(settings.host, settings.port)
    serve_api(settings, listener, market_clock(market_start_ms, wall_start_ms, speed))
