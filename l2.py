import torch, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
m = AutoModelForCausalLM.from_pretrained("me/smol-cot-bf16", revision="main"); t = AutoTokenizer.from_pretrained("me/smol-cot-bf16", revision="main")
ids = t.apply_chat_template([{"role":"user","content":"Tom has 3 boxes with 4 pens each. How many pens?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(t.decode(m.generate(**ids, max_new_tokens=16, do_sample=False)[0]))
