"""Batched multi-LoRA: one forward pass in which every row of the batch is under its own LoRA adapter.

Knows PEFT's LoRA layers and their tensors. Knows nothing of requests, files and threads.
In each layer the A and the B matrices of all adapters are stacked. All rows take one product with the stacked A, a mask
leaves each row the part of its own adapter, and one product with the stacked B gives what is added to the base layer's
output. (PEFT's own mixed batches go through the adapters of every layer one by one, which costs more than the base's
work itself.) An adapter is held once: PEFT's parameters become views of the stacked matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import linear

Layout = tuple[tuple[str, int, float], ...]
"""Name, rank and scale (alpha ÷ rank) of adapters, in the order in which they are stacked."""


class MultiLora:
    """The stacked adapters of all layers, and which of them each row of the batch is under."""

    def __init__(self) -> None:
        self._layers: dict[Any, _StackedLayer] = {}
        self._rows: tuple[str | None, ...] = ()

    def stack_adapters(self, model: Any, names: frozenset[str]) -> None:
        """Stack the adapters `names` as PEFT holds them in `model`, and release those that are missing now."""
        self.activate(())
        layers = {layer for layer in model.modules() if not names.isdisjoint(getattr(layer, "lora_A", ()))}
        for layer in layers | self._layers.keys():
            layer_stack = self._layers.get(layer) or self._layers.setdefault(layer, _StackedLayer(layer))
            layer_stack.stack_adapters(names)

    def clear(self) -> None:
        """Forget all layers: the model has them no more."""
        self.activate(())
        self._layers.clear()

    def activate(self, rows: Sequence[str | None]) -> None:
        """Set the adapters of the rows of the next forward pass, in their order; if all rows have one, of however many
        rows. Under None, and under a name that is not stacked here, the base model answers alone."""
        wanted = tuple(rows if len(set(rows)) > 1 else rows[:1])
        if wanted == self._rows:
            return
        self._rows = wanted
        row_scales = _RowScales(wanted)
        for layer_stack in self._layers.values():
            layer_stack.activate(row_scales)


class _StackedLayer:
    """One layer's stacked adapters. `_selected` is the part of them that the rows of the next pass need."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._layout: Layout = ()
        self._stacked_a: Any = None
        self._stacked_b: Any = None
        self._selected: tuple[Layout, Any, Any] = ((), None, None)
        self._active: tuple[str, ...] = ()
        self._mask: Any = None
        layer.register_forward_hook(self._forward_hook)

    def stack_adapters(self, names: frozenset[str]) -> None:
        lora_a, lora_b, scaling = self._layer.lora_A, self._layer.lora_B, self._layer.scaling
        layout = tuple((name, len(lora_a[name].weight), float(scaling[name])) for name in lora_a if name in names)
        if layout == self._layout:
            return
        self._layout, self._active, self._selected = layout, (), ((), None, None)
        self._stacked_a = torch.cat([lora_a[name].weight.data for name, _, _ in layout]) if layout else None
        self._stacked_b = torch.cat([lora_b[name].weight.data.t() for name, _, _ in layout]) if layout else None
        start = 0
        for name, rank, _ in layout:
            lora_a[name].weight.data = self._stacked_a[start : start + rank]
            lora_b[name].weight.data = self._stacked_b[start : start + rank].t()
            start += rank

    def activate(self, row_scales: _RowScales) -> None:
        active = tuple(name for name, _, _ in self._layout if name in row_scales.names)
        if active != self._active:
            self._active, self._selected = active, self._select(active)
        self._mask = row_scales.mask(self._selected[0], self._selected[1])

    def _select(self, active: tuple[str, ...]) -> tuple[Layout, Any, Any]:
        """The stacked matrices from the first to the last of `active`, or a copy of theirs alone where that is mostly
        others'."""
        if not active:
            return (), None, None
        indices = [index for index, (name, _, _) in enumerate(self._layout) if name in active]
        ends = torch.tensor([0, *(rank for _, rank, _ in self._layout)]).cumsum(0).tolist()
        own = [torch.arange(ends[index], ends[index + 1]) for index in indices]
        between = slice(ends[indices[0]], ends[indices[-1] + 1])
        if 2 * sum(map(len, own)) >= between.stop - between.start:
            return self._layout[indices[0] : indices[-1] + 1], self._stacked_a[between], self._stacked_b[between]
        columns = torch.cat(own).to(self._stacked_a.device)
        return tuple(self._layout[index] for index in indices), self._stacked_a[columns], self._stacked_b[columns]

    def _forward_hook(self, layer: Any, given: tuple[Any, ...], output: Any) -> Any:
        """The base layer's output, and what the rows' adapters add to it."""
        _, lora_a, lora_b = self._selected
        if lora_a is None:
            return None
        low = linear(given[0].to(lora_a.dtype), lora_a)
        mask = self._mask if low.ndim == self._mask.ndim or not self._mask.ndim else self._mask[:, 0]
        return (output + (low * mask) @ lora_b).to(output.dtype)


class _RowScales:
    """Which of the stacked ranks each row takes, and by how much; layers with the same layout share a mask."""

    def __init__(self, rows: tuple[str | None, ...]) -> None:
        self.names = frozenset(name for name in rows if name is not None)
        self._rows = rows
        self._masks: dict[Any, Any] = {}

    def mask(self, layout: Layout, like: Any) -> Any:
        """(rows, 1, ranks): an adapter's scale where row and rank are of the same adapter, else 0."""
        if not layout:
            return None
        key = layout, like.device, like.dtype
        if key not in self._masks:
            self._masks[key] = self._build_mask(layout).to(like)
        return self._masks[key]

    def _build_mask(self, layout: Layout) -> torch.Tensor:
        if len(self._rows) == 1:
            return torch.tensor(layout[0][2])
        numbers = {name: number for number, (name, _, _) in enumerate(layout)}
        rows = torch.tensor([numbers.get(name, -1) if name else -1 for name in self._rows])
        columns = torch.tensor([number for number, (_, rank, _) in enumerate(layout) for _ in range(rank)])
        scales = torch.tensor([scale for _, rank, scale in layout for _ in range(rank)])
        return torch.where(rows[:, None] == columns, scales, 0.0)[:, None]
