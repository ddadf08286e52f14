"""What a method leaves as it is in a mixture of experts, in sentences: none of it is said by the libraries.

Knows parameters that hold all experts of a layer. Knows no model family.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .targets import ALL_LINEAR, fused_experts


def expert_notes(model: Any, section: Any) -> Iterator[str]:
    """Sentences for the log of a run with the method of this recipe section."""
    config = getattr(model.config, "get_text_config", lambda: model.config)()
    if getattr(config, "output_router_logits", False):
        yield (
            "The model's configuration asks for its routers' balance loss (output_router_logits), which is left out: "
            "the loss is the cross-entropy at the trained tokens."
        )
    experts = fused_experts(model)
    if not experts:
        return
    size = f"{sum(experts.values()) / 1e9:.3g} billion numbers"
    if getattr(section, "targets", None) == [ALL_LINEAR]:
        yield (
            f"method.targets: the routed experts ({', '.join(experts)}; {size}) are no linear layers here and get no "
            "adapter."
        )
    if getattr(section, "quantization", ""):
        yield f"bitsandbytes leaves the routed experts ({', '.join(experts)}; {size}) in the dtype they were loaded in."
