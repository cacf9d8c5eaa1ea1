"""The environment: B BSSs choose links, and a model of the channel says what each of them gets.

Pure functions of pytrees: `step` works under `jax.jit`, `jax.vmap` and `jax.lax.scan`, and other numbers in `MLOParams`
need no new compilation.
"""

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from offprint.federated_mlo._actions import joint_index, masks_from_actions, num_actions
from offprint.federated_mlo._checks import check_actions, check_choice, check_mask
from offprint.federated_mlo._exploration import Scalar
from offprint.federated_mlo._models import activity_and_throughput, channel_init, channel_window, faded
from offprint.federated_mlo._objective import REWARDS, Reward, neighbours, rewards
from offprint.federated_mlo._observe import OCCUPANCY_CAP, features, least_neighbour, occupancy, sensed_neighbours

Model = Literal["ctmn", "bianchi", "airtime", "bethe", "dcf"]
Observation = Literal["none", "occupancy", "features"]


class MLOParams(NamedTuple):
    """The numbers of a deployment; a pytree whose leaves may be stacked over deployments. What is None isn't used."""

    topology: Any
    """`Topology`, or `EdgeTopology` for model "bethe"."""
    x_max: Float[Array, ""]
    """Mb/s by which throughputs are divided to make rewards."""
    joint: Float[Array, "joint bss"] | None = None
    """Throughput of every joint action, where there are few: a step is then one look-up."""
    activity: Float[Array, "links patterns bss"] | None = None
    """Activity of every set of BSSs that use a link (model "ctmn")."""
    tau: Float[Array, " contenders"] | None = None
    """Attempt probability of each of n = 0..B contenders (model "bianchi")."""
    demand: Float[Array, " bss"] | None = None
    """Mb/s that a BSS has to send; saturated without it."""
    alive: Bool[Array, "..."] | None = None
    """Which BSSs are there: [bss], or [steps, bss], whose last row stays."""
    legacy: Int[Array, " bss"] | None = None
    """Action of BSSs that never learn, -1 for the others."""
    nakagami_m: Float[Array, ""] | None = None
    """Block fading in every step: shape m of the power gain, Gamma(m, 1/m)."""
    snr_db: Float[Array, ""] | None = None
    """Mean signal-to-noise ratio that fading acts upon."""


class EnvState(NamedTuple):
    """What goes on from one step to the next."""

    t: Int[Array, ""]
    action: Int[Array, " bss"]
    order: Int[Array, " bss"] | None = None
    """Whose turn it is, with `order="sequential"`."""
    channel: Any = None
    """State of the event-level simulators, one per link (model "dcf")."""


