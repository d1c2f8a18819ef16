"""The parts that the transformers here are made of, under Scenic's parameter names."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jax_vtm.models.attention import attend
from jax_vtm.models.compute import Compute

LAYER_NORM_EPSILON = 1e-6


class MultiHeadDotProductAttention(nn.Module):
    """Self-attention that takes a bias per key and also returns the keys, which token merging compares.

    Parameters as in `flax.linen.MultiHeadDotProductAttention`: query, key and value kernels [C, H, D] with biases
    [H, D], out kernel [H, D, C] with bias [C].

    Attributes:
        num_heads: H; divides C.
        hidden_size: C.
        compute: Types and backends.
        use_key_bias: Whether the key projection has a bias; VideoMAE's has none.
    """

    num_heads: int
    hidden_size: int
    compute: Compute = Compute()
    use_key_bias: bool = True

    def setup(self):
        """Creates the four projections."""

        def per_head(use_bias: bool = True):
            features = (self.num_heads, self.hidden_size // self.num_heads)
            init = nn.initializers.xavier_uniform()
            return nn.DenseGeneral(features, use_bias=use_bias, dtype=self.compute.dtype, kernel_init=init)

        self.query = per_head()
        self.key = per_head(self.use_key_bias)
        self.value = per_head()
        self.out = nn.DenseGeneral(
            self.hidden_size, axis=(-2, -1), dtype=self.compute.dtype, kernel_init=nn.initializers.xavier_uniform()
        )

    def __call__(
        self, x: Float[Array, "*B N C"], key_bias: Float[Array, "*B N"] | None = None
    ) -> tuple[Float[Array, "*B N C"], Float[Array, "*B N H D"]]:
        """Attends within the second last axis; returns the output and the keys."""
        keys = self.key(x)
        return self.out(self.attend(self.query(x), keys, self.value(x), key_bias)), keys

    def attend(self, query, key, value, key_bias=None):
        """As `attention.attend`, by this layer's backend."""
        return attend(query, key, value, key_bias, backend=self.compute.attention, platform=self.compute.platform)


class MlpBlock(nn.Module):
    """Dense, GELU, Dense.

    Attributes:
        mlp_dim: Width between the two dense layers.
        dropout_rate: After either dense layer, in training.
        dtype: Type of the computation; None takes that of the input.
        approximate: Whether GELU is its tanh approximation, as in ViViT, or exact.
    """

    mlp_dim: int
    dropout_rate: float = 0.0
    dtype: DTypeLike | None = None
    approximate: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*B N C"], *, train: bool = False) -> Float[Array, "*B N C"]:
        """Transforms every token by itself."""
        init = {
            "kernel_init": nn.initializers.xavier_uniform(),
            "bias_init": nn.initializers.normal(stddev=1e-6),
            "dtype": self.dtype,
        }
        dropout = nn.Dropout(self.dropout_rate, deterministic=not train)
        hidden = dropout(nn.gelu(nn.Dense(self.mlp_dim, **init)(x), approximate=self.approximate))
        return dropout(nn.Dense(x.shape[-1], **init)(hidden))


class AddPositionEmbedding(nn.Module):
    """Adds a learned embedding [1, N, C] to the tokens."""

    @nn.compact
    def __call__(self, x: Float[Array, "B N C"]) -> Float[Array, "B N C"]:
        """Returns the tokens with their positions."""
        init = nn.initializers.normal(stddev=0.02)
        return x + self.param("pos_embedding", init, (1, *x.shape[1:]))


class DropLayer(nn.Module):
    """Drops a residual branch for whole examples in training.

    Attributes:
        rate: Probability of dropping.
        rescale: Whether what stays is divided by the probability of staying. Scenic does not.
        rows_per_clip: So many rows of the batch are one clip's, and share its draw.
    """

    rate: float = 0.0
    rescale: bool = False
    rows_per_clip: int = 1

    @nn.compact
    def __call__(self, branch: Float[Array, "*shape"], *, train: bool = False) -> Float[Array, "*shape"]:
        """Returns the branch, zero where it is dropped."""
        if not train or self.rate == 0:
            return branch
        shape = (branch.shape[0] // self.rows_per_clip,) + (1,) * (branch.ndim - 1)
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1.0 - self.rate, shape)
        keep = jnp.repeat(keep, self.rows_per_clip, axis=0)
        return jnp.where(keep, branch / (1.0 - self.rate) if self.rescale else branch, 0)


def layer_norm(name: str, dtype: DTypeLike | None = None) -> nn.LayerNorm:
    """Layer normalisation over C, in its Scenic form."""
    return nn.LayerNorm(epsilon=LAYER_NORM_EPSILON, dtype=dtype, name=name)
