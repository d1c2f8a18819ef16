"""Every key that a config has, with the value it takes where a config file says nothing else."""

from typing import Any

from ml_collections import ConfigDict

# A ConfigDict with the keys below. To a type checker its values would be a union of all types there are.
Config = Any


def default_config(name: str) -> Config:
    """Returns a complete config, to be filled in by a file in `configs/`.

    Args:
        name: What results and the default workdir are called.
    """
    return ConfigDict(
        {
            "name": name,
            # Of the random reductions.
            "seed": 0,
            # A file, a directory of checkpoint_<step> files, an orbax directory, or embedded:NAME.
            "checkpoint": "",
            # What to tell somebody who gives none.
            "checkpoint_help": "",
            # Folder of compiled programs, kept from run to run; "" keeps none.
            "compilation_cache": "~/.cache/jax_vtm",
            # Evaluates everything anew, where a run would go on with what it finds in its workdir.
            "restart": False,
            "model": {"name": "", "dtype": "float32", "attention": "auto"},
            "reduction": {
                "mode": "merge",
                "r": 0,
                # Entries here, such as (200, 100), take the place of r.
                "r_per_layer": (),
                "inflection": 0.0,
                "proportional_attention": True,
                "head_aggregation": "mean",
                "threshold": 0.0,
                "layout": "reference",
            },
            "data": {
                # What the videos are: a word for the results, and "moving_digits" for the embedded ones.
                "name": "",
                "description": "",
                # A folder of videos.
                "path": "",
                # A csv file; "" looks for labels.csv in the folder.
                "labels": "",
                # Frames from one sampled frame to the next.
                "stride": 1,
                # Views per video: clips over time, and crops (1 or 3) over space.
                "num_clips": 1,
                "num_crops": 1,
                # Pixels of a frame's short side before cropping.
                "short_side": 256,
                # Videos per device and step.
                "batch_size": 1,
                # Threads that decode.
                "num_threads": 4,
                # Processes that decode instead; with dozens of cores they may be faster than threads.
                "num_workers": 0,
                # More videos than this that cannot be read make the run end with exit code 3.
                "max_failures": 0,
            },
        }
    )
