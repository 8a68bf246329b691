"""A trainer of your own, on nothing but Python's standard library.

It shows the run contract: read the job and the data, report steps, leave an adapter in PEFT's layout. Where the
comment says so your own framework would train; the numbers written here depend on the data and are small.
"""

import glob
import hashlib
import json
import os
import random
import struct
import sys

OUT = "/hone/out"
DATA = next((d for d in ("/data", "/app/data") if os.path.isdir(d)), None)


def examples():
    """Every JSON line of the data, or an exit that names the file and line at fault."""
    found = []
    for path in sorted(glob.glob(f"{DATA}/**/*.jsonl", recursive=True)):
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    found.append(json.loads(line))
                except ValueError as error:
                    sys.exit(f"{path}:{number}: not JSON: {error}")
    if not found:
        sys.exit("no examples: want *.jsonl in /data or /app/data, e.g. -v $PWD/data:/app/data")
    return found


def train(job, data):
    """Yields (step, loss, tensors). Here your own framework would train."""
    seed = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).digest()
    chance = random.Random(seed)
    shapes = job["adapter"]["tensors"]
    tensors = {name: [0.0] * (shape[0] * shape[1]) for name, shape in shapes.items()}
    steps = job["finetune"].get("steps") or 3
    for step in range(1, steps + 1):
        for values in tensors.values():
            for i in range(len(values)):
                values[i] += chance.gauss(0, 0.01)
        yield step, steps, 1.0 / step, tensors


def write_safetensors(path, shapes, tensors):
    """The format: a length, a JSON header, the values (https://huggingface.co/docs/safetensors)."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        end = offset + 4 * len(tensors[name])
        header[name] = {"dtype": "F32", "shape": shapes[name], "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            file.write(struct.pack(f"<{len(tensors[name])}f", *tensors[name]))


def main():
    with open("/hone/job.json", encoding="utf-8") as file:
        job = json.load(file)
    data = examples()
    print(f"{len(data)} examples, model {job['name']}", flush=True)
    with open(f"{OUT}/progress.jsonl", "w", encoding="utf-8") as progress:
        for step, steps, loss, tensors in train(job, data):
            progress.write(json.dumps({"step": step, "steps": steps, "loss": loss}) + "\n")
            print(f"step {step}/{steps} loss {loss:.3f}", flush=True)
    finetune = job["finetune"]
    # Complete under another name first: an adapter that is there is a whole one.
    unfinished = f"{OUT}/adapter.part"
    os.makedirs(unfinished, exist_ok=True)
    write_safetensors(f"{unfinished}/adapter_model.safetensors", job["adapter"]["tensors"], tensors)
    with open(f"{unfinished}/adapter_config.json", "w", encoding="utf-8") as file:
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": job["base"]["path"],
            "r": finetune["rank"],
            "lora_alpha": finetune["alpha"],
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": finetune["targets"],
            "inference_mode": True,
        }
        json.dump(config, file, indent=2)
    os.rename(unfinished, f"{OUT}/adapter")


if __name__ == "__main__":
    main()
