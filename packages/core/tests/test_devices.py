"""What the machine is said to be."""

from __future__ import annotations

import subprocess

import pytest
from camelid_core.models import devices


@pytest.fixture
def cards(monkeypatch):
    def say(text):
        monkeypatch.setattr(devices.shutil, "which", lambda name: f"/bin/{name}" if text is not None else None)
        done = subprocess.CompletedProcess([], 0, stdout=text or "")
        monkeypatch.setattr(devices.subprocess, "run", lambda *args, **options: done)

    return say


def test_without_a_card_it_is_the_processor_and_the_memory(cards):
    cards(None)
    device = devices.describe_device()
    assert device.kind == "cpu"
    assert device.description.startswith("CPU, ")
    assert device.description.endswith("GB free")
    assert 0 < device.free <= device.memory


def test_cards_are_counted_and_their_memory_added_up(cards):
    cards("NVIDIA H200, 143771, 100000\nNVIDIA H200, 143771, 50000\n")
    device = devices.describe_device()
    assert (device.kind, device.description) == ("cuda", "2 × H200, 146 GB free")
    assert device.memory == 2 * 143771 << 20


@pytest.mark.parametrize("odd", ["", "No devices were found", "NVIDIA GB10, [N/A], [N/A]"])
def test_what_the_driver_cannot_say_counts_as_no_card(cards, odd):
    cards(odd)
    assert devices.describe_device().kind == "cpu"


def test_a_driver_that_fails_counts_as_no_card(cards, monkeypatch):
    cards("")
    monkeypatch.setattr(devices.subprocess, "run", lambda *args, **options: (_ for _ in ()).throw(OSError()))
    assert devices.describe_device().kind == "cpu"


@pytest.mark.parametrize(
    ("cpuinfo", "native"),
    [
        ("flags\t: fpu avx512_bf16 sse", True),
        ("Features\t: fp asimd bf16", True),
        ("flags\t: fpu avx2", False),
        ("", False),
    ],
)
def test_bfloat16_is_taken_where_the_processor_multiplies_it(monkeypatch, cpuinfo, native):
    monkeypatch.setattr(devices.Path, "read_text", lambda self, **options: f"processor: 0\n{cpuinfo}\n")
    assert devices.cpu_has_bf16.__wrapped__() is native
