"""A language model in the host's format, tiny and random: its file, and the loader that reads sizes off the weights.

ComfyUI's own loader recognises models by their released widths, which are too large for tests. This file is put among the
custom nodes of the test server; nothing in it replaces what is tested: tokenizer, generation and decoding are the host's.
"""

import torch

WIDTH, LAYERS = 64, 3  # the encoder taps the last layer but one
VISION = {"hidden_size": 32, "intermediate_size": 64, "depth": 3, "deepstack_visual_indexes": [0, 1, 2]}


def config(layers: int, width: int) -> dict:
    return {"hidden_size": width, "intermediate_size": width, "num_hidden_layers": layers, "num_attention_heads": 1,
            "num_key_value_heads": 1}  # fmt: skip


def shrink_vision() -> None:
    from comfy.text_encoders import qwen3vl

    qwen3vl.QWEN3VL_VISION["qwen3vl_4b"] = VISION
    qwen3vl.QWEN3VL_VISION_COMMON.update(num_heads=2)


def make(path, sees: bool = False) -> None:
    """Write a tiny Qwen3-4B, or Qwen3-VL-4B, of seeded random weights."""
    import comfy.ops
    from comfy.text_encoders import llama, qwen3vl
    from safetensors.torch import save_file

    if sees:
        shrink_vision()
    made = qwen3vl._make_qwen3vl_model("qwen3vl_4b") if sees else llama.Qwen3_4B
    network = made(config(LAYERS, WIDTH), torch.bfloat16, "cpu", comfy.ops.disable_weight_init)
    generator = torch.Generator().manual_seed(7)
    weights = {}
    for name, value in network.state_dict().items():
        if value.ndim > 1:
            weights[name] = (torch.randn(value.shape, generator=generator) * 0.3).to(torch.bfloat16)
        else:
            weights[name] = torch.full(
                value.shape, float("norm" in name and name.endswith("weight")), dtype=torch.bfloat16
            )
    save_file(weights, path)


class TinyLanguageModel:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"file": ("STRING", {"default": ""})}}

    RETURN_TYPES = ("CLIP",)
    FUNCTION = "load"
    CATEGORY = "test"

    def load(self, file):
        import comfy.sd
        import comfy.utils
        import folder_paths
        from comfy.text_encoders import qwen3vl, z_image

        weights = comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("text_encoders", file))
        sees = any(name.startswith("visual.") for name in weights)
        layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("model.layers."))
        width = weights["model.norm.weight"].shape[0]

        class Target:
            params = {}

        if sees:
            shrink_vision()
            Target.clip, Target.tokenizer = qwen3vl.te(model_type="qwen3vl_4b"), qwen3vl.tokenizer("qwen3vl_4b")
        else:
            Target.clip, Target.tokenizer = z_image.te(), z_image.ZImageTokenizer
        kind = "qwen3vl_4b" if sees else "qwen3_4b"
        options = {f"{kind}_model_config": config(layers, width)}
        return (comfy.sd.CLIP(Target, state_dict=[weights], parameters=1, model_options=options),)


NODE_CLASS_MAPPINGS = {"TinyLanguageModel": TinyLanguageModel}
