"""A process that tokenises slowly, for others to kill: `python token_cache_worker.py DIRECTORY ROWS [SECONDS [WAIT]]`.

It prints a line for every shard that is finished and, at the end, how often it called the tokenizer. Once WAIT rows
are done it waits for a line on its standard input.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from camelid_core.builtin.templates import CHATML
from camelid_core.records import alpaca
from camelid_core.testing import tiny_tokenizer
from camelid_core.token_cache import TokenCache, cache
from camelid_core.tokenization.encoder import Encoder

cache.SHARD_ROWS = 64


class Slow(Encoder):
    """Counts its calls and takes its time over them."""

    calls = 0
    seconds = 0.0

    def tokens(self, conversations):
        type(self).calls += 1
        time.sleep(self.seconds)
        return super().tokens(conversations)


def rows(count):
    return (alpaca(f"question {number}", f"answer {number}", source="made") for number in range(count))


def main(directory: str, count: str, seconds: str = "0", wait: str = "-1") -> None:
    def tell(done: int, _: int | None) -> None:
        print("done", done, flush=True)
        if done == int(wait):
            sys.stdin.readline()

    Slow.seconds = float(seconds)
    encoder = Slow(tiny_tokenizer(), CHATML)
    encoded = TokenCache(Path(directory)).encode(rows(int(count)), encoder, workers=2, progress=tell)
    print("calls", Slow.calls, len(encoded), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
