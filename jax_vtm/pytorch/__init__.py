"""Token merging in PyTorch, in Hugging Face's models, to compare with. Needs the extra `[torch]`."""

import importlib.util

from jax_vtm.errors import UserError

_missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
if _missing:
    raise UserError(
        f"comparing with PyTorch needs {' and '.join(_missing)}, not installed here. "
        'Run `pip install "jax_vtm[torch]"` (in a checkout: `pip install -e ".[torch]"`).'
    )
