"""All keys of a config, with their defaults and descriptions."""

import copy
import os
from typing import Any

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder

# A ConfigDict with the keys below. To a type checker its values would be a union of all types there are.
Config = Any

# New names of keys by their old names.
RENAMED = {
    "ladder": "parity",
    "splice": "study",
    "benchmark.levels": "benchmark.scopes",
    "sweep.one_layer": "study",
    "sweep.cells": "sweep.experiments",
    "sweep.cell": "sweep.experiment",
    "reduction.r_per_layer": "reduction.r",
    "sweep.r_per_layer": "sweep.r",
}

# Sections with their titles in `--help`.
SECTIONS = {
    "": "general",
    "model": "the model; any of its fields is a key (docs/models.md)",
    "reduction": "how tokens are reduced",
    "data": "videos, and how they become clips",
    "distributed": "several processes or machines (docs/pods.md)",
    "compare": "two sets of predictions",
    "parity": "our model next to Hugging Face's in PyTorch",
    "convert": "output of convert",
    "predict": "videos to predict",
    "visualize": "clips to show",
    "study": "studies of layers, splices and finetuning",
    "sweep": "all combinations of the lists; an empty one is as reduction.KEY",
    "benchmark": "what to time",
    "train": "training",
    "clips": "training videos and their augmentation (docs/finetuning.md)",
}

