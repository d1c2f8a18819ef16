"""The Flax module that models call between attention and MLP."""

import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Int

from jax_vtm.merging import membership as groups
from jax_vtm.merging import reduce
from jax_vtm.merging.matching import match_nearest
from jax_vtm.merging.nearest import Nearest, nearest_by_metric, nearest_by_scores
from jax_vtm.merging.reduction import Reduction
from jax_vtm.merging.scores import metric_from_keys, uniform_scores
from jax_vtm.merging.shapes import check_bipartite, check_shapes


@struct.dataclass
class TokenState:
    """What is known of the tokens beside their content.

    Attributes:
        size: Initial tokens that each token stands for.
        membership: Group of every initial token, -1 if discarded; None while nobody traces.
    """

    size: Float[Array, "*B N"]
    membership: Int[Array, "*B N0"] | None = None


def initial_state(batch: int, num_tokens: int, *, trace: bool = False) -> TokenState:
    """The state before the first layer: every token stands for itself."""
    return TokenState(
        size=jnp.ones((batch, num_tokens), jnp.float32),
        membership=groups.initial_membership(batch, num_tokens) if trace else None,
    )


class TokenReduction(nn.Module):
    """Removes r tokens, as `reduction.mode` says. Without parameters; token counts are static.

    Scores can be given in the variable collection "scores" (as this module's variable "scores", [B, S, T]): they
    replace the cosine or the random numbers. That is how recorded runs are replayed.

    Attributes:
        reduction: The settings.
        r: Tokens to remove in this step, clamped to half of the unprotected tokens.
        class_token: Token 0 is protected.
        ascending: Kept sources stay in ascending position without a class token too.
        matching: How each token's most similar partner is found (see `choose_matching`).
        merging: How tokens are added up (see `choose_merging`).
    """

    reduction: Reduction
    r: int
    class_token: bool
    ascending: bool = False
    matching: str = "auto"
    merging: str = "auto"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B N C"], keys: Float[Array, "B N H D"], state: TokenState
    ) -> tuple[Float[Array, "B K C"], TokenState]:
        """Reduces the tokens by the similarity of their attention keys.

        Raises:
            UserError: Shapes that do not go together.
        """
        if self.reduction.mode == "none" or self.r == 0:
            return x, state
        known = check_shapes(x=(x, "B N C"), keys=(keys, "B N H D"), sizes=(state.size, "B N"))
        if state.membership is not None:
            check_shapes(known, membership=(state.membership, "B N0"))
        matching = match_nearest(self._nearest(keys), self.r, class_token=self.class_token, ascending=self.ascending)
        emptied = None
        if self.reduction.mode == "hybrid":
            emptied = reduce.emptied_survivors(matching, self.reduction.threshold)
        if self.reduction.drops:
            x = reduce.drop(matching, x)
            # A survivor stands for nobody but itself, so its size goes back to one.
            size = jnp.ones(x.shape[:2], jnp.float32)
        else:
            x, size = reduce.merge_weighted(matching, x, state.size, emptied=emptied, formulation=self.merging)
        membership = state.membership
        if membership is not None:
            step = groups.membership_of(matching, dropped=self.reduction.drops, emptied=emptied)
            membership = groups.compose(membership, step)
        return x, TokenState(size=size, membership=membership)

    def _nearest(self, keys: Float[Array, "B N H D"]) -> Nearest:
        scores = None
        if self.has_variable("scores", "scores"):
            scores = self.get_variable("scores", "scores")
            check_shapes({"B": keys.shape[0]}, scores=(scores, "B S T"))
            check_bipartite(scores, keys.shape[1])
        elif self.reduction.is_random:
            scores = uniform_scores(self.make_rng("reduction"), keys.shape[0], keys.shape[1])
        if scores is not None:
            return nearest_by_scores(scores, class_token=self.class_token)
        metric = metric_from_keys(keys, self.reduction.head_aggregation)
        return nearest_by_metric(metric, class_token=self.class_token, how=self.matching)
