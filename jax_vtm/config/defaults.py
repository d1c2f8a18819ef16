"""Every key that a config has, with the value it takes where a config file says nothing else."""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

# A ConfigDict with the keys below. To a type checker its values would be a union of all types there are.
Config = Any

# What keys were called before.
RENAMED = {"ladder": "parity", "splice": "study", "benchmark.levels": "benchmark.scopes"}


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
            # How a step is spread over devices: "pmap" or "shard_map".
            "backend": "pmap",
            # What gets metrics, speed and losses too: "tensorboard", "wandb", both or nothing.
            "trackers": (),
            # Evaluates everything anew, where a run would go on with what it finds in its workdir.
            "restart": False,
            # How several processes find each other (docs/pods.md): all three or, where JAX knows, none.
            "distributed": {
                # HOST:PORT of process 0.
                "coordinator": placeholder(str),
                "num_processes": placeholder(int),
                # Which of them this is, from 0.
                "process_id": placeholder(int),
                # "auto", or "off" for a process that is alone on a machine of many.
                "mode": "auto",
            },
            # Seconds after which a process that is dead, or makes no progress, ends those of all others.
            "host_timeout_s": 300.0,
            # Of the command `compare`: two sets of predictions, each a workdir of `evaluate`, its predictions.npz,
            # another .npz, a .csv, a pickle of the PyTorch reference or of EPIC-KITCHENS' tools, or a submission .json.
            "compare": {
                # "" is the workdir.
                "ours": "",
                # "" compares the runs of ours with each other.
                "theirs": "",
                # A run's name, such as "merge r=100"; "" is all there are.
                "ours_run": "",
                "theirs_run": "",
                # The list of videos and labels, for files that do not have them.
                "labels": "",
                # Whether videos that only one of the two has are all right; else they make the command end with exit
                # code 3.
                "allow_missing": False,
            },
            # Of the command `parity`: our model and Hugging Face's in PyTorch, which merges the same way.
            "parity": {
                # Clips, spread over the videos, that go through either model together.
                "clips": 4,
                # PyTorch's attention: "sdpa" or "eager".
                "attention": "sdpa",
                # Threads of PyTorch; 0 takes as many as it chooses. On a busy machine they wait for each other most of
                # the time, and one alone is faster.
                "threads": 0,
                # Each of them times either model once.
                "rounds": 5,
            },
            "model": {
                "name": "",
                # "float32" or "bfloat16", of attention and MLPs.
                "dtype": "float32",
                # How things are computed; results.json says what "auto" chose. "auto", "xla", "chunked", "cudnn" or
                # "tpu_flash".
                "attention": "auto",
                # "auto", "xla", "chunked" or "pallas".
                "matching": "auto",
                # "auto", "scatter", "segment", "sorted" or "one_hot".
                "merging": "auto",
            },
            "reduction": {
                "mode": "merge",
                "r": 0,
                # Entries here, such as (200, 100), take the place of r.
                "r_per_layer": (),
                "inflection": 0.0,
                # Whether attention adds log(size); not set, the model's own: True, for VideoMAE False.
                "proportional_attention": placeholder(bool),
                "head_aggregation": "mean",
                "threshold": 0.0,
                "layout": "reference",
            },
            "data": {
                # What the videos are: a word for the results. "moving_digits" are embedded; the published protocols
                # know "kinetics400", "kinetics600", "ssv2" and "epic_kitchens_100".
                "name": "",
                "description": "",
                # What docs/datasets.md describes under the name; "folder" takes any videos, with labels or without,
                # and still tests them as `name` is tested. "" is `name`.
                "kind": "",
                # The folder of the videos, or records.
                "path": "",
                # The data set's annotation file, or the folder of several; "" looks for them in and below the path.
                "annotations": "",
                # Which part of the data set; "" is the validation split.
                "split": "",
                # Only so many of them, spread evenly over the list; 0 takes all.
                "num_videos": 0,
                # Subtracted from the class indices in TFRecords.
                "label_offset": 0,
                # How videos become views: "standard" as the model's authors test it, "paper" as the code of the paper
                # does, "scenic" as Scenic does; "" takes one clip from the middle, but for what is said below.
                "protocol": "",
                # Single values in place of the protocol's, all as in `jax_vtm.data.ClipProtocol`.
                "sampling": placeholder(str),
                "stride": placeholder(int),
                "rate_fps": placeholder(float),
                "num_clips": placeholder(int),
                "pad": placeholder(str),
                "short_side": placeholder(int),
                "resize": placeholder(str),
                "num_crops": placeholder(int),
                "single_crop": placeholder(str),
                "mean": placeholder(tuple),
                "std": placeholder(tuple),
                "channels": placeholder(str),
                "fast_jpeg": placeholder(bool),
                "view_average": placeholder(str),
                # Videos per device and step; 0 takes as many as fit into a device's memory.
                "batch_size": 1,
                # Clips that go through the model at a time on each device, to save memory; 0 takes all of a step.
                "clips_at_once": 0,
                # Threads that decode.
                "num_threads": 4,
                # Processes that decode instead; with dozens of cores they may be faster than threads.
                "num_workers": 0,
                # More videos than this that cannot be read make the run end with exit code 3.
                "max_failures": 0,
            },
            # Of the command `finetune`; all as in `jax_vtm.training.TrainingSettings`.
            "train": {
                "steps": 4000,
                "batch_size": 32,
                "learning_rate": 1.5e-3,
                "warmup_steps": 150,
                "weight_decay": 0.05,
                "label_smoothing": 0.0,
                "gradient_norm": 1.0,
                "seed": 0,
                "checkpoint_every": 100,
                "log_every": 25,
            },
            # What `main.py visualize` shows.
            "visualize": {
                # A video file; "" takes the first videos of `data`.
                "video": "",
                # How many these are.
                "num_videos": 2,
                # Which of a video's views, from 1, where the protocol takes several.
                "view": 1,
                # Of sheet and videos, such as 0,5,11, or all; "" is the first, the middle and the last.
                "layers": "",
                # Frames on the sheet; at most all of a clip.
                "num_frames": 8,
                # Frames per second when a clip plays.
                "fps": 8.0,
                # Shows a model that was never trained, where there is no checkpoint.
                "random_weights": False,
            },
            # Of the command `study`, one of the paper's.
            "study": {
                # "splice" (all keys below are of it): tubelets of another video in the place of a clip's own. "layers"
                # is a sweep with `sweep.one_layer`.
                "what": "splice",
                # Where they come from, each by itself: any other video, one of the same class, one of another class.
                "donors": ("random", "same_class", "different_class"),
                # How many along time; 0 takes half of the clip. Where they begin is drawn for every video.
                "tubelets": 0,
                # The head whose labels are the classes; "" takes those of all heads together.
                "head": "",
            },
            # What `main.py benchmark` measures.
            "benchmark": {
                # "model" (all keys below are of it), "parts" (attention, matching and merging by themselves), "data"
                # (decoding and loading, beside PyAV and decord) or "scaling" (sharding over simulated devices).
                "what": "model",
                # Dictionaries of axes with a value or a list of values each; every combination is an experiment. Axes
                # are all keys of `model` and `reduction`, as "reduction.r", and "batch" (clips at a time),
                # "implementation" ("jax_vtm", "pytorch_eager", "pytorch_sdpa", "pytorch_compiled") and "truncated"
                # (True: layers keep their first tokens; what merging costs is what lies between).
                "grids": (),
                # More axes for all of them, in words: "model.attention=xla,chunked batch=1,8".
                "axes": "",
                # Where time starts: at a clip on the device ("forward"), in the host's memory ("host_to_device"), in an
                # encoded video ("end_to_end").
                "scopes": ("forward", "host_to_device", "end_to_end"),
                # In each of which every experiment has its turn.
                "rounds": 7,
                # What is shorter is done several times in a round, until it takes so long.
                "min_seconds": 0.2,
                # Videos that are decoded in a round, at least.
                "videos": 16,
                # Also times how long a compiled program takes to come from the persistent cache.
                "cached_compile": True,
                # Lists the experiments with their tokens and MACs, and stops there; also `--dry_run`.
                "dry_run": False,
            },
            # What `main.py sweep` runs: every combination of the lists, where an empty one stands for the value in
            # `reduction`; besides, the single runs and the cells.
            "sweep": {
                "mode": (),
                "r": (),
                # Lists of lists; more values of r, which inflection does not multiply.
                "r_per_layer": (),
                "inflection": (),
                "head_aggregation": (),
                "proportional_attention": (),
                # Of hybrid runs only.
                "threshold": (),
                "layout": (),
                # (layer, times) or None.
                "repeat_layer": (),
                # Merging in one layer alone, so many times in a row before its MLP, for the study of layers: every
                # combination of the lists. Without `times` there is none; no layers are all that the model has, and
                # no r is the one in `reduction`.
                "one_layer": {"layers": (), "times": (), "r": ()},
                # More runs: dictionaries of the keys above, with a value or a list for each.
                "runs": (),
                # Other models and data sets, by name: {"config": FILE, "changes": {...}, "runs": (...)}.
                "cells": {},
                # The only cell to run; "" runs all.
                "cell": "",
                # Runs that share one pass over the videos, the unmerged model beside them.
                "runs_per_pass": 8,
                # Lists the runs with their tokens and MACs, and stops there; also `--dry_run`.
                "dry_run": False,
            },
        }
    )
