"""What prediction and vectorizing cost: time a megapixel, and peak memory at one height and at four times that height.

usage: python benchmarks/cost.py [--size 4096] [--folder DIR]

Each step runs in a process of its own, so that its peak memory is its own. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio

STEP = """
import json, pathlib, sys, time
import geoseg
call = json.loads(sys.argv[1])
start = time.perf_counter()
getattr(geoseg, call["function"])(*call["args"], **call["kwargs"])
seconds = time.perf_counter() - start
# VmHWM and not ru_maxrss: the latter starts with what the parent process held.
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "peak": peak * 1024}))
"""


def measure(function: str, *args: str, **kwargs: object) -> tuple[float, float]:
    """Seconds and peak bytes of one public function in a fresh process."""
    call = json.dumps({"function": function, "args": args, "kwargs": kwargs})
    done = subprocess.run([sys.executable, "-c", STEP, call], check=True, stdout=subprocess.PIPE, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    return result["seconds"], result["peak"]


def stacked(source: Path, target: Path, times: int) -> Path:
    """The same scene ``times`` above itself: more height, the same width and content."""
    with rasterio.open(source) as scene:
        pixels, profile = scene.read(), scene.profile | {"height": scene.height * times, "BIGTIFF": "IF_SAFER"}
    with rasterio.open(target, "w", **profile) as file:
        for k in range(times):
            window = rasterio.windows.Window(0, k * pixels.shape[1], pixels.shape[2], pixels.shape[1])
            file.write(pixels, window=window)
    return target


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        import geoseg

        made = geoseg.make_scene(folder, height=args.size, width=args.size)
        tall = stacked(made.scene, folder / "tall.tif", 4)
        with rasterio.open(made.scene) as scene:
            valid = float(np.mean(scene.dataset_mask(out_shape=(512, 512)) > 0))
        print(f"Synthetic scene, {args.size} px wide, {100 * valid:.0f} % valid.\n")
        print("| step | scene | s | s/Mpx | peak memory |\n|---|---|---|---|---|")
        for path in (made.scene, tall):
            with rasterio.open(path) as scene:
                size, mpx = f"{scene.height}×{scene.width}", scene.height * scene.width / 1e6
            labels = folder / f"{path.stem}_landcover.tif"
            for name, call in {
                "predict --confidence": ("predict", str(path), {"confidence": True, "overwrite": True}),
                "vectorize": ("vectorize", str(labels), {"overwrite": True}),
                "vectorize --min-area 2000": ("vectorize", str(labels), {"min_area": 2000.0, "overwrite": True}),
            }.items():
                seconds, peak = measure(call[0], call[1], **call[2])
                print(f"| {name} | {size} | {seconds:.1f} | {seconds / mpx:.2f} | {peak / 2**30:.2f} GiB |", flush=True)


if __name__ == "__main__":
    main()