@dataclasses.dataclass(frozen=True)
class MLOEnv:
    """Link activation as a game: what a BSS gets depends on the links of all of them.

    Attributes:
        num_bss: B.
        num_links: L; actions are the A = 2^L - 1 non-empty sets of links, link l = bit l of action + 1.
        model: "ctmn" continuous-time Markov network, "bianchi" one collision domain with collisions, "airtime" flow
            level, "bethe" the Markov network on large sparse graphs, "dcf" event-level simulation.
        obs: "none" (0 always), "occupancy" (per link min(active neighbours, 2), as one index), "features" (a vector).
        reward: see `rewards`.
        order: "simultaneous", or "sequential": one BSS per step, in a random order that is drawn anew every B steps.
        beta: weight of the minimum in reward "mix".
        alpha: of reward "alpha_fair".
        window_s: seconds of a step (model "dcf").
        mld: "str" (links are independent channels), "nstr" or "emlsr" (models "ctmn" with few BSSs, and "dcf").
        W, m: backoff values of stage 0, and the largest stage.
        sigma: slot, us.
        per: share of the frames that is lost (model "airtime" with demand).
        bethe_iters: rounds of messages in a step (model "bethe").
        checked: test traced actions too, for `jax.experimental.checkify.checkify`, instead of clamping them silently.
    """

    num_bss: int
    num_links: int
    model: Model = "ctmn"
    obs: Observation = "none"
    reward: Reward = "own"
    order: Literal["simultaneous", "sequential"] = "simultaneous"
    beta: float | int = 0.5
    alpha: float | int = 1.0
    window_s: float | int = 1.0
    mld: Literal["str", "nstr", "emlsr"] = "str"
    W: int = 16
    m: int = 6
    sigma: float | int = 9.0
    per: float | int = 0.1
    bethe_iters: int = 100
    checked: bool = False

    def __post_init__(self) -> None:
        if self.num_bss < 1:
            raise ValueError(f"num_bss = {self.num_bss}: at least one BSS is needed")
        num_actions(self.num_links)
        check_choice("model", self.model, get_args(Model))
        check_choice("obs", self.obs, get_args(Observation))
        check_choice("reward", self.reward, REWARDS)
        check_choice("order", self.order, ("simultaneous", "sequential"))
        check_choice("mld", self.mld, ("str", "nstr", "emlsr"))
        if not self.window_s > 0:
            raise ValueError(f"window_s = {self.window_s} s: a step must last some time")

    @property
    def num_actions(self) -> int:
        """A = 2^L - 1."""
        return num_actions(self.num_links)

    @property
    def num_states(self) -> int:
        """Size of the observation: how many indices there are, or entries of the vector of features."""
        if self.obs == "features":
            return 3 * self.num_links + 1
        return (OCCUPANCY_CAP + 1) ** self.num_links if self.obs == "occupancy" else 1

    @property
    def random(self) -> bool:
        """Whether a step needs random numbers whatever `MLOParams` holds; fading needs them too."""
        return self.model == "dcf" or self.order == "sequential"

    def reset(self, key: PRNGKeyArray, params: MLOParams) -> tuple[Shaped[Array, "bss ..."], EnvState]:
        """Observations and state before the first step: nothing was sensed yet."""
        action = jnp.full(self.num_bss, self.num_actions - 1, jnp.int32)
        order = None
        if self.order == "sequential":
            action = jax.random.randint(key, (self.num_bss,), 0, self.num_actions, jnp.int32)
            order = jnp.arange(self.num_bss, dtype=jnp.int32)
        channel = channel_init(self) if self.model == "dcf" else None
        state = EnvState(jnp.int32(0), action, order, channel)
        if self.obs == "features":
            return jnp.zeros((self.num_bss, self.num_states)), state
        return jnp.zeros(self.num_bss, jnp.int32), state

    def step(
        self, key: PRNGKeyArray, state: EnvState, action: Int[Array | np.ndarray, " bss"], params: MLOParams
    ) -> tuple[Shaped[Array, "bss ..."], EnvState, Float[Array, " bss"], Bool[Array, ""], dict[str, Array]]:
        """One step.

        Args:
            key: random numbers of the step (fading, whose turn it is, the event-level channel).
            state: from `reset` or the step before.
            action: index of each BSS, 0..A-1; others are refused, or clamped where they are traced (see `checked`).
            params: the deployment.

        Returns:
            Observations [bss] or [bss, features]; state; rewards; done, which is always False: the task has no end;
            and a dict with "throughput" [bss] in Mb/s, "activity" [bss, links], "mask" [bss, links] of the links that
            are on and in range, "acted" [bss].

        Raises:
            ValueError: an action outside 0..A-1.
        """
        check_actions(action, self.num_links, "action")
        if self.checked:
            known = jnp.all((action >= 0) & (action < self.num_actions))
            checkify.check(known, f"an action is outside 0..{self.num_actions - 1}: each BSS keeps at least one link")
        turn_key, fade_key, channel_key = jax.random.split(key, 3)
        acted, order = self._turn(turn_key, state)
        action = jnp.where(acted, jnp.clip(jnp.asarray(action, jnp.int32), 0, self.num_actions - 1), state.action)
        if params.legacy is not None:
            action = jnp.where(params.legacy >= 0, params.legacy, action)
        alive = alive_at(params, state.t)
        mask = masks_from_actions(action, self.num_links) & (params.topology.cap > 0)
        if alive is not None:
            mask = mask & alive[:, None]
        channel = state.channel
        if self.model == "dcf":
            channel, x, y = channel_window(self, channel_key, channel, mask, params)
        else:
            params = faded(params, fade_key)
            x, y = activity_and_throughput(self, params, mask)
            if params.joint is not None and params.nakagami_m is None and alive is None:
                x = look_up(params.joint, joint_index(action, self.num_links))
        if params.demand is not None:
            x = jnp.minimum(x, params.demand)
        info = {"throughput": x, "activity": y, "mask": mask, "acted": acted}
        obs = self._observe(params, mask, y, x)
        after = EnvState(state.t + 1, action, order, channel)
        return obs, after, self.objective(x, params, alive), jnp.asarray(False), info

    def throughput(
        self, params: MLOParams, mask: Shaped[Array | np.ndarray, "bss links"]
    ) -> tuple[Float[Array, " bss"], Float[Array, "bss links"]]:
        """Mb/s of each BSS, and its activity on each link, when these links are on: the model without a step.

        Differentiable in the numbers of `params`. Not for model "dcf", which only answers over time.

        Raises:
            ValueError: a BSS without any link on.
        """
        check_mask(mask)
        x, y = activity_and_throughput(self, params, jnp.asarray(mask, bool))
        return (x if params.demand is None else jnp.minimum(x, params.demand)), y

    def objective(
        self, x: Float[Array, " bss"], params: MLOParams, alive: Bool[Array, " bss"] | None = None
    ) -> Float[Array, " bss"]:
        """Rewards of throughputs in Mb/s: what the server would send back, divided by `x_max`."""
        near = None
        if self.reward == "neigh_min":
            if self.model == "bethe":
                return _scaled(least_neighbour(params.topology, x), params)
            near = neighbours(params.topology.adj)
        return rewards(self.reward, _scaled(x, params), near, alive, alpha=self.alpha, beta=self.beta)

    def _turn(self, key: PRNGKeyArray, state: EnvState) -> tuple[Bool[Array, " bss"], Any]:
        """Who acts now."""
        if state.order is None:
            return jnp.ones(self.num_bss, bool), None
        place = state.t % self.num_bss
        order = jnp.where(place == 0, jax.random.permutation(key, state.order), state.order)
        return jnp.arange(self.num_bss) == order[place], order

    def _observe(
        self, params: MLOParams, mask: Bool[Array, "bss links"], y: Float[Array, "bss links"], x: Float[Array, " bss"]
    ) -> Shaped[Array, "bss ..."]:
        if self.obs == "none":
            return jnp.zeros(self.num_bss, jnp.int32)
        if self.obs == "occupancy":
            return occupancy(sensed_neighbours(params.topology, mask))
        return features(params.topology, mask, y, x / params.x_max)


def _scaled(x: Float[Array, " bss"], params: MLOParams) -> Float[Array, " bss"]:
    """Throughput by its scale, the same to the last bit in whatever program.

    The bounds change no number, but keep the multiplication apart from what comes before and after: compilers would
    join it with a mean, or round it together with the subtraction of an update.
    """
    bound = jnp.finfo(x.dtype).max
    return jnp.minimum(jnp.minimum(x, bound) * (1 / params.x_max), bound)


def look_up(joint: Float[Array, "joint bss"], index: Int[Array, ""]) -> Float[Array, " bss"]:
    """A row of the table, BSS by BSS: a gather of rows would put the axis of `jax.vmap` first, and all that follows."""
    return jnp.stack([joint[index, b] for b in range(joint.shape[1])])


def alive_at(params: MLOParams, t: Scalar) -> Bool[Array, " bss"] | None:
    """Which BSSs are there in step t; None if all are always."""
    if params.alive is None or params.alive.ndim == 1:
        return params.alive
    return params.alive[jnp.minimum(t, params.alive.shape[0] - 1)]
