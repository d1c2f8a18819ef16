"""Layer-wise parity of our model and Hugging Face's in PyTorch: a tiny ViViT with random weights.

    python main.py parity --config=configs/torch_parity.py

puts the same clips of moving digits and the same weights through both, with the same merging, and says how far they lie
apart at every layer, which decisions differ, and how many clips per second either does. It needs the extra `[torch]`.
Expect the same tokens to be merged but for near ties, and logits that agree to about six digits. At full size:

    python main.py parity --config=configs/torch_parity.py --config.model.name=vivit_b_16x2 --config.reduction.r=300 \
        --config.data.short_side=224 --config.parity.clips=1 --config.parity.rounds=1
    python main.py parity --config=configs/torch_parity.py --config.model.name=timesformer_b_8 --config.reduction.r=18 \
        --config.data.short_side=224 --config.parity.clips=1 --config.parity.rounds=1
    python main.py parity --config=configs/torch_parity.py --config.model.name=videomae_b_16 --config.reduction.r=150 \
        --config.reduction.proportional_attention=False --config.data.short_side=224 --config.parity.clips=1 \
        --config.parity.rounds=1

TimeSformer and VideoMAE keep tokens in order of their scores, where near ties are many, and each changes all later
layers; with `--config.reduction.layout=fixed` they do not.

Any config of a ViViT (unfactorised), TimeSformer or VideoMAE can be compared, with its checkpoint and its videos:

    python main.py parity --config=configs/moving_digits.py
"""

from jax_vtm.config import Config, default_config


def get_config() -> Config:
    """Returns the configuration."""
    config = default_config("torch_parity")
    config.model.name = "vivit_moving_digits"
    config.reduction.r = 138
    config.data.name = "moving_digits"
    config.data.short_side = 64
    return config
