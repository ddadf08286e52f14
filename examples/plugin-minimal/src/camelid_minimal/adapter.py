"""A model family, as data: how it is recognised, which template it takes, where LoRA goes."""

from camelid_core.models.adapters import ModelAdapter

PYTHIA = ModelAdapter(
    name="pythia",
    help="EleutherAI's Pythia and GPT-NeoX.",
    model_types=("gpt_neox",),
    template="question-answer",
    lora_targets=("query_key_value", "dense"),
)
