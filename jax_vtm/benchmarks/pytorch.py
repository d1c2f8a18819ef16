"""Settings of PyTorch, made ready in their process with the same weights and clips as ours."""

import tempfile
from typing import Any

import numpy as np

from jax_vtm.benchmarks.grid import OUR_WAYS, PYTORCH, Setting
from jax_vtm.benchmarks.inputs import Inputs
from jax_vtm.benchmarks.pytorch_process import PytorchProcess
from jax_vtm.benchmarks.subject import CannotRun, Subject
from jax_vtm.checkpoints import load_checkpoint
from jax_vtm.errors import UserError
from jax_vtm.evaluation.step import SINGLE_HEAD


def share_weights(setting: Setting, inputs: Inputs, process: PytorchProcess) -> None:
    """Lets all settings of a model have the weights that PyTorch draws for it.

    Raises:
        CannotRun: PyTorch or the model are not there.
    """
    if inputs.has_params(setting):
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = process.write_weights(setting.fields["name"], _overrides(setting), folder)
        except UserError as error:
            raise CannotRun(str(error)) from error
        inputs.give_params(setting, load_checkpoint(file, setting.model)["params"])


def prepare_pytorch(setting: Setting, inputs: Inputs, process: PytorchProcess) -> Subject:
    """Builds and runs one of PyTorch's models.

    Raises:
        CannotRun: It cannot be here; the message says why.
    """
    try:
        facts = process.prepare(
            setting.name,
            PYTORCH[setting.implementation],
            setting.fields["name"],
            _overrides(setting),
            setting.reduction,
            setting.fields["dtype"],
            np.asarray(inputs.video(setting)),
        )
    except UserError as error:
        raise CannotRun(str(error)) from error

    def measured(times: int) -> float:
        return process.seconds(setting.name, times)

    logits = facts.pop("logits")
    return Subject(
        {"model": (measured, setting.batch)},
        {"first_run_s": facts["first_run_s"], "device_peak_bytes": facts["peak_bytes"]},
        {SINGLE_HEAD: logits},
    )


def _overrides(setting: Setting) -> dict[str, Any]:
    fields = {key: value for key, value in setting.fields.items() if key not in (*OUR_WAYS, "name", "dtype")}
    # PyTorch's process need not know of config dictionaries.
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
