"""Sections of a card for GPTQ branches: the table of provided files, and how to get, load and run a branch.

Table, descriptions and the order of sections are those of TheBloke's cards; the words of the explanations are ours.
Knows GPTQ's parameters. Knows no other format.
"""

from __future__ import annotations

from camelid_core.artefacts import Manifest
from camelid_core.models.adapters import adapter_for

from camelid_train.publishing.gptq_recipe import GptqRecipe

from .card_data import CardData
from .proof_lines import proof_of
from .shared_sections import rope_hint

_HEAD = "| Branch | Bits | GS | Act Order | Damp % | GPTQ Dataset | Seq Len | Size | ExLlama | Desc |"
_RULE = "| ------ | ---- | -- | --------- | ------ | ------------ | ------- | ---- | ------- | ---- |"
_DESCRIPTIONS = {
    (4, 128, False): "4-bit, without Act Order and group size 128g.",
    (4, 32, True): "4-bit, with Act Order and group size 32g. Gives highest possible inference quality, with maximum "
    "VRAM usage.",
    (4, 64, True): "4-bit, with Act Order and group size 64g. Uses less VRAM than 32g, but with slightly lower "
    "accuracy.",
    (4, 128, True): "4-bit, with Act Order and group size 128g. Uses even less VRAM than 64g, but with slightly lower "
    "accuracy.",
    (8, -1, True): "8-bit, with Act Order. No group size, to lower VRAM requirements.",
    (8, 128, False): "8-bit, with group size 128g for higher inference quality and without Act Order to improve "
    "AutoGPTQ speed.",
    (8, 128, True): "8-bit, with group size 128g for higher inference quality and with Act Order for even higher "
    "accuracy.",
    (8, 64, True): "8-bit, with group size 64g and Act Order for even higher inference quality. Poor AutoGPTQ CUDA "
    "speed.",
}
"""By bits, group size and act-order, word for word as on TheBloke's cards."""
_DATASETS = {"wikitext": "https://huggingface.co/datasets/wikitext/viewer/wikitext-2-v1/test"}
_EXLLAMA_BITS = 4
"""What ExLlama loads, of the families whose adapter says so."""
_EXPLANATION = """<details>
  <summary>Explanation of GPTQ parameters</summary>

- Bits: how many bits a quantised weight takes.
- GS: group size, how many weights of a column share a scale. A larger one needs less VRAM and is less accurate; \
"None" is one group for the whole column, which needs the least VRAM and is the least accurate.
- Act Order: whether columns were quantised in the order of their activations, also known as `desc_act`. Yes is more \
accurate; some older loaders are slow with it, or refuse it together with a group size.
- Damp %: how much is added to the diagonal while quantising, so that it stays stable. 0.01 is the usual value; 0.1 \
can be slightly more accurate.
- GPTQ dataset: the texts that quantisation was calibrated on. It is not the dataset that the model was trained on.
- Sequence Length: the length of the calibration texts. It does not limit how long a text the quantised model takes.
- ExLlama Compatibility: whether ExLlama loads the file: Llama models in 4 bits alone.

</details>"""


def provided_files(data: CardData) -> str:
    """The table, a row a branch, in the order in which they were made, `main` first."""
    rows = [_row(data, branch, manifest) for branch, manifest in data.branches.items()]
    return "\n".join(
        [
            "## Provided files and GPTQ parameters",
            "",
            "Several sets of quantisation parameters are provided, for different hardware and needs.",
            "",
            "Each separate quant is in a different branch. See below for how to get one branch.",
            "",
            _tools(data),
            "",
            _EXPLANATION,
            "",
            _HEAD,
            _RULE,
            *rows,
        ]
    )


def download(data: CardData) -> str:
    name, url = data.repository, data.clone_url
    return f"""## How to download from branches

- In text-generation-webui, add `:branch` to the end of the download name: `{name}:main`
- With Git, clone a branch:
```
git clone --single-branch --branch main {url}
```
- In Python Transformers code, the branch is the `revision` parameter; see below.
- With Camelid: `camelid models pull {name}:main`"""


def text_generation_webui(data: CardData) -> str:
    name = data.repository
    steps = [
        "Click the **Model tab**.",
        f"Under **Download custom model or LoRA**, enter `{name}`. For a branch other than `main`, add it: "
        f"`{name}:main`. The table above lists all branches.",
        'Click **Download**, and wait until it says "Done".',
        "At the top left, click the refresh icon beside **Model**.",
        f"In the **Model** dropdown, choose `{name.rpartition('/')[2]}`. The model loads by itself; the GPTQ "
        "parameters are read from `quantize_config.json` and need not be set.",
        "For settings of your own, set them, click **Save settings for this model**, then **Reload the Model**.",
        "Click the **Text Generation tab**, and enter a prompt.",
    ]
    numbered = [f"{number}. {step}" for number, step in enumerate(steps, 1)]
    heading = "## How to easily download and use this model in [text-generation-webui](https://github.com/oobabooga/text-generation-webui)."
    return "\n".join([heading, "", *numbered, *(f"\n{hint}" for hint in rope_hint(data))])


