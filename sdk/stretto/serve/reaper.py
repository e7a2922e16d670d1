"""A program that kills what is left of a local Ray when the process that started it has died.

Linux kills the processes that a dead one had started itself, but a worker or an agent of Ray's that was just starting
then waits for the cluster's head: 62 to 71 seconds, measured on Ray 2.60. This runs as ``python reaper.py MARK`` with
MARK in the environment of all that Ray started, and reads its input: text means that Ray was stopped in order, an end
of file without any that its owner is dead. It has no other imports, so that it takes little memory.
"""

import os
import signal
import sys
import time

VARIABLE = "STRETTO_LOCAL_RAY"
SECONDS = 10.0


def marked(mark: str) -> list[int]:
    """Return the processes of this user that have the mark in their environment."""
    processes: list[int] = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - pathlib takes longer to import than this runs
        try:
            with open(f"/proc/{name}/environ", "rb") as environment:  # noqa: PTH123
                if f"{VARIABLE}={mark}".encode() in environment.read():
                    processes.append(int(name))
        except OSError:
            continue
    return processes


def main(mark: str) -> None:
    """Wait for the parent to exit, then kill the marked processes that are left."""
    if sys.stdin.buffer.read():
        return
    deadline = time.monotonic() + SECONDS
    empty_rounds = 0
    # Two rounds without any: a process that is just being started is found the second time.
    while empty_rounds < 2 and time.monotonic() < deadline:
        left = marked(mark)
        empty_rounds = 0 if left else empty_rounds + 1
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except OSError:
                continue
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1])
