"""The same models and the same merging in PyTorch: Hugging Face's ViViT and VideoMAE, to compare with.

Nothing else here depends on this package, and it needs the extra `[torch]`: importing it without PyTorch or
transformers is a UserError that says so.
"""

import importlib.util

from jax_vtm.errors import UserError

_missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
if _missing:
    raise UserError(
        f"comparing with PyTorch needs {' and '.join(_missing)}, not installed here. "
        'Run `pip install "jax_vtm[torch]"` (in a checkout: `pip install -e ".[torch]"`).'
    )