# A type in place of a value: not set, so that the protocol, the model or JAX decides.
KEYS: dict[str, tuple[Any, str]] = {
    "name": ("", "of the results and the default workdir"),
    "seed": (0, "of the random reductions"),
    # Or a name on Hugging Face's hub, such as google/vivit-b-16x2-kinetics400.
    "checkpoint": ("", "a file or folder, an address, release (download it), or embedded:NAME"),
    "checkpoint_classes": ("", "list of the checkpoint's classes, if the model keeps some: kinetics710_videomae_v2"),
    "init_from": ("", "a checkpoint of another model that training begins with, such as an image ViT"),
    "compilation_cache": (
        os.environ.get("JAX_VTM_CACHE") or "~/.cache/jax_vtm",
        'folder of compiled programs, kept from run to run; "" keeps none',
    ),
    "backend": ("pmap", "how a step is shared among devices: pmap or shard_map"),
    "trackers": ((), "also send metrics to tensorboard, wandb or both"),
    "restart": (False, "start again instead of resuming"),
    "distributed.coordinator": (str, "HOST:PORT of process 0; all three keys or, where JAX knows, none"),
    "distributed.num_processes": (int, "number of processes"),
    "distributed.process_id": (int, "number of this process, from 0"),
    "distributed.mode": ("auto", 'auto, or "off" for a process that is alone on a machine of many'),
    "host_timeout_s": (300.0, "seconds after which a process without progress ends all others"),
    "compare.ours": ("", "a workdir (of a sweep too), .npz, .csv, pickle, EPIC-KITCHENS' .json; empty is the workdir"),
    "compare.theirs": ("", "the same; empty compares the runs of ours with each other"),
    "compare.ours_run": ("", 'name of one run, such as "merge r=100"; empty takes all'),
    "compare.theirs_run": ("", "the same of theirs"),
    "compare.labels": ("", "list of videos and labels, for files without them"),
    "compare.allow_missing": (False, "accept videos in only one of the two; else exit code 3"),
    "parity.clips": (4, "clips, evenly spaced over the videos"),
    "parity.attention": ("sdpa", "PyTorch's attention: sdpa or eager"),
    # On a busy machine, one thread is faster than several that wait for each other.
    "parity.threads": (0, "threads of PyTorch; 0 is PyTorch's choice"),
    "parity.rounds": (5, "rounds of timing both models in turn"),
    "model.name": ("", "a preset such as vivit_b_16x2"),
    "model.dtype": ("float32", "of attention and MLPs: float32 or bfloat16"),
    "model.attention": ("auto", "backend of attention: auto, xla, chunked, cudnn or tpu_flash"),
    "model.matching": ("auto", "backend of matching: auto, xla, chunked or pallas"),
    "model.merging": ("auto", "backend of merging: auto, scatter, sorted, one_hot or pallas"),
    "reduction.mode": ("merge", "none, merge, hybrid, drop, random_merge, random_drop; or one per layer: drop,merge"),
    "reduction.r": (0, "tokens that every layer removes, or one entry per layer: (200, 100)"),
    "reduction.inflection": (0.0, "tilts r over the layers: -1 decreasing, 0 constant, 1 increasing"),
    "reduction.proportional_attention": (bool, "add log(size) to attention; not set, on except for VideoMAE"),
    "reduction.head_aggregation": ("mean", "keys of the heads: mean or concat"),
    "reduction.threshold": (0.0, "hybrid: less similar tokens replace instead of being averaged"),
    "reduction.input.keep": (0, "patches that stay before the first layer; 0 keeps all"),
    "reduction.input.by": ("run_length", "which stay: run_length (those that change most), random or uniform"),
    "reduction.mean": ("weighted", "of merged tokens: weighted, or norm_preserving (with the largest norm)"),
    "reduction.importance": (
        "similarity",
        "by which drop and hybrid choose: similarity, or shift (moved by attention)",
    ),
    "reduction.layout": ("reference", "order of tokens: reference as in the paper's code, or fixed"),
    "data.name": ("", "moving_digits, kinetics400, kinetics600, ssv2, epic_kitchens_100 or any word"),
    "data.description": ("", "a sentence for the results"),
    "data.kind": ("", "the layout on disk (docs/datasets.md), such as folder; empty is that of the name"),
    "data.path": ("", "folder of videos, or records"),
    "data.annotations": ("", "annotation file, or a folder of them; empty looks in the path"),
    "data.split": ("", "part of the data set; empty is the validation split"),
    "data.num_videos": (0, "number of videos, evenly spaced over the list; 0 takes all"),
    "data.label_offset": (0, "subtracted from class indices in TFRecords"),
    "data.protocol": ("", "standard, paper or scenic (docs/protocols.md); empty is one clip from the middle"),
    # Single values in place of the protocol's, as in `jax_vtm.data.ClipProtocol`.
    "data.sampling": (str, "which frames make up the clips (docs/protocols.md)"),
    "data.stride": (int, "step between a clip's frames, in frames"),
    "data.rate_fps": (float, "frames per second at which stride counts"),
    "data.num_clips": (int, "clips of a video"),
    "data.pad": (str, "for videos shorter than a clip: loop, or clamp to the last frame"),
    "data.short_side": (int, "pixels of the short side after resizing"),
    "data.resize": (str, "resizing as in scenic, slowfast or videomae"),
    "data.num_crops": (int, "crops of a clip, 1 or 3"),
    "data.single_crop": (str, "position of a single crop: centre or first (left or top)"),
    "data.mean": (tuple, "subtracted from RGB in [0, 1]"),
    "data.std": (tuple, "divides RGB after that"),
    "data.channels": (str, "rgb or bgr"),
    "data.fast_jpeg": (bool, "decode JPEG pictures as TensorFlow does by default"),
    "data.view_average": (str, "average of views: logits, softmax, max or max_from_zero"),
    "data.batch_size": (1, "videos per device and step; 0 fills the memory"),
    "data.clips_at_once": (0, "clips at a time on each device, to save memory; 0 takes all of a step"),
    "data.num_threads": (4, "threads that decode"),
    "data.num_workers": (0, "processes that decode instead; may be faster with dozens of cores"),
    "data.max_failures": (0, "unreadable videos above which the exit code is 3"),
    # Not set, a key is as the recipe says or, without one, as in `jax_vtm.training.TrainingSettings`.
    "train.recipe": ("", "standard, of the model's authors, or paper (docs/finetuning.md); empty for none"),
    "train.epochs": (float, "passes over the training videos, of whole batches"),
    "train.steps": (int, "optimizer steps, in place of epochs"),
    "train.batch_size": (int, "clips per step, over all devices of all processes"),
    "train.batch_size_per_host": (int, "clips per step of each process, in place of those of all"),
    "train.learning_rate": (float, "at the end of the warm-up"),
    "train.schedule": (str, "cosine, scenic, videomae or milestones"),
    "train.warmup_epochs": (float, "epochs of linear warm-up"),
    "train.warmup_steps": (float, "steps of it, in place of epochs"),
    "train.final_learning_rate": (float, "at the end of the cosine"),
    "train.milestones": (tuple, "((epoch, factor of the learning rate from there on), ...)"),
    "train.optimizer": (str, "adamw, or sgd with momentum"),
    "train.momentum": (float, "of SGD, and the first of AdamW's two"),
    "train.nesterov": (bool, "whether SGD looks ahead"),
    "train.b2": (float, "the second of AdamW's two"),
    "train.weight_decay": (float, "times the learning rate (AdamW), or added to the gradient (SGD)"),
    "train.decayed": (str, "kernels or all parameters"),
    "train.kernel_decay": (float, "Scenic's explicit_weight_decay"),
    "train.l2": (float, "Scenic's l2_decay_factor"),
    "train.layer_decay": (float, "factor of the learning rate from a layer to the one below"),
    "train.gradient_norm": (float, "gradients are clipped to this global norm; 0 does not clip"),
    "train.clip_per_device": (bool, "as in Scenic, each device clips before the mean"),
    "train.label_smoothing": (float, "share of the label spread over all classes"),
    "train.mixup": (float, "parameter of mixup's Beta distribution; 0 for none"),
    "train.cutmix": (float, "the same of cutmix"),
    "train.mixing": (str, "one draw of these per batch, per pair of clips, or per clip: batch, pair or elem"),
    "train.accumulate": (int, "parts of a batch, one after the other, to save memory"),
    "train.ema": (float, "decay of the average of the weights, which is then the result; 0 for none"),
    "train.remat": (bool, "computes activations again in the backward pass, to save memory"),
    "train.dropout_rate": (float, "of the model while it is trained; not set, that of the model"),
    "train.droplayer_rate": (float, "the same of stochastic depth"),
    "train.reduction": ("", 'reductions to train with, in turns: "mode=merge r=0,100"; empty trains unmerged'),
    "train.init_positions": (str, "how init_from's positions become more or fewer: tile, resize or resize_tile"),
    "train.init_kernel": ("central_frame", "how an image's kernel becomes a clip's: central_frame or average_frame"),
    "train.init_new": (("output_projection",), "parts of the model that do not come from init_from"),
    "train.evaluate_every": (0.0, "epochs between evaluations while training; 0 for none"),
    "train.evaluate_videos": (0, "videos of these; 0 takes all"),
    "train.evaluate": (True, "whether the result is evaluated at the end"),
    "train.seed": (0, "of initialisation, data and dropout"),
    "train.checkpoint_every": (100, "steps between saved states"),
    "train.keep": (2, "newest states that stay; the best one stays besides"),
    "train.log_every": (25, "steps between log lines"),
    "convert.to": ("checkpoint", "checkpoint, or stablehlo: a program for jax_vtm.load_exported"),
    "clips.path": ("", "folder of the training videos, or records; empty is data.path"),
    "clips.annotations": ("", "as data.annotations; empty takes the split's list from where those lie"),
    "clips.split": ("train", "part of the data set"),
    # Not set, a key is as in `train.recipe` or, without one, as in `jax_vtm.data.augmentation.settings.Augmentation`.
    "clips.crop": (str, "how frames are scaled and cropped: scale_jitter, short_side_jitter or resized_crop"),
    "clips.scale": (tuple, "lowest and highest factor, short side in pixels, or share of the frame"),
    "clips.aspect": (tuple, "lowest and highest width / height of resized_crop"),
    "clips.inverse": (bool, "draw the inverse of short_side_jitter's pixels evenly"),
    "clips.flip": (bool, "mirror half of the clips; wrong where a class says a direction"),
    "clips.colour": (str, "how colours are changed: scenic or slowfast"),
    "clips.colour_probability": (float, "share of the clips whose colours are"),
    "clips.grey_probability": (float, "share of the clips that lose their colours"),
    "clips.randaugment": (str, 'such as scenic-m15-n2 or rand-m7-n4-mstd0.5-inc1; "" is none'),
    "clips.erasing": (float, "share of the clips in which a box is filled with noise"),
    "clips.repeats": (int, "how many times each video comes in a row, changed differently"),
    "predict.videos": ((), "files and folders; also the words after the command"),
    "predict.top": (5, "number of classes that are listed"),
    "visualize.video": ("", "a video file; empty takes the first videos of `data`"),
    "visualize.num_videos": (2, "number of videos of `data`"),
    "visualize.view": (1, "view of a video, from 1, if the protocol has several"),
    "visualize.layers": ("", "of sheet and videos, such as 0,5,11, or all; empty is first, middle, last"),
    "visualize.num_frames": (8, "frames on the sheet, at most those of a clip"),
    "visualize.fps": (8.0, "frames per second when a clip plays"),
    "visualize.random_weights": (False, "show an untrained model, without a checkpoint"),
    "study.what": (
        "splices",
        "splices: another video's tubelets in clips; layers: merging in one layer alone; finetuning: what merging "
        "while training wins back",
    ),
    "study.donors": (("random", "same_class", "different_class"), "kinds of videos that tubelets come from"),
    "study.tubelets": (0, "number of replaced tubelets; 0 is half of the clip"),
    "study.head": ("", "head whose labels are the classes; empty takes all heads together"),
    "study.layers": ((), "layers that merge alone; empty is all"),
    "study.times": ((1,), "times in a row that a layer merges, before its MLP"),
    "study.r": ((), "tokens removed each time; empty is reduction.r"),
    "study.reduction": ("", 'reductions to finetune with, each by itself: "r=100,200"'),
    "study.seeds": (3, "trainings of each, with seeds from train.seed on"),
    "study.controls": (3, "seeds with which one is trained without merging, too"),
    "benchmark.what": (
        "model",
        "model, training (its steps), device (certifies the machine), parts (attention, matching, merging), data "
        "(loading), scaling or compile (for TPUs)",
    ),
    # Axes are all keys of `model` and `reduction`, and "batch" (clips at a time), "implementation" ("jax_vtm",
    # "pytorch_eager", "pytorch_sdpa", "pytorch_compiled"), "truncated" (True: layers keep their first tokens, which
    # shows the cost of merging) and, of what=compile, "topology" (such as "v5e:2x2").
    "benchmark.grids": ((), "dictionaries of axes with lists of values; every combination is timed"),
    "benchmark.axes": ("", 'axes in words: "model.attention=xla,chunked batch=1,8"'),
    "benchmark.scopes": (
        ("forward", "host_to_device", "end_to_end"),
        "where time starts: clip on the device, frames in the host's memory, encoded video",
    ),
    "benchmark.rounds": (7, "rounds, each of which times everything once"),
    "benchmark.min_seconds": (0.2, "seconds per timing, at least, by repetition"),
    "benchmark.videos": (16, "videos that are decoded in a round, at least"),
    "benchmark.cached_compile": (True, "also time loading a compiled program from the cache"),
    "benchmark.dry_run": (False, "only list the experiments, with tokens and MACs; also --dry_run"),
    "sweep.mode": ((), "modes; an entry may be a list, as in (drop,merge),merge"),
    "sweep.r": ((), "tokens removed per layer; an entry may be a list, as in (9, (9, 4))"),
    "sweep.inflection": ((), "from -1 to 1"),
    "sweep.head_aggregation": ((), "mean, concat"),
    "sweep.proportional_attention": ((), "True, False, None"),
    "sweep.threshold": ((), "of hybrid runs only"),
    "sweep.layout": ((), "reference, fixed"),
    "sweep.mean": ((), "weighted, norm_preserving"),
    "sweep.importance": ((), "similarity, shift"),
    "sweep.input": ((), 'dictionaries such as {"keep": 256, "by": "random"}, or None'),
    "sweep.repeat_layer": ((), "(layer, times) or None"),
    "sweep.runs": ((), "more runs: dictionaries of the keys above, with a value or a list for each"),
    "sweep.experiments": ({}, 'other models and data: {NAME: {"config": FILE, "changes": {...}, "runs": (...)}}'),
    "sweep.experiment": ("", "name of the only experiment to run; empty runs all"),
    "sweep.runs_per_pass": (8, "runs that share one pass over the videos with the unmerged model"),
    "sweep.dry_run": (False, "only list the runs, with tokens and MACs; also --dry_run"),
}


def default_config(name: str) -> Config:
    """Returns a config of defaults, named `name`, for a file in `configs/` to fill in."""
    values: dict[str, Any] = {}
    for key, (value, _) in KEYS.items():
        *sections, last = key.split(".")
        section = values
        for part in sections:
            section = section.setdefault(part, {})
        section[last] = placeholder(value) if isinstance(value, type) else copy.deepcopy(value)
    # A value or, for one entry per layer, a tuple.
    for key in ("mode", "r"):
        values["reduction"][key] = FieldReference(values["reduction"][key], field_type=object)
    return ConfigDict(values | {"name": name})
