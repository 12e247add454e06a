"""The picture of the README: `/health` over time on three loops, while requests to another endpoint block.

The application and the server are those of compare.py. At second 1 comes one request that blocks for a second, at
second 4 come four at once; `/health` is probed every 20 ms all the while. A point is a probe: when it was due, and how
long it took.

    python benches/picture.py              measures, writes docs/health.json, draws docs/health.svg
    python benches/picture.py --draw       only draws
"""

import argparse
import asyncio
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
DATA, PICTURE = DOCS / "health.json", DOCS / "health.svg"

COMING = {1: 1, 4: 4}  # the second at which requests come that block -> how many
BLOCKS = 1  # seconds
LASTS = 10  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="only draw what was measured before")
    if not parser.parse_args().draw:
        DATA.write_text(written(measure()))
    PICTURE.write_text(drawn(json.loads(DATA.read_text())))


# what is measured


def measure() -> dict[str, Any]:
    from compare import EXAMPLES, LOOPS, serving

    points = {}
    for loop in LOOPS:
        with serving(loop, EXAMPLES, "blocked_endpoint:app", EXAMPLE_SECONDS=str(BLOCKS)) as port:
            points[loop] = asyncio.run(play(port))
    return {"python": platform.python_version(), "processors": os.cpu_count(), "loops": points}


async def play(port: int) -> list[tuple[float, float]]:
    """The seconds at which each probe was due, and how long it took."""
    from compare import PROBE_INTERVAL, get

    await get(port, "/health")  # the first request pays for the server's imports
    begun = time.perf_counter()

    async def probe(due: float) -> tuple[float, float]:
        await get(port, "/health")
        return due, time.perf_counter() - begun - due

    probes, blocking, coming = [], [], dict(COMING)
    async with asyncio.timeout(10 * LASTS), asyncio.TaskGroup() as group:
        while (due := len(probes) * PROBE_INTERVAL) < LASTS:
            await asyncio.sleep(begun + due - time.perf_counter())
            for _ in range(coming.pop(int(due), 0) if int(due) in coming else 0):
                blocking.append(group.create_task(get(port, "/")))
            probes.append(group.create_task(probe(due)))
    return [each.result() for each in probes]


def written(measured: dict[str, Any]) -> str:
    """JSON with a line for each loop; seconds to a tenth of a millisecond."""
    loops = {
        name: json.dumps([[round(due, 2), round(took, 4)] for due, took in points], separators=(",", ":"))
        for name, points in measured["loops"].items()
    }
    lines = ",\n".join(f'"{name}":{points}' for name, points in loops.items())
    head = json.dumps({key: value for key, value in measured.items() if key != "loops"})
    return f'{head[:-1]}, "loops": {{\n{lines}\n}}}}\n'


# what is drawn

LEFT, RIGHT, TOP, PANEL, GAP = 120, 740, 34, 74, 14  # pixels
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #59636e }
.name { font-size: 14px; font-weight: 600; fill: #1f2328 }
.line { stroke: #d1d9e0 }
.asyncio { fill: #d1242f } .uvloop { fill: #bf8700 } .everloop { fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1 } .name { fill: #f0f6fc } .line { stroke: #3d444d }
  .asyncio { fill: #f85149 } .uvloop { fill: #d29922 } .everloop { fill: #3fb950 }
}
"""


def drawn(measured: dict[str, Any]) -> str:
    loops = measured["loops"]
    highest = max(took for points in loops.values() for _, took in points)
    bottom = TOP + len(loops) * (PANEL + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {RIGHT + 20} {bottom + 26}" role="img">',
        "<title>How long /health takes, over time, while requests to another endpoint block for a second</title>",
        f"<style>{STYLE}</style>",
    ]
    parts.append(f'<text x="10" y="{TOP - 14}">/health takes</text>')
    for second, count in COMING.items():
        at = across(second)
        said = f"{count} request{'s' if count > 1 else ''} that block{'s' if count == 1 else ''} for {BLOCKS} s"
        parts.append(f'<line class="line" x1="{at}" x2="{at}" y1="{TOP - 6}" y2="{bottom}" stroke-dasharray="3"/>')
        parts.append(f'<text x="{at}" y="{TOP - 14}">{said}</text>')
    for number, (name, points) in enumerate(loops.items()):
        base = TOP + number * (PANEL + GAP) + PANEL
        line = " ".join(f"{across(due)},{base - PANEL * took / highest:.1f}" for due, took in points)
        worst = max(took for _, took in points)
        parts += [
            f'<text class="name" x="10" y="{base - PANEL / 2}">{name}</text>',
            f'<text x="10" y="{base - PANEL / 2 + 18}">worst {shown(worst)}</text>',
            f'<line class="line" x1="{LEFT}" x2="{RIGHT}" y1="{base}" y2="{base}"/>',
            # at least a pixel high: what takes a millisecond is there, too
            f'<polygon class="{name}" points="{LEFT},{base + 1} {line} {across(points[-1][0])},{base + 1}"/>',
        ]
    parts += [f'<text x="{across(second)}" y="{bottom + 14}">{second} s</text>' for second in range(0, LASTS, 2)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def across(second: float) -> str:
    return f"{LEFT + (RIGHT - LEFT) * second / LASTS:.1f}"


def shown(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    main()
