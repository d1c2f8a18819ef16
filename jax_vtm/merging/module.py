"""The Flax module that models call between attention and MLP."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Int

from jax_vtm.errors import UserError
from jax_vtm.merging.backends.best_match import BestMatch, nearest_by_metric, nearest_by_scores
from jax_vtm.merging.backends.choice import Measured
from jax_vtm.merging.input_reduction import KeptPatches
from jax_vtm.merging.matching import Matching, match, match_by_importance, metric_from_keys, uniform_scores
from jax_vtm.merging.merge import compose, drop, initial_membership, membership_of, merge_weighted, replaced_tokens
from jax_vtm.merging.schedule import Reduction
from jax_vtm.merging.shapes import check_shapes


@struct.dataclass
class TokenState:
    """What is known of the tokens besides their content.

    Attributes:
        size: Initial tokens that each token stands for, float32.
        membership: Group of every initial token, int32, -1 if discarded; None where it is not asked for.
    """

    size: Float[Array, "*B N"]
    membership: Int[Array, "*B N0"] | None = None


def initial_state(batch: int, num_tokens: int, *, trace: bool = False, kept: KeptPatches | None = None) -> TokenState:
    """Returns the state of tokens that stand for themselves, or for the runs of patches that were kept.

    Args:
        batch: B, clips.
        num_tokens: N, tokens of each.
        trace: Follow from here on which group every token ends in.
        kept: What the tokens stand for, if it is not themselves.
    """
    if kept is not None:
        return TokenState(kept.size, kept.membership if trace else None)
    sizes = jnp.ones((batch, num_tokens), jnp.float32)
    return TokenState(sizes, initial_membership(batch, num_tokens) if trace else None)


class TokenReduction(nn.Module):
    """Removes r tokens, as `reduction.mode` says. Without parameters; token counts are static.

    Scores can be given in the variable collection "scores" (as this module's variable "scores", [B, S, T]): they
    replace the cosine, where there is one, or the random numbers. That is how recorded runs are replayed.

    Attributes:
        reduction: The settings, with one mode (see `Reduction.of_layer`).
        r: Tokens to remove in this step, clamped to half of the unprotected tokens.
        class_token: Token 0 is protected.
        ascending: Kept sources stay in ascending position without a class token too.
        matching: How each source's best match is found (see `choose_matching`).
        merging: How tokens are added up (see `choose_merging`).
        platform: For which the program is made; None is the one that JAX runs on.
    """

    reduction: Reduction
    r: int
    class_token: bool
    ascending: bool = False
    matching: str | Measured = "auto"
    merging: str | Measured = "auto"
    platform: str | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B N C"],
        keys: Float[Array, "B N H D"],
        state: TokenState,
        added: Float[Array, "B N C"] | None = None,
    ) -> tuple[Float[Array, "B K C"], TokenState]:
        """Reduces the tokens to K = N - r, in x's dtype.

        Args:
            x: Tokens.
            keys: Keys of every head, from the attention before.
            state: What is known of the tokens.
            added: What attention added to them; asked for where their importance is its "shift".

        Raises:
            UserError: Shapes that do not go together, a mode for each of several layers, or no `added`.
        """
        if not isinstance(self.reduction.mode, str):
            raise UserError(
                f"reduction.mode is {self.reduction.mode!r}, one per layer; give each its own, reduction.of_layer(i)."
            )
        lengths = check_shapes(x=(x, "B N C"), keys=(keys, "B N H D"), size=(state.size, "B N"))
        if self.reduction.mode == "none" or self.r == 0:
            return x, state
        # Compilers' accounts of their programs name an operation after its scope.
        with jax.named_scope("matching"):
            matching = self._match(keys, added)
        replaced = None
        if self.reduction.mode == "hybrid":
            replaced = replaced_tokens(matching, self.reduction.threshold)
        if self.reduction.drops:
            x = drop(matching, x)
            size = drop(matching, state.size[..., None])[..., 0]
        else:
            x, size = merge_weighted(
                matching,
                x,
                state.size,
                replaced=replaced,
                backend=self.merging,
                platform=self.platform,
                norm_preserving=self.reduction.mean == "norm_preserving",
            )
        membership = state.membership
        if membership is not None:
            check_shapes({"B": lengths["B"]}, membership=(membership, "B N0"))
            membership = compose(membership, membership_of(matching, dropped=self.reduction.drops, replaced=replaced))
        return x, TokenState(size, membership)

    def _match(self, keys: Float[Array, "B N H D"], added: Float[Array, "B N C"] | None) -> Matching:
        order = {"class_token": self.class_token, "ascending": self.ascending, "platform": self.platform}
        if self.reduction.importance == "similarity":
            return match(self._best_match(keys), self.r, **order)
        if added is None:
            raise UserError(
                "reduction.importance is 'shift', the norm of what attention added to a token; give TokenReduction "
                "what was added, [B, N, C], after the state."
            )
        check_shapes({"B": keys.shape[0], "N": keys.shape[1]}, added=(added, "B N C"))
        shift = jnp.linalg.norm(added.astype(jnp.float32), axis=-1)
        best = self._best_match(keys) if self.reduction.compares else None
        return match_by_importance(shift, best, self.r, **order)

    def _best_match(self, keys: Float[Array, "B N H D"]) -> BestMatch:
        batch, num_tokens = keys.shape[:2]
        if self.has_variable("scores", "scores"):
            scores = self.get_variable("scores", "scores")
            check_shapes({"B": batch, "S": (num_tokens + 1) // 2, "T": num_tokens // 2}, scores=(scores, "B S T"))
        elif self.reduction.is_random:
            scores = uniform_scores(self.make_rng("reduction"), batch, num_tokens)
        else:
            metric = metric_from_keys(keys, self.reduction.head_aggregation, platform=self.platform)
            return nearest_by_metric(metric, class_token=self.class_token, how=self.matching, platform=self.platform)
        return nearest_by_scores(scores, class_token=self.class_token, platform=self.platform)
