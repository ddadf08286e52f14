"""What can be done with a model of a family, and which test shows it: the rows of `camelid models families`.

Knows adapters and what plugins say of model types. Knows no family, and runs no test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from camelid_core.plugins import Host

from .adapters import ModelAdapter

CAPABILITIES: Mapping[str, str] = {
    "lora": "LoRA is trained, merged and asked: plain Transformers computes the same logits and the same answers.",
    "batching": "Rows padded on the right need no attention mask: the loss of each row is that of the row alone.",
    "packing": "Packed rows (padding-free) stay apart: the same loss.",
    "qlora": "LoRA on a base quantised by bitsandbytes.",
    "long-context": "Rotary positions are scaled (`model.rope`): linear, dynamic and yarn.",
}
"""What an adapter's `refusals` and `verified` speak of. Plugins add what they export to (`Capability`)."""


@dataclass(frozen=True, slots=True)
class Capability:
    """What a plugin does with models of some types: `verified` is the test that shows it, by model type."""

    name: str
    help: str
    verified: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Support:
    """One capability of a family. `tests` are pytest's names of what verifies it, `model_types` for which of its types,
    and `partly` that others are left; `refusal` says why there is none. With neither it was never tried."""

    tests: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    refusal: str = ""
    partly: bool = False

    @property
    def in_words(self) -> str:
        if self.tests:
            return "partly" if self.partly else "verified"
        return "refused" if self.refusal else "not tried"


@dataclass(frozen=True, slots=True)
class FamilySupport:
    """A family, the distribution that its adapter came with, and its capabilities by name."""

    adapter: ModelAdapter
    plugin: str
    capabilities: Mapping[str, Support] = field(default_factory=dict)


def families(host: Host) -> Iterator[FamilySupport]:
    """All registered families with everything known of them."""
    further = list(host.registry("camelid_capabilities"))
    for adapter in host.adapters:
        found = {name: _own(adapter, name) for name in CAPABILITIES}
        found |= {each.name: _by_type(adapter, each) for each in further}
        yield FamilySupport(adapter, host.adapters.plugin_of(adapter.name), found)


def capability_helps(host: Host) -> dict[str, str]:
    """What each capability means, by name."""
    return {**CAPABILITIES, **{each.name: each.help for each in host.registry("camelid_capabilities")}}


def _own(adapter: ModelAdapter, name: str) -> Support:
    if name in adapter.refusals:
        return Support(refusal=adapter.refusals[name])
    if name in adapter.verified:
        return Support((adapter.verified[name],), adapter.model_types)
    return Support()


def _by_type(adapter: ModelAdapter, capability: Capability) -> Support:
    if capability.name in adapter.refusals:
        return Support(refusal=adapter.refusals[capability.name])
    there = [kind for kind in adapter.model_types if kind in capability.verified]
    tests = tuple(dict.fromkeys(capability.verified[kind] for kind in there))
    return Support(tests, tuple(there), partly=len(there) < len(adapter.model_types))