def python_code(data: CardData) -> str:
    return f"""## How to use this GPTQ model from Python code

### Install the necessary packages

Transformers 4.32.0 or later with Optimum 1.12.0 or later, and AutoGPTQ 0.4.2 or later. Today GPTQModel takes \
AutoGPTQ's place:

```shell
pip3 install "transformers>=5.16,<6" "optimum>=2" "gptqmodel>=7.6,<7.7"
```

### For CodeLlama models only: you must use Transformers 4.33.0 or later.

The versions above are later.

### You can then use the following code

```python
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

model_name_or_path = "{data.repository}"
# To use a different branch, change revision
# For example: revision="main"
model = AutoModelForCausalLM.from_pretrained(
    model_name_or_path, device_map="auto", trust_remote_code=False, revision="main"
)
tokenizer = AutoTokenizer.from_pretrained(model_name_or_path, use_fast=True, trust_remote_code=False, revision="main")

messages = [{{"role": "user", "content": "Tell me about AI"}}]

print("*** Generate:")
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
output = model.generate(
    **inputs.to(model.device), temperature=0.7, do_sample=True, top_p=0.95, top_k=40, max_new_tokens=512
)
print(tokenizer.decode(output[0]))

print("*** Pipeline:")
pipe = pipeline(
    "text-generation",
    model=model,
    tokenizer=tokenizer,
    max_new_tokens=512,
    do_sample=True,
    temperature=0.7,
    top_p=0.95,
    top_k=40,
    repetition_penalty=1.1,
)
print(pipe(messages)[0]["generated_text"][-1]["content"])
```"""


def compatibility(data: CardData) -> str:
    engines = sorted(
        {str(proof_of(each).get("engine")) for each in data.branches.values() if proof_of(each).get("engine")}
    )
    tested = (
        f"Tested with {', '.join(engines)}; see the test status."
        if engines
        else "No engine has been tested; see the test status."
    )
    return f"""## Compatibility

{tested}

The files are in AutoGPTQ's format: GPTQModel and AutoGPTQ should load them, directly and through Transformers, as \
should Occ4m's fork of GPTQ-for-LLaMa.

[ExLlama](https://github.com/turboderp/exllama) loads Llama models in 4 bits. The table above says of each file \
whether it does.

[Text Generation Inference](https://github.com/huggingface/text-generation-inference) should load all GPTQ files."""


def gigabytes(manifest: Manifest, suffix: str = ".safetensors") -> str:
    """Decimal, as the Hub counts."""
    return f"{sum(entry.size for name, entry in manifest.files.items() if name.endswith(suffix)) / 1e9:.2f} GB"


def _row(data: CardData, branch: str, manifest: Manifest) -> str:
    recipe = GptqRecipe.of(manifest)
    family = adapter_for(manifest.base.model_type if manifest.base else "", data.host.adapters)
    exllama = family.exllama and recipe.bits == _EXLLAMA_BITS
    cells = (
        f"[{branch}]({data.branch_address(branch)})",
        recipe.bits,
        "None" if recipe.group_size < 0 else recipe.group_size,
        _yes(recipe.desc_act),
        f"{recipe.damp:g}",
        _dataset(recipe.dataset),
        recipe.seqlen or "–",
        gigabytes(manifest),
        _yes(exllama),
        _description(recipe),
    )
    return f"| {' | '.join(map(str, cells))} |"


def _description(recipe: GptqRecipe) -> str:
    known = _DESCRIPTIONS.get((recipe.bits, recipe.group_size, recipe.desc_act))
    group = "no group size" if recipe.group_size < 0 else f"group size {recipe.group_size}g"
    return known or f"{recipe.bits}-bit, {'with' if recipe.desc_act else 'without'} Act Order and {group}."


def _dataset(name: str) -> str:
    if name in _DATASETS:
        return f"[{name}]({_DATASETS[name]})"
    return name.replace("|", "\\|") or "–"


def _tools(data: CardData) -> str:
    """What each branch was made with: one sentence where it is the same for all."""
    tools = {branch: GptqRecipe.of(manifest).tool or "an unnamed tool" for branch, manifest in data.branches.items()}
    if len(set(tools.values())) == 1:
        return f"All files are made with {next(iter(tools.values()))}."
    return f"Made with: {'; '.join(f'`{branch}` {tool}' for branch, tool in tools.items())}."


def _yes(value: bool) -> str:
    return "Yes" if value else "No"
