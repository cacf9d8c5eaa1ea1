"""What leads to a score, and what it says: the parts of the query vectors and the terms of the scores."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Parts(NamedTuple):
    """Everything on the way to the query vectors; None where the model has no such part."""

    user: Float[Array, "batch d"]  # p_u
    h_mean: Float[Array, "batch d"] | None  # mean of h_i, Eq. 1
    short_term: Float[Array, "batch d"] | None  # what is fused: the mean, or p^S of Eq. 2
    attention: Float[Array, "batch long h"] | None  # S, Eq. 3
    Z: Float[Array, "batch h d"] | None
    z: Float[Array, "batch d"] | None
    memory: Float[Array, "batch m"] | None  # s, Eq. 4
    o: Float[Array, "batch d"] | None
    long_term: Float[Array, "batch d"] | None  # p^H, Eq. 5
    gate: Float[Array, "batch d"] | None  # g
    interest: Float[Array, "batch d"] | None  # p^C, Eq. 6
    cooccurrence: Float[Array, "batch d"] | None  # Wr^T times the mean of e_i, Eq. 7

    @property
    def query(self) -> Float[Array, "batch d"]:
        """p_u + p^C + Wr^T mean_i e_i: the score of item j is this times q_j, Eq. 8."""
        return sum((part for part in (self.interest, self.cooccurrence) if part is not None), self.user)


class Explanation(NamedTuple):
    """Why items score as they do: a score is the sum of the four terms."""

    user: Float[Array, "batch items"]
    """p_u . q_j."""
    interest: Float[Array, "batch items"]
    """p^C . q_j."""
    cooccurrence: Float[Array, "batch items"]
    """mean_i e_i^T Wr q_j."""
    bias: Float[Array, "batch items"]
    """b_j."""
    gate: Float[Array, "batch d"] | None
    """g: the share that short-term interest has in each dimension of p^C."""
    attention: Float[Array, "batch long h"] | None
    """S: weights of the earlier items, for each of the h dimensions."""
    memory: Float[Array, "batch m"] | None
    """s: weights of the memory units."""
    long_term: Float[Array, "batch d"] | None
    """p^H."""

    @property
    def score(self) -> Float[Array, "batch items"]:
        """The score of each item."""
        return self.user + self.interest + self.cooccurrence + self.bias
