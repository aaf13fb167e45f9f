"""The figures of ``veriregime bench serving`` as a person reads them."""

from __future__ import annotations

from typing import Any

from app.bench.table import NONE, aligned

_FIGURES = ("median", "p95", "largest")


def as_text(found: dict[str, Any]) -> str:
    parts = (("ticks", _ticks), ("latest", _latest), ("streams", _streams), ("load", _load))
    return "\n\n".join("\n".join(told(found)) for name, told in parts if name in found)


def _ticks(found: dict[str, Any]) -> list[str]:
    seconds, steps = found["seconds"], found["steps"]
    return [
        f"{found['ticks']} ticks of {found['feeds']} feed(s) from {found['venues']} venues at {found['speed']:g} "
        f"times real time, {found['missed']} windows missed",
        f"last candle at the venue to proved forecast in latest: median {seconds['median']:.3f} s, "
        f"p95 {seconds['p95']:.3f} s, largest {seconds['largest']:.3f} s "
        f"(of them {found['settle_s']:g} s of waiting for the candle to settle)",
        "of that, in the median: " + ", ".join(f"{name} {value:.3f} s" for name, value in steps.items()),
    ]


def _latest(found: dict[str, Any]) -> list[str]:
    latest = found["latest"]
    effort = latest["effort"]
    lines = [
        f"GET latest against a bare FastAPI route with the same bytes: {found['latest_vs_bare']:.2f}, "
        "the smallest of the ratios in brackets"
    ]
    for kind in ("without_proof", "with_proof"):
        lines += _kind(kind.replace("_", " "), latest[kind])
    if latest["while_ticking"]:
        busy = latest["while_ticking"]
        lines.append(
            f"  the service itself, while it ticks and proves: at most {busy['requests_per_second']:,} requests a "
            f"second, {_half(busy['at_half_load'])}"
        )
    lines.append(
        f"medians of {effort['rounds']} rounds of {effort['round_s']:g} s over {effort['connections']} connections; "
        f"load average of the machine {latest['load_average']:.1f}"
    )
    return lines


def _kind(name: str, figures: dict[str, Any]) -> list[str]:
    ours, bare = figures["product"], figures["bare"]
    return [
        f"  {name}, {figures['bytes']:,} bytes",
        f"    requests a second: {ours['requests_per_second']:,}, bare {bare['requests_per_second']:,} "
        f"({figures['ratio_of_requests']:.2f})",
        f"    processor for each: {ours['server_cpu_us_per_request']:.0f} µs, bare "
        f"{bare['server_cpu_us_per_request']:.0f} ({figures['ratio_of_server_cpu']:.2f})",
        f"    share of a core: {ours['server_cpu_share']:.0%}, bare {bare['server_cpu_share']:.0%}; "
        f"the client {ours['client_cpu_share']:.0%} and {bare['client_cpu_share']:.0%}",
        f"    {_half(figures['at_half_load'])}",
    ]


def _half(half: dict[str, Any]) -> str:
    latency, late = half["latency_ms"], half["sent_late_ms"]
    return (
        f"at half of that ({half['per_second']:,}): median {latency['median']:.1f} ms, p99 {latency['p99']:.1f} ms "
        f"(the client itself was late by {late['median']:.1f} and {late['p99']:.1f} ms)"
    )


def _streams(found: dict[str, Any]) -> list[str]:
    streams = found["streams"]
    delay, memory = streams["delay_ms"], streams["server_mib"]
    lines = [
        f"{streams['clients']:,} clients of the stream at once, {streams['events']} events at "
        f"{streams['per_second']:g} a second: {streams['missed']} missed, {streams['repeated']} repeated, "
        f"{streams['resumed']} went away and resumed, {streams['cut_off']} cut off",
        f"  server: {memory['before']:.0f} MiB before, {memory['with_clients']:.0f} with the clients, "
        f"{memory['after_events']:.0f} after the events",
    ]
    if delay:
        lines.append(f"  from commit to client: median {delay['median']:.0f} ms, p99 {delay['p99']:.0f} ms")
    return lines


def _load(found: dict[str, Any]) -> list[str]:
    load = found["load"]
    heads = ["", "windows", "missed", *(f"{step} {figure}" for step in ("stored", "served") for figure in _FIGURES)]
    heads += ["answers/s", "p99 ms", "5xx or lost", "later by s"]
    lines = [
        f"{load['seconds']:g} s each, a market at {load['speed']:g} times real time, {load['connections']} connections "
        "that ask again at once; seconds from a window's end",
        aligned(heads, [_stretch(one) for one in load["stretches"]]),
    ]
    lines += [
        f"{one['name']}: {one['answers']['not_200']}" for one in load["stretches"][1:] if one["answers"]["not_200"]
    ]
    return [*lines, f"no tick more than a second beyond the quiet ones, no 5xx: {'yes' if load['holds'] else 'NO'}"]


def _stretch(one: dict[str, Any]) -> list[str]:
    ticks, answers = one["ticks"], one["answers"]
    cells = [one["name"], str(ticks["windows"]), str(ticks["missed"])]
    for step in ("stored_s", "served_s"):
        cells += [f"{ticks[step][figure]:.2f}" if ticks[step] else NONE for figure in _FIGURES]
    if not answers:
        return [*cells, *[NONE] * 4]
    took = answers["took_ms"]
    return [
        *cells,
        f"{answers['per_second']:,.0f}",
        f"{took['p99']:.1f}" if took else NONE,
        str(one["server_errors"]),
        max(
            (f"{later:+.2f}" for later in one["later_than_quiet_s"].values() if later is not None),
            key=float,
            default=NONE,
        ),
    ]
