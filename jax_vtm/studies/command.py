"""`study`: the paper's studies of layers and of splices, and that of finetuning."""

import json

from jax_vtm.config import Config
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.evaluation.run_pass import code_of_failures
from jax_vtm.files import AnyPath, remove_leftovers, write_text
from jax_vtm.studies.finetuning import study_finetuning
from jax_vtm.studies.layers import study_layers
from jax_vtm.studies.splices import study_splices

STUDIES = {"splices": study_splices, "layers": study_layers, "finetuning": study_finetuning}

FOLDER = "study"


def run(config: Config, workdir: AnyPath) -> int:
    """Runs the study `config.study.what` and writes its results to `workdir/study`; returns the exit code."""
    what = config.study.what
    if what not in STUDIES:
        raise UserError(f"config.study.what is {what!r}; expected one of {', '.join(STUDIES)}.")
    build.use_compilation_cache(config.compilation_cache)
    folder = workdir / FOLDER
    results, page, headline, tables = STUDIES[what](config, workdir, folder)
    remove_leftovers(folder)
    page.write(workdir, FOLDER)
    files = {
        "config.json": f"{config.to_json_best_effort(indent=2)}\n",
        **tables,
        "results.json": f"{json.dumps(results, indent=2)}\n",
    }
    for name, text in files.items():
        write_text(folder / name, text)
    print(headline)
    print(f"results in {folder}: report.html, figures, {', '.join(files)}")
    return code_of_failures(results["dataset"]["n_failed"], config.data.max_failures, "the report")
