"""A process pool of Python's on one piece of work, served to the bench a turn at a time.

    pools.py PEER WORK SIZE

Reads `ready?`, `check` or `turn` from its standard input, a line each, and answers each with a
line: `ready`, or the seconds an item and whether the answer was right. It times itself.
"""

import asyncio
import sys
import time

WIDTH = 2
CHUNKS = 64


def echo(number):
    return number ^ 1


async def echo_async(number):
    return number ^ 1


def axpy(x):
    return x * 1.0001 + 3.0


async def axpy_async(x):
    return axpy(x)


class Multiprocessing:
    """The standard pool."""

    def __init__(self, method):
        import multiprocessing

        self.pool = multiprocessing.get_context(method).Pool(WIDTH)

    def map(self, function, items, chunk):
        return self.pool.map(function, items, chunksize=chunk)

    def close(self):
        self.pool.terminate()
        self.pool.join()


class Executor:
    def __init__(self, method):
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        context = multiprocessing.get_context(method)
        self.pool = ProcessPoolExecutor(WIDTH, mp_context=context)

    def map(self, function, items, chunk):
        return list(self.pool.map(function, items, chunksize=chunk))

    def close(self):
        self.pool.shutdown()


class Joblib:
    """Its default backend, loky, which starts workers anew whatever the method; arrays of more than
    1 MB go through files that are mapped."""

    def __init__(self, method):
        import joblib

        self.joblib = joblib

    def map(self, function, items, chunk):
        call = self.joblib.delayed(function)
        pool = self.joblib.Parallel(n_jobs=WIDTH, batch_size=chunk)
        return pool(call(item) for item in items)

    def close(self):
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)


class Mpire:
    def __init__(self, method):
        from mpire import WorkerPool

        self.pool = WorkerPool(n_jobs=WIDTH, start_method=method, keep_alive=True)

    def map(self, function, items, chunk):
        # An array is one argument, not many.
        packed = ((item,) for item in items)
        return self.pool.map(function, packed, iterable_len=len(items), chunk_size=chunk,
                             concatenate_numpy_output=False)

    def close(self):
        self.pool.terminate()


class Aiomultiprocess:
    """Its workers run coroutines, and it has no chunks."""

    def __init__(self, method):
        import aiomultiprocess

        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        aiomultiprocess.set_start_method(method)

        async def make():
            return aiomultiprocess.Pool(processes=WIDTH)

        self.pool = self.loop.run_until_complete(make())

    def map(self, function, items, chunk):
        asynchronous = {echo: echo_async, axpy: axpy_async}[function]

        async def run():
            return await self.pool.map(asynchronous, items)

        return self.loop.run_until_complete(run())

    def close(self):
        async def end():
            self.pool.terminate()
            await self.pool.join()

        self.loop.run_until_complete(end())


class Aioprocessing:
    """It forks, whatever the method."""

    def __init__(self, method):
        import aioprocessing

        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.pool = aioprocessing.AioPool(WIDTH)

    def map(self, function, items, chunk):
        async def run():
            return await self.pool.coro_map(function, items, chunksize=chunk)

        return self.loop.run_until_complete(run())

    def close(self):
        self.pool.terminate()


class Alone:
    """No pool: NumPy on one thread."""

    def __init__(self, method):
        pass

    def map(self, function, items, chunk):
        return [function(item) for item in items]

    def close(self):
        pass


PEERS = {
    "multiprocessing.Pool": Multiprocessing,
    "ProcessPoolExecutor": Executor,
    "joblib": Joblib,
    "mpire": Mpire,
    "aiomultiprocess": Aiomultiprocess,
    "aioprocessing": Aioprocessing,
    "NumPy alone": Alone,
}


class Calls:
    """No-op calls: `chunk` of them a message."""

    def __init__(self, pool, count, chunk):
        self.pool, self.count, self.chunk = pool, count, chunk

    def wake(self):
        self.pool.map(echo, range(WIDTH), 1)

    def turn(self, check):
        began = time.perf_counter()
        answers = self.pool.map(echo, range(self.count), self.chunk)
        elapsed = time.perf_counter() - began
        return elapsed / self.count, list(answers) == [echo(n) for n in range(self.count)]


class OneCall:
    """One call after the other."""

    COUNT = 10

    def __init__(self, pool, size):
        self.pool = pool

    def wake(self):
        self.pool.map(echo, [0], 1)

    def turn(self, check):
        right = True
        began = time.perf_counter()
        for number in range(self.COUNT):
            right &= list(self.pool.map(echo, [number], 1)) == [echo(number)]
        return (time.perf_counter() - began) / self.COUNT, right


class Map:
    """The map of (a) over an array in chunks."""

    def __init__(self, pool, size):
        # Not at the top, or workers that are started anew would all load it.
        import numpy

        self.numpy = numpy
        self.pool = pool
        self.chunks = numpy.array_split(numpy.arange(size, dtype=numpy.float64), CHUNKS)

    def wake(self):
        self.pool.map(echo, range(WIDTH), 1)

    def turn(self, check):
        began = time.perf_counter()
        answers = self.pool.map(axpy, self.chunks, 1)
        elapsed = time.perf_counter() - began
        pairs = zip(self.chunks, answers)
        right = len(answers) == CHUNKS
        right &= not check or all(self.numpy.array_equal(axpy(x), y) for x, y in pairs)
        return elapsed, right


class Start:
    """A pool from nothing to its first answer."""

    def __init__(self, make, method):
        self.make, self.method = make, method

    def wake(self):
        pass

    def turn(self, check):
        began = time.perf_counter()
        pool = self.make(self.method)
        right = list(pool.map(echo, range(WIDTH), 1)) == [1, 0]
        elapsed = time.perf_counter() - began
        pool.close()
        return elapsed, right


def main():
    peer, work, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    make = PEERS[peer]
    pool = None if work.startswith("start/") else make("fork")
    served = {
        "tasks": lambda: Calls(pool, size, 1),
        "batches": lambda: Calls(pool, size, max(1, size // 8)),
        "call": lambda: OneCall(pool, size),
        "map": lambda: Map(pool, size),
        "start/fork": lambda: Start(make, "fork"),
        "start/spawn": lambda: Start(make, "spawn"),
    }[work]()
    for line in sys.stdin:
        if line.strip() == "ready?":
            served.wake()
            print("ready", flush=True)
            continue
        # It was stopped while it was not its turn.
        served.wake()
        seconds, right = served.turn(line.strip() == "check")
        print(f"{seconds!r} {'true' if right else 'false'}", flush=True)
    if pool is not None:
        pool.close()


if __name__ == "__main__":
    main()
