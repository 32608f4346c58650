"""What a proxy takes before and beside its requests: time to start, memory, the size of its file.

Memory is what the kernel calls resident, of all its processes, as `ps` adds it up; beside it, in the data,
the proportional share, in which nginx's two processes count common pages once.
"""

import pathlib
import statistics
import time

import bed
import contenders
import measure
import memory

# Idle clients at which memory is read; each has asked once and stays.
CLIENTS = (10, 100, 250, 500, 750, 1000)
# Connections (users) that Daypass has in memory at the end.
CACHED = 100_000


def starts(contender, setting, times):
    """Milliseconds from the start of the process to its first 200."""
    taken = []
    for _ in range(times):
        with contender.started(setting) as process:
            taken.append(process.await_answer() * 1e3)
    return taken


def resident(process):
    return {"rss_mb": process.rss(), "pss_mb": process.pss()}


def memory_of(contender, setting, seconds):
    """Resident memory at rest, after a load of `seconds`, and by idle clients."""
    cell = measure.Cell("http")
    with contender.started(setting) as process:
        process.await_answer()
        time.sleep(0.5)
        found = {"idle": resident(process)}
        measure.wrk(process.port, cell, seconds)
        found["loaded"] = resident(process)
        found["threads"] = process.threads()
        callers, by_clients = [], {}
        try:
            for wanted in CLIENTS:
                while len(callers) < wanted:
                    callers.append(bed.Caller(process.port))
                    callers[-1].ask()
                time.sleep(0.2)
                by_clients[str(wanted)] = resident(process)
        finally:
            for caller in callers:
                caller.socket.close()
        found["clients"] = by_clients
        return found


def cached(daypass, directory, upstream):
    """Resident memory of Daypass with `CACHED` users in memory, each asked for once."""
    folder = pathlib.Path(directory) / "cached"
    folder.mkdir()
    many = memory.Many(daypass.binary, folder, upstream.port, CACHED)
    with many.run("daypass-cached", "info", core=0) as process:
        process.await_answer()
        bed.ask_for(process.port, range(CACHED), connections=32)
        time.sleep(2)
        return resident(process)


def of(contender, upstream, times, seconds):
    """Everything of `contender` that needs no rounds."""
    setting = contenders.Setting(upstream)
    taken = starts(contender, setting, times)
    return {
        "starts_ms": taken, "start_ms": statistics.median(taken),
        "memory": memory_of(contender, setting, seconds),
        "binary_bytes": contender.size(),
    }
