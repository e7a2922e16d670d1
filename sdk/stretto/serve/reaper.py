"""A program beside a local Ray that ends what is left of it when the process that started it has died.

Linux kills the processes that a dead one had started itself, but a worker or an agent of Ray's that was just starting
then waits for the cluster's head: 62 to 71 seconds, measured on Ray 2.60. This is run as ``python reaper.py MARK``,
MARK being in the environment of all that Ray started, and reads its input: words mean that Ray was stopped in order,
a bare end that nobody is there to do it. It has no imports but these, so that it takes little.
"""

import os
import signal
import sys
import time

VARIABLE = "STRETTO_LOCAL_RAY"
SECONDS = 10.0


def marked(mark: str) -> list[int]:
    """Return the processes of this user that have the mark in their environment."""
    found: list[int] = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - pathlib takes longer to import than this runs
        try:
            with open(f"/proc/{name}/environ", "rb") as environment:  # noqa: PTH123
                if f"{VARIABLE}={mark}".encode() in environment.read():
                    found.append(int(name))
        except OSError:
            continue
    return found


def main(mark: str) -> None:
    """Wait for the end, and see to it that it is one."""
    if sys.stdin.buffer.read():
        return
    deadline = time.monotonic() + SECONDS
    quiet = 0
    # Twice nothing: what is being started while it is looked for is found the second time.
    while quiet < 2 and time.monotonic() < deadline:
        left = marked(mark)
        quiet = 0 if left else quiet + 1
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except OSError:
                continue
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1])
