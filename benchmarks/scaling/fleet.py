"""Many Dask workers with one thread each in one process.

usage: python benchmarks/scaling/fleet.py SCHEDULER COUNT FOLDER
"""

from __future__ import annotations

import asyncio
import sys

from distributed import Worker


async def main(address: str, count: int, folder: str) -> None:
    """Start them, and wait until the process is ended."""
    workers = [
        Worker(address, nthreads=1, memory_limit=0, dashboard=False, local_directory=folder, name=number)
        for number in range(count)
    ]
    await asyncio.gather(*workers)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
