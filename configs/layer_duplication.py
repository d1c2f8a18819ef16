"""The paper's study of layers: all merging in one layer alone, which is repeated before its MLP.

    python main.py study --config=configs/layer_duplication.py

merges in each layer of the embedded model alone, four and eight times in a row, and writes what accuracy is left
and what each layer puts together: 8 runs on 360 clips, within a minute on two CPU cores. With times = 4 as many tokens
go in one layer as otherwise in all four.

    python main.py study --config=configs/vivit_b_16x2_k400.py --config.checkpoint=FILE --config.data.path=FOLDER
                         --config.study.what=layers --config.study.times="(12,)" --config.study.r="(300,)"
                         --config.study.layers="(0, 11)"

(one line) is the paper's own study, as configs/paper_grid.py has it: twelve times r = 300 in the first or the last
layer of ViViT-B. Without `layers` it goes through all twelve. Any other config takes these keys, too. No published
accuracy is quoted here.
"""

import pathlib

from jax_vtm.config import Config, load_config


def get_config() -> Config:
    """Returns the configuration."""
    config = load_config(pathlib.Path(__file__).with_name("moving_digits.py"))
    config.name = "layer_duplication"
    config.data.num_videos = 360
    config.study.what = "layers"
    config.study.times = (4, 8)
    config.study.r = (112,)
    return config
