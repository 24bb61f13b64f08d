"""Work that routes ask for, off the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web


class Aside:
    """One thread for one kind of question: the event loop goes on serving, and a flood of questions can't take every core.

    most: questions at a time; more are refused (503, `flooded`). patience: seconds that an answer may take (503, `late`); work
    that takes longer still ends in its thread.
    """

    def __init__(self, name: str, most: int, patience: float, flooded: str, late: str):
        self.pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.most, self.patience, self.flooded, self.late = most, patience, flooded, late
        self.waiting = 0

    async def __call__(self, work: Callable, *values):
        """The result of work(*values)."""
        if self.waiting >= self.most:
            raise web.HTTPServiceUnavailable(text=self.flooded)
        self.waiting += 1
        done = asyncio.get_running_loop().run_in_executor(self.pool, work, *values)
        done.add_done_callback(self._finished)
        await asyncio.wait({done}, timeout=self.patience)
        if not done.done():
            raise web.HTTPServiceUnavailable(text=self.late)
        return done.result()

    def _finished(self, done: asyncio.Future) -> None:
        self.waiting -= 1
        if not done.cancelled():
            done.exception()  # whoever asked may have left: not a loss to tell of
