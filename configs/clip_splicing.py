"""The paper's study of splices: half of every clip is another video's; what merges across, and what is predicted?

    python main.py study --config=configs/clip_splicing.py

puts four of eight tubelets of another embedded video (any, one of the same digit, one of another) into 360 clips,
within a minute on two CPU cores. After the last layer half of the merged tokens share their group with tokens of the
other clip, whether or not it shows the same digit; unspliced, across the same borders, nearly all do. So what merges is
what looks alike, and not what means the same.

    python main.py study --config=configs/vivit_b_16x2_k400.py --config.checkpoint=FILE --config.data.path=FOLDER
                         --config.study.tubelets=1 --config.data.num_videos=1000

(one line) replaces a single tubelet, as the paper's code does, in a thousand videos of Kinetics-400. Any other config
takes these keys, too. No published accuracy is quoted here.
"""

import pathlib

from jax_vtm.config import Config, load_config


def get_config() -> Config:
    """Returns the configuration."""
    config = load_config(pathlib.Path(__file__).with_name("moving_digits.py"))
    config.name = "clip_splicing"
    config.data.num_videos = 360
    config.study.head = "noun"
    return config
