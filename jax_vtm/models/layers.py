"""The parts that the transformers here are made of, under Scenic's parameter names."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jax_vtm.merging import KeptPatches
from jax_vtm.models.attention import attend, attend_over_frames
from jax_vtm.models.compute import Compute

LAYER_NORM_EPSILON = 1e-6


class Projection(nn.Module):
    """A dense layer to or from heads: weights have the shape that Scenic's have, and the product knows no heads.

    With heads as an axis of the product, a TPU's compiler puts tokens innermost and moves all results afterwards.

    Attributes:
        inputs: Shape of what is projected, (C,) or (H, D).
        outputs: Shape of what it becomes.
        use_bias: Whether there is one.
        dtype: Type of the computation; None takes that of input and weights.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    use_bias: bool = True
    dtype: DTypeLike | None = None

    def setup(self):
        """Creates the weights."""

        def flat_init(key, shape, dtype=jnp.float32):
            return nn.initializers.xavier_uniform()(
                key, (math.prod(self.inputs), math.prod(self.outputs)), dtype
            ).reshape(shape)

        self.kernel = self.param("kernel", flat_init, (*self.inputs, *self.outputs))
        self.bias = self.param("bias", nn.initializers.zeros, self.outputs) if self.use_bias else None

    def weights(self) -> tuple[Float[Array, "..."], Float[Array, "..."] | None]:
        """Returns kernel and bias, for multiplying with them in another order."""
        return jnp.asarray(self.kernel, self.dtype), None if self.bias is None else jnp.asarray(self.bias, self.dtype)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Projects the last axes, *B inputs to *B outputs."""
        x, kernel, bias = promote_dtype(x, *self.weights(), dtype=self.dtype)
        batch = x.shape[: x.ndim - len(self.inputs)]
        width = math.prod(self.outputs)
        projected = x.reshape(*batch, -1) @ kernel.reshape(-1, width)
        projected = projected if bias is None else projected + bias.reshape(width)
        return projected.reshape(*batch, *self.outputs)


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
        channels, per_head = (self.hidden_size,), (self.num_heads, self.hidden_size // self.num_heads)
        dtype = self.compute.dtype
        self.query = Projection(channels, per_head, dtype=dtype)
        self.key = Projection(channels, per_head, self.use_key_bias, dtype)
        self.value = Projection(channels, per_head, dtype=dtype)
        self.out = Projection(per_head, channels, dtype=dtype)

    def __call__(
        self, x: Float[Array, "*B N C"], key_bias: Float[Array, "*B N"] | None = None
    ) -> tuple[Float[Array, "*B N C"], Float[Array, "*B N H D"]]:
        """Attends within the second last axis; returns the output and the keys."""
        keys = self.key(x)
        return self.out(self.attend(self.query(x), keys, self.value(x), key_bias)), keys

    def over_frames(self, x: Float[Array, "*B F P C"]) -> Float[Array, "*B F P C"]:
        """Attends among the tokens of every place; returns the output alone."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        return self.out(attend_over_frames(query, key, value, **self._backend))

    def attend(self, query, key, value, key_bias=None, *, unbiased=0):
        """As `attention.attend`, by this layer's backend."""
        return attend(query, key, value, key_bias, unbiased=unbiased, **self._backend)

    @property
    def _backend(self) -> dict[str, Any]:
        return {"backend": self.compute.attention, "platform": self.compute.platform}


class MlpBlock(nn.Module):
    """Dense, GELU, Dense.

    Attributes:
        mlp_dim: Width between the two dense layers.
        dropout_rate: After either dense layer, in training.
        dtype: Type of the computation; None takes that of the input.
        approximate: Whether GELU is its tanh approximation, as in ViViT, or exact.
        platform: For which the program is made; None is the one that JAX runs on.
    """

    mlp_dim: int
    dropout_rate: float = 0.0
    dtype: DTypeLike | None = None
    approximate: bool = True
    platform: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*B N C"], *, train: bool = False) -> Float[Array, "*B N C"]:
        """Transforms every token by itself."""
        init = {
            "kernel_init": nn.initializers.xavier_uniform(),
            "bias_init": nn.initializers.normal(stddev=1e-6),
            "dtype": self.dtype,
        }
        dropout = nn.Dropout(self.dropout_rate, deterministic=not train)
        hidden = nn.Dense(self.mlp_dim, **init)(x)
        hidden = dropout(nn.gelu(hidden) if self.approximate else exact_gelu(hidden))
        if (self.platform or jax.default_backend()) == "tpu":
            # Both products as one operation have no place for their weights in fast memory, and read them again for
            # every part of the tokens: by the compiler's account that takes longer than writing the hidden layer.
            hidden = jax.lax.optimization_barrier(hidden)
        return dropout(nn.Dense(x.shape[-1], **init)(hidden))


def exact_gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns x (1 + erf(x / sqrt(2))) / 2, computed in float32, as PyTorch has it.

    `nn.gelu` takes erfc, of which a TPU's compiler makes an array of branches as large as the hidden layer.
    """
    wide = x.astype(jnp.float32)
    return (0.5 * wide * (1 + jax.lax.erf(wide * math.sqrt(0.5)))).astype(x.dtype)


class AddPositionEmbedding(nn.Module):
    """Adds a learned embedding [1, N, C] to the tokens."""

    @nn.compact
    def __call__(self, x: Float[Array, "B K C"], kept: KeptPatches | None = None) -> Float[Array, "B K C"]:
        """Returns the tokens with their positions; those at the places that were kept, if not all were."""
        init = nn.initializers.normal(stddev=0.02)
        if kept is None:
            return x + self.param("pos_embedding", init, (1, *x.shape[1:]))
        return x + self.param("pos_embedding", init, (1, kept.membership.shape[1], x.shape[2]))[0, kept.places]


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
