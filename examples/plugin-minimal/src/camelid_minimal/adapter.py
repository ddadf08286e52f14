"""A model family, as data: how it is recognised, which template it takes, where LoRA goes."""

from camelid_core.models.adapters import ModelAdapter

PERSIMMON = ModelAdapter(
    name="persimmon",
    help="Adept's Persimmon.",
    model_types=("persimmon",),
    template="question-answer",
    lora_targets=("query_key_value", "dense"),
)
