"""Logits of a base model with a PEFT adapter, by transformers and peft, for comparison with `hone-train logits`.

Usage: logits.py MODEL_DIR_OR_GGUF ADAPTER_DIR TOKENS OURS.safetensors

TOKENS is a comma-separated list of token ids; OURS holds one f32 tensor `logits` [tokens, vocabulary].
Prints one JSON line: the norm of the difference over the norm of peft's logits, and the same for the base
without its adapter (which shows that the adapter does something).
"""
import json
import pathlib
import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

torch.set_num_threads(2)
model_path, adapter, tokens, ours = sys.argv[1:]
path = pathlib.Path(model_path)
where = dict(pretrained_model_name_or_path=path.parent, gguf_file=path.name) if path.suffix == ".gguf" else dict(
    pretrained_model_name_or_path=path)
base = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
ids = torch.tensor([[int(t) for t in tokens.split(",")]])
got = load_file(ours)["logits"].float().reshape(ids.shape[1], -1)
with torch.no_grad():
    plain = base(input_ids=ids).logits[0].float()
    model = PeftModel.from_pretrained(base, adapter).eval()
    want = model(input_ids=ids).logits[0].float()
print(json.dumps({
    "rel_err": ((got - want).norm() / want.norm()).item(),
    "rel_err_without_adapter": ((plain - want).norm() / want.norm()).item(),
}))
