"""How every library stands beside ours on MobileNet-V1 as a whole, from results of `mobilenet`: tables in Markdown.

python experiments/network_peers.py DIR [PART]

A PART is conv, block1, ..., classifier; without one it is the whole. A peer's time over ours is from paired samples, with its
95 % interval: above 1 we are the faster ones.
"""

import sys
from pathlib import Path

from sepconv_bench.model.declaration import OURS
from sepconv_bench.model.networks import WHOLE
from sepconv_bench.results import store


def row(*cells):
    print("|", " | ".join(str(cell) for cell in cells), "|")


def beside_ours(cell, operator):
    """By variant: its milliseconds, and its time over ours."""
    timed = {name: one for name, one in cell.declared.items() if one.operator == operator and name in cell.times}
    ours = next(name for name, one in timed.items() if one.library == OURS)
    return {one.variant: (one, cell.times[name].value * 1e3, cell.ratio(name, ours)) for name, one in timed.items()}


def described(found, variant):
    if variant not in found:
        return "", ""
    declared, milliseconds, ratio = found[variant]
    over = "" if declared.library == OURS else f"{ratio.value:.3f} ({ratio.lo:.3f} to {ratio.hi:.3f})"
    return f"{milliseconds:.3g}" + ", Winograd" * (declared.algorithm == "winograd"), over


if __name__ == "__main__":
    part = sys.argv[2] if len(sys.argv) > 2 else WHOLE
    with store.open_results(Path(sys.argv[1])) as results:
        for cell in results.parts():
            if cell.network.part != part:
                continue
            sides = {"separable": "MobileNet-V1", "standard": "its counterpart"}
            found = {side: beside_ours(cell, side) for side in sides}
            blocks = sum(len(blocks) > 0 for blocks in cell.samples["cpu.separable.plan"])
            network = f"alpha {cell.network.alpha:g}, {cell.network.resolution} wide, batch {cell.network.batch}"
            print(f"\n{network}, {part}, {blocks} blocks\n")
            row("", *(f"{name}{what}" for name in sides.values() for what in (", ms", ", over ours")))
            row("---", *["---:"] * 4)
            variants = dict.fromkeys(variant for side in found.values() for variant in side)
            for variant in sorted(variants, key=lambda name: found["separable"].get(name, (0, 1e9))[1]):
                row(variant, *(text for side in found.values() for text in described(side, variant)))
