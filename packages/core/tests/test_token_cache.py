"""The token cache: it returns what the encoder gives, makes nothing twice, and uses nothing damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from camelid_core.builtin.templates import ALPACA, CHATML, TULU
from camelid_core.datasets.dataset import Dataset
from camelid_core.errors import CamelidError, DataError
from camelid_core.integrity import safetensors_header
from camelid_core.records import Message, Record, alpaca
from camelid_core.testing import tiny_tokenizer
from camelid_core.token_cache import TokenCache, cache, count_tokens
from camelid_core.token_cache.cache_keys import chunk_key, encoder_key
from camelid_core.tokenization.encoder import IGNORE, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

WORKER = Path(__file__).parent / "token_cache_worker.py"
ENCODER = Encoder(tiny_tokenizer(), CHATML)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(["<|im_end|>", " a", "\n"])
records = st.lists(st.builds(alpaca, text, text, text), max_size=20)


class Counting(Encoder):
    """Counts the conversations it encodes."""

    seen = 0

    def tokens(self, conversations):
        self.seen += len(conversations)
        return super().tokens(conversations)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(cache, "SHARD_ROWS", 8)


@pytest.fixture
def store(tmp_path):
    return TokenCache(tmp_path / "tokens")


def made(count, prefix="question", source="made"):
    return [alpaca(f"{prefix} {number}", f"answer {number}", id=str(number), source=source) for number in range(count)]


def shard_files(store):
    return sorted(store.directory.glob("*/*.safetensors"))


@given(records, st.integers(1, 3))
def test_rows_come_back_as_the_encoder_gives_them(tmp_path_factory, rows, workers):
    encoded = TokenCache(tmp_path_factory.mktemp("tokens")).encode(rows, ENCODER, workers=workers)
    expected = ENCODER.examples([row.messages for row in rows])
    assert list(encoded) == expected
    assert encoded.lengths.tolist() == [len(example.input_ids) for example in expected]
    assert encoded.trained.tolist() == [sum(label != IGNORE for label in example.labels) for example in expected]


@settings(max_examples=20)
@given(st.sampled_from([ALPACA, CHATML, TULU]), records)
def test_arrays_are_the_same_as_examples_one_by_one(tokenizer, template, rows):
    encoder = Encoder(tokenizer, template)
    tokens = encoder.tokens([row.messages for row in rows])
    for number, row in enumerate(rows):
        part = slice(tokens.offsets[number], tokens.offsets[number + 1])
        example = encoder.example(row.messages)
        assert tokens.ids[part].tolist() == example.input_ids
        assert np.where(tokens.trained, tokens.ids, IGNORE)[part].tolist() == example.labels


@given(records.filter(bool), st.integers(1, 80), st.booleans())
def test_a_view_is_every_row_cut_off_or_skipped_without_those_that_have_nothing_left(
    tmp_path_factory, rows, cutoff, whole
):
    encoded = TokenCache(tmp_path_factory.mktemp("tokens")).encode(rows, ENCODER)
    view = encoded.view(cutoff, whole)
    longer = [len(example.input_ids) > cutoff for example in encoded]
    left = [example for example, long in zip(encoded, longer, strict=True) if not (whole and long)]
    cut = [(example.input_ids[:cutoff], example.labels[:cutoff]) for example in left]
    kept = [(ids, labels) for ids, labels in cut if set(labels) != {IGNORE}]
    assert [(example.input_ids, example.labels) for example in view] == kept
    assert view.lengths.tolist() == [len(ids) for ids, _ in kept]
    account = view.counts
    assert (account.rows, account.dropped) == (len(rows), len(rows) - len(kept))
    assert account.truncated == (0 if whole else sum(longer[row] for row in view.rows))
    assert account.total_tokens == sum(len(ids) for ids, _ in kept)
    assert account.trained_tokens == sum(label != IGNORE for _, labels in kept for label in labels)


def test_positions_count_from_both_ends_and_end_there(store, small_shards):
    rows = made(20)
    encoded = store.encode(rows, ENCODER)
    expected = ENCODER.examples([row.messages for row in rows])
    assert [encoded[index] for index in range(-20, 20)] == expected * 2
    assert encoded[7:10] == expected[7:10]
    assert encoded.view(9999)[-3:] == expected[-3:]
    for sequence in (encoded, encoded.view(9999)):
        for index in (20, -21):
            with pytest.raises(IndexError):
                sequence[index]


def test_nothing_is_encoded_twice_and_a_cut_off_costs_nothing(store, small_shards):
    encoder = Counting(tiny_tokenizer(), CHATML)
    whole = store.encode(made(20), encoder)
    again = store.encode(made(20), encoder)
    assert encoder.seen == 20
    assert list(whole) == list(again)
    assert len(again.view(2)) == 0
    assert encoder.seen == 20
    store.encode(made(30), encoder)
    assert encoder.seen == 20 + 4 + 10, "the full shards are shared; the one that was not full is another"


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_parts_made_apart_are_the_shards_of_one_process_each_made_once(tmp_path, small_shards, of):
    """Whoever makes a part, in whatever order: what is on disk then is what one process writes, and it finds it all."""
    rows = made(23)
    whole, parted = TokenCache(tmp_path / "whole"), TokenCache(tmp_path / "parted")
    expected = list(whole.encode(rows, ENCODER))
    counts = [parted.encode_part(rows, ENCODER, number, of, lambda *_: None) for number in reversed(range(of))]
    assert sum(counts) == len(rows)
    assert [path.name for path in shard_files(parted)] == [path.name for path in shard_files(whole)]
    before = {path: path.stat().st_ino for path in shard_files(parted)}
    assert list(parted.encode(rows, ENCODER)) == expected
    assert {path: path.stat().st_ino for path in shard_files(parted)} == before


def test_more_shards_than_are_held_open(store, small_shards):
    rows = made(400)
    assert list(store.encode(rows, ENCODER)) == ENCODER.examples([row.messages for row in rows])


def test_a_shard_is_named_by_all_that_its_tokens_depend_on():
    other = tiny_tokenizer(("<|im_start|>", "<|im_end|>", "<|pad|>"))
    ended = tiny_tokenizer()
    ended.eos_token = "<|endoftext|>"
    masked = replace(CHATML, answer_start="", assistant="<|im_start|>assistant\n", closing="")
    keys = {
        encoder_key(Encoder(*pair))
        for pair in ((tiny_tokenizer(), CHATML), (other, CHATML), (ended, CHATML), (tiny_tokenizer(), ALPACA),
                     (tiny_tokenizer(), masked), (tiny_tokenizer(vocabulary=400), CHATML))
    }  # fmt: skip
    assert len(keys) == 6
    assert encoder_key(ENCODER) == encoder_key(Encoder(tiny_tokenizer(), replace(CHATML)))


def test_a_tokenizer_that_cuts_or_pads_is_the_same_tokenizer():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=400)
    assert encoder_key(Encoder(tokenizer, CHATML)) == encoder_key(ENCODER)


@given(records, records)
def test_other_words_have_another_name(one, two):
    same = [row.messages for row in one] == [row.messages for row in two]
    assert (chunk_key(one) == chunk_key(two)) == same


def test_where_a_text_ends_is_part_of_its_name():
    def named(*messages):
        return chunk_key([Record(tuple(Message(*message) for message in messages))])

    assert named(("user", "ab", "c")) != named(("user", "a", "bc"))
    assert named(("user", "a"), ("assistant", "b")) != named(("user", "a\nassistant 1 0\nb"))
    assert chunk_key(made(2)) != chunk_key([Record(made(2)[0].messages + made(2)[1].messages)])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:],
        lambda data: data[:-30] + bytes(30),
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data.replace(b'"rows":"8"', b'"rows":"9"'),
        lambda data: data.replace(b'"tokens"', b'"smoked"'),
    ],
    ids=["half", "nothing", "a bit", "zeros", "header", "rows", "facts"],
)
def test_a_damaged_shard_is_seen_and_made_again(store, small_shards, damage):
    encoder = Counting(tiny_tokenizer(), CHATML)
    expected = list(store.encode(made(16), encoder))
    for path in shard_files(store)[:1]:
        damaged = damage(path.read_bytes())
        assert damaged != path.read_bytes()
        path.write_bytes(damaged)
    assert list(store.encode(made(16), encoder)) == expected
    assert encoder.seen == 16 + 8
    assert all(safetensors_header(path) for path in shard_files(store))


def run_worker(*arguments):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(WORKER), *map(str, arguments)], **pipes)


def test_killed_halfway_it_goes_on_behind_the_finished_shards(tmp_path):
    first = run_worker(tmp_path / "tokens", 640, 0.05, 256)
    for line in first.stdout:
        if line == "done 256\n":
            os.kill(first.pid, signal.SIGKILL)
            break
    first.communicate()
    finished = {path: path.stat().st_ino for path in (tmp_path / "tokens").glob("*/*.safetensors")}
    assert 4 <= len(finished) < 10
    second = run_worker(tmp_path / "tokens", 640)
    out, _ = second.communicate()
    assert out.splitlines()[-1] == f"calls {10 - len(finished)} 640"
    assert {path: path.stat().st_ino for path in finished} == finished, "no finished shard was written again"
    TokenCache(tmp_path / "tokens").prune()
    assert not list((tmp_path / "tokens").glob("*/.*")), "nor is anything left of the kill"


def test_two_processes_share_the_work_and_never_disagree(tmp_path):
    both = [run_worker(tmp_path / "tokens", 640, 0.02) for _ in range(2)]
    calls = [int(process.communicate()[0].splitlines()[-1].split()[1]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(calls) == 10
    encoded = TokenCache(tmp_path / "tokens")
    assert sum(entry.rows for entry in encoded.entries()) == 640


def test_threads_share_the_work_too(store, small_shards):
    encoder = Counting(tiny_tokenizer(), CHATML)
    threads = [threading.Thread(target=store.encode, args=(made(80), encoder)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert encoder.seen == 80


def test_memory_does_not_grow_with_the_rows(store, monkeypatch):
    monkeypatch.setattr(cache, "SHARD_ROWS", 256)
    held: list[int] = []

    def stream(count):
        return (alpaca(f"{number} " * 40, "yes " * 100, source="made") for number in range(count))

    tracemalloc.start()
    try:
        store.encode(stream(4096), ENCODER, progress=lambda *_: held.append(tracemalloc.get_traced_memory()[0]))
    finally:
        tracemalloc.stop()
    assert sum(entry.bytes for entry in store.entries()) > 7e6
    assert min(held[8:]) - min(held[:8]) < 1e6, "the second half takes no more than the first"


def test_a_long_conversation_ends_a_shard_early(store, monkeypatch):
    monkeypatch.setattr(cache, "SHARD_CHARACTERS", 1000)
    store.encode([alpaca("x " * 300, str(number)) for number in range(4)] + made(5), ENCODER)
    assert len(shard_files(store)) == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_conversations_without_a_form_are_counted_and_the_first_are_named(store, small_shards, workers):
    rows = made(20)
    for at in (3, 11, 12, 17):
        rows[at] = Record((Message("user", "and?"),), id=str(at + 1), source="made")
    for _ in range(2):  # the second time from the disk
        encoded = store.encode(rows, ENCODER, workers=workers)
        account = encoded.view(512).counts
        assert (account.rows, account.refused, account.dropped) == (20, 4, 0)
        assert encoded[11].input_ids == []
        why = "template 'chatml': the last turn is from 'user', not from 'assistant'"
        named = "; ".join(f"row {number} of 'made': {why}" for number in (4, 12, 13))
        note = f"4 rows were left out, for which the template has no form: {named}; and 1 more."
        assert encoded.refusal_note() == note
    assert store.encode(made(3), ENCODER).refusal_note() == ""


def test_an_error_of_the_source_comes_through(store, small_shards):
    def broken():
        yield from made(30)
        raise DataError("line 31 is torn")

    with pytest.raises(DataError, match="line 31 is torn"):
        store.encode(broken(), ENCODER)
    encoder = Counting(tiny_tokenizer(), CHATML)
    store.encode(made(24), encoder)
    assert encoder.seen == 0, "what came before is kept"


def test_how_far_it_is_is_told_and_may_end_it(store, small_shards):
    told = []
    store.encode(made(20), ENCODER, total=20, progress=lambda *step: told.append(step))
    assert told == [(8, 20), (16, 20), (20, 20)]

    def enough(done, total):
        raise CamelidError("enough")

    with pytest.raises(CamelidError, match="enough"):
        store.encode(made(20, "other"), ENCODER, progress=enough)


def aged(store, days, template):
    for path in shard_files(store):
        facts = safetensors_header(path)["__metadata__"]
        if facts["template"] == template:
            os.utime(path, (time.time() - days * 86400,) * 2)


def test_entries_say_what_is_there_and_when_it_was_used(store, small_shards):
    store.encode(made(20, source="one") + made(4, "x", source="two"), ENCODER)
    store.encode(made(20, source="one"), Encoder(tiny_tokenizer(), TULU))
    aged(store, 10, "chatml")
    newest, *older = store.entries()
    assert (newest.template, newest.rows, newest.sources) == ("tulu", 20, ("one",))
    assert {entry.template for entry in older} == {"chatml"}
    assert sum(entry.rows for entry in older) == 24
    assert sum(entry.bytes for entry in (newest, *older)) == sum(path.stat().st_size for path in shard_files(store))
    store.encode(made(8, source="one"), ENCODER)
    assert store.entries()[0].template == "chatml", "reading is using"


def test_pruning_takes_the_old_then_the_longest_unused(store, small_shards):
    for template, days in ((CHATML, 40), (TULU, 20), (ALPACA, 1)):
        store.encode(made(20), Encoder(tiny_tokenizer(), template))
        aged(store, days, template.name)
    sizes = {entry.template: entry.bytes for entry in store.entries()}
    assert store.prune(older_than_days=30, dry_run=True) == sizes["chatml"]
    assert len(store.entries()) == 3
    assert store.prune(older_than_days=30) == sizes["chatml"]
    assert store.prune(keep_bytes=sizes["alpaca"]) == sizes["tulu"]
    assert [entry.template for entry in store.entries()] == ["alpaca"]
    assert store.prune() == 0
    assert store.prune(keep_bytes=0) == sizes["alpaca"]
    assert list(store.directory.iterdir()) == []


def test_what_is_being_used_is_not_pruned(store, small_shards):
    encoded = store.encode(made(20), ENCODER)
    assert store.prune(keep_bytes=0) == 0
    assert len(list(encoded)) == 20
    del encoded
    assert store.prune(keep_bytes=0) > 0


def test_what_is_gone_while_it_is_read_is_a_sentence(store):
    encoded = store.encode(made(3), ENCODER)
    for path in shard_files(store):
        path.unlink()
    with pytest.raises(DataError, match="is gone from the token cache while it was read"):
        encoded[0]


def test_measuring_a_dataset_counts_every_row(store):
    rows = [*made(30), alpaca("x " * 200, "late"), Record((Message("user", "?"),)), alpaca("q", "y " * 100)]
    dataset = Dataset("d", "", "mit", (), 33, lambda split, limit: iter(rows[:limit]))
    found = count_tokens(dataset, ENCODER, store, cutoff=40)
    assert json.loads(json.dumps(found)) == found
    assert (found["rows"], found["kept"], found["refused"], found["truncated"], found["dropped"]) == (33, 31, 1, 1, 1)
    assert sum(rows for _, _, rows in found["lengths"]) == 32
    lengths = [len(ENCODER.example(row.messages).input_ids) for row in rows if len(row.messages) > 1]
    for start, end, count in found["lengths"]:
        assert count == sum(start <= length < end for length in lengths)
    assert (found["longest"], found["cutoff"]) == (max(lengths), 40)
    assert count_tokens(dataset, ENCODER, store, limit=5)["rows"] == 5
    assert count_tokens([], ENCODER, store) == {**dict.fromkeys(found, 0), "cutoff": 512, "lengths": []}
    assert count_tokens(iter(made(3)), ENCODER, store)["rows"] == 3
